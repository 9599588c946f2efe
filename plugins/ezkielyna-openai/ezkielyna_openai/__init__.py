"""Provider for OpenAI and every server that speaks its API."""

from __future__ import annotations

from ezkielyna import Provider, hookimpl
from ezkielyna_openai.exchange import OpenAIExchange
from ezkielyna_openai.kinds import KINDS
from ezkielyna_openai.presets import PRESETS, Preset
from ezkielyna_openai.provider import OpenAIProvider

__all__ = ["PRESETS", "OpenAIExchange", "OpenAIProvider", "Preset", "register_providers"]


@hookimpl
def register_providers() -> list[type[Provider]]:
    """Return the kind `openai`, and a kind for every server that has a preset."""
    return list(KINDS)
