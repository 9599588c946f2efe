"""The stream of live events, read as it arrives.

```python
async with events(gateway.url, ann) as stream:
    event = await until(stream, lambda event: bool(event["finished"]))
```
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from ezkielyna.testing.lab import Line
from ezkielyna.testing.visitor import SESSION, Visitor

PATIENCE_S = 30.0


@asynccontextmanager
async def events(
    url: str, visitor: Visitor, patience_s: float = PATIENCE_S
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Open the stream and give its events, each with `_at`, the time of its arrival."""
    async with asyncio.timeout(patience_s), await Line.open(url) as line:
        cookie = f"{SESSION}={visitor.cookies[SESSION]}"
        line.writer.write(
            f"GET /live/events HTTP/1.1\r\nHost: lab\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        head = await line.head()
        assert head.status == 200, head
        assert head.headers["content-type"] == "text/event-stream"

        async def read() -> AsyncIterator[dict[str, Any]]:
            rest = b""
            async for chunk in line.chunks():
                *whole, rest = (rest + chunk).split(b"\n\n")
                for event in whole:
                    if event.startswith(b"event: live\ndata: "):
                        data = event.partition(b"data: ")[2]
                        yield {**orjson.loads(data), "_at": time.monotonic()}

        yield read()


async def until(
    source: AsyncIterator[dict[str, Any]], fits: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the first event that fits; raises AssertionError at the end of the stream."""
    async for event in source:
        if fits(event):
            return event
    raise AssertionError("the stream ended")
