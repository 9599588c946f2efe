"""Provider for Google Gemini (Developer API, v1beta), translated from and to OpenAI's dialect."""

from __future__ import annotations

from ezkielyna import Provider, hookimpl
from ezkielyna_gemini.provider import GeminiProvider

__all__ = ["GeminiProvider", "register_providers"]


@hookimpl
def register_providers() -> list[type[Provider]]:
    """Offer the kind `gemini`."""
    return [GeminiProvider]
