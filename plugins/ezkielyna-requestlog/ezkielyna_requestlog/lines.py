"""What a line says."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from ezkielyna import RequestContext, usd_json


class Seen:
    """What a stream looked like; times are monotonic seconds."""

    __slots__ = ("bytes", "chunks", "clock", "last", "longest_gap")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.chunks = 0
        self.bytes = 0
        self.last = 0.0
        self.longest_gap = 0.0

    def show(self, data: bytes) -> None:
        """Take a piece in."""
        now = self.clock()
        if self.chunks and now - self.last > self.longest_gap:
            self.longest_gap = now - self.last
        self.last = now
        self.chunks += 1
        self.bytes += len(data)


def line(ctx: RequestContext, seen: Seen | None) -> bytes:
    """Return the line of a request that ended. It holds nothing that people wrote."""
    ended = ctx.ended
    assert ended is not None
    document: dict[str, Any] = {
        "time": datetime.fromtimestamp(ctx.started_at, UTC).isoformat(timespec="milliseconds"),
        "request_id": ctx.request_id,
        "account": ctx.account.id,
        "key": ctx.key.id,
        "plan": ctx.plan.name,
        "endpoint": ctx.endpoint,
        "model": ctx.model.name,
        "provider": ctx.model.provider,
        "streamed": ctx.request.streamed,
        "outcome": ended.outcome,
        "status": ended.status,
        "error": ended.error,
        "tokens": _tokens(ctx),
        "cost_usd": usd_json(ended.bill.cost),
        "first_byte_ms": _ms(ctx.started_at, ended.first_byte_at),
        "duration_ms": _ms(ctx.started_at, ended.ended_at),
        "user_agent": ctx.header("user-agent") or "",
    }
    if seen is not None:
        document["stream"] = {
            "chunks": seen.chunks,
            "bytes": seen.bytes,
            "longest_gap_ms": round(seen.longest_gap * 1000),
        }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _tokens(ctx: RequestContext) -> dict[str, int | str]:
    usage = ctx.ended.usage if ctx.ended is not None else None
    if usage is None:
        return {}
    used: dict[str, int | str] = {
        bucket: quantity for bucket, quantity in usage.quantities() if quantity
    }
    return {**used, "source": usage.source}


def _ms(start: float, end: float | None) -> int | None:
    return None if end is None else max(0, round((end - start) * 1000))
