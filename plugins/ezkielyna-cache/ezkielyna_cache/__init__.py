"""Answers identical plain requests from memory, for customers who ask for it."""

from __future__ import annotations

import hashlib
from typing import Literal

import orjson
from pydantic import Field

from ezkielyna import Answer, InvalidRequest, Plugin, PluginSettings, RequestContext, hookimpl
from ezkielyna_cache.shelf import Shelf

__all__ = ["Cache"]

HEADER = "x-ezkielyna-cache"
WORDS = ("use", "refresh")
NOTE = "cache.place"


class Cache(Plugin):
    """Looks before a request is sent on, and keeps what came back when it ended well."""

    class Settings(PluginSettings):
        """`[plugin.cache]`."""

        ttl_s: float = Field(3600.0, gt=0, le=30 * 86_400, description="how long answers are kept")
        max_bytes: int = Field(64 * 2**20, ge=0, description="memory for answers, in each process")
        max_answer: int = Field(2**20, ge=0, description="larger answers are not kept, in bytes")
        shared: bool = Field(False, description="whether accounts get each other's answers")
        bill: Literal["zero", "policy"] = Field(
            "zero", description="what a kept answer costs: nothing, or what its usage costs"
        )

    settings: Settings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self._shelf = Shelf(self.settings.max_bytes, self.settings.ttl_s)

    @hookimpl
    async def before_request(self, ctx: RequestContext) -> None:
        """Answer what was answered before."""
        word = ctx.header(HEADER)
        if word is None:
            return
        if word not in WORDS:
            raise InvalidRequest(f"'{HEADER}' must be {' or '.join(WORDS)}.", param=HEADER)
        if ctx.request.streamed:
            raise InvalidRequest(f"'{HEADER}' is only for plain requests.", param=HEADER)
        place = self._place(ctx)
        kept = self._shelf.get(place) if word == "use" else None
        if kept is None:
            ctx.notes[NOTE] = place
            ctx.add_header(HEADER, "miss")
            return
        ctx.answer = Answer(kept.body, kept.usage if self.settings.bill == "policy" else None)
        ctx.add_header(HEADER, "hit")
        ctx.add_header("age", str(int(kept.age_s)))

    @hookimpl
    async def after_request(self, ctx: RequestContext) -> None:
        """Keep the answer."""
        place, ended = ctx.notes.get(NOTE), ctx.ended
        if place is None or ended is None or ended.outcome != "ok" or ended.body is None:
            return
        if len(ended.body) <= self.settings.max_answer:
            self._shelf.put(place, ended.body, ended.usage)

    def _place(self, ctx: RequestContext) -> bytes:
        """Return where the answer belongs: equal requests, in whatever order their fields are."""
        fields = orjson.dumps(ctx.request.fields(), option=orjson.OPT_SORT_KEYS)
        account = "" if self.settings.shared else ctx.account.id
        return hashlib.sha256(f"{account}\0{ctx.endpoint}\0".encode() + fields).digest()
