"""A guard before every request: a deny-list, and redaction by regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ezkielyna import (
    ConsolePage,
    Gateway,
    InvalidRequest,
    Plugin,
    PluginSettings,
    RequestContext,
    Visit,
    hookimpl,
)
from ezkielyna_guard.texts import redacted, texts

__all__ = ["Guard"]


class Guard(Plugin):
    """Refuses what is denied, and sends on what is left after redaction."""

    class Settings(PluginSettings):
        """`[plugin.guard]`."""

        deny: tuple[str, ...] = Field((), description="words and phrases that no text may hold")
        message: str = Field(
            "The request was refused: it holds something that is not allowed here.",
            description="what the customer is told",
        )
        redact: dict[str, str] = Field(
            default_factory=dict,
            description="regular expressions, and what is sent on instead of what they match",
        )

        page: bool = Field(
            False, description="whether customers get a page on which they may try a text"
        )

        @field_validator("deny")
        @classmethod
        def _no_empty_phrase(cls, phrases: tuple[str, ...]) -> tuple[str, ...]:
            if not all(phrase.strip() for phrase in phrases):
                raise ValueError("an empty phrase would refuse every request; remove it")
            return phrases

        @field_validator("redact")
        @classmethod
        def _compiles(cls, patterns: dict[str, str]) -> dict[str, str]:
            for pattern, replacement in patterns.items():
                try:
                    re.compile(f"{pattern}|").sub(replacement, "")
                except (re.error, IndexError) as error:
                    raise ValueError(f"{pattern!r} cannot be used: {error}") from None
            return patterns

    settings: Settings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self._denied = denied(self.settings.deny)
        self._patterns = [(re.compile(p), text) for p, text in self.settings.redact.items()]

    @hookimpl
    def register_pages(self, gateway: Gateway) -> list[ConsolePage]:
        """Offer `/guard`, where the settings want it."""
        if not self.settings.page:
            return []
        template = Path(__file__).with_name("page.html").read_text()
        return [
            ConsolePage("/guard", "Content rules", template, self.tried, icon="note", posts=True)
        ]

    async def tried(self, visit: Visit) -> Mapping[str, Any]:
        """Return what would become of a text that was posted. Nothing of it is kept."""
        text = (visit.form or {}).get("text", "")
        refused = self._denied is not None and self._denied.search(text) is not None
        return {
            "text": text,
            "refused": self.settings.message if refused else "",
            "sent": self._redact(text),
        }

    @hookimpl
    async def before_request(self, ctx: RequestContext) -> None:
        """Refuse the request, or change it."""
        fields = ctx.request.fields()
        if self._denied is not None and any(map(self._denied.search, texts(fields))):
            raise InvalidRequest(self.settings.message)
        if self._patterns:
            changed = redacted(fields, self._redact)
            if changed != fields:
                ctx.change(changed)

    def _redact(self, text: str) -> str:
        for pattern, replacement in self._patterns:
            text = pattern.sub(replacement, text)
        return text


def denied(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds any of the phrases as whole words, in any case and spacing."""
    if not phrases:
        return None
    spaced = (r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases)
    return re.compile("|".join(rf"(?<!\w){phrase}(?!\w)" for phrase in spaced), re.IGNORECASE)
