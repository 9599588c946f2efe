"""Provider of kind "anthropic": Anthropic's Messages API behind OpenAI's dialect."""

from __future__ import annotations

from ezkielyna import Provider, hookimpl
from ezkielyna_anthropic.provider import AnthropicProvider

__all__ = ["AnthropicProvider"]


@hookimpl
def register_providers() -> list[type[Provider]]:
    """Return the one provider class of this plugin."""
    return [AnthropicProvider]
