"""The client side of the load generator: one connection, one request at a time, nothing parsed.

A call reads of an answer its status, its end and the number of `MARK` bytes in it; what falls
short of the script (`scripts.py`) counts as an error.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from array import array
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import urlsplit

from benchmarks.scripts import MARK, script_of

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_QUESTION = "Tell me in a few words which roads lead to Rome, and which of them you would take. "


class Request:
    """The bytes of one request to a chat completions endpoint, and what its answer must hold."""

    __slots__ = ("chunks", "data", "host", "port", "streamed")

    def __init__(
        self,
        url: str,
        model: str,
        key: str = "",
        *,
        usage: bool = False,
        image_kib: int = 0,
        headers: Sequence[str] = (),
    ) -> None:
        script = script_of(model)
        address = urlsplit(url)
        self.host = address.hostname or "127.0.0.1"
        self.port = address.port or 80
        self.streamed = script.kind != "plain"
        self.chunks = script.chunks if self.streamed else 1
        asked = _body(model, self.chunks, self.streamed, usage)
        if image_kib:
            asked["messages"] = [{"role": "user", "content": _picture(image_kib)}]
        body = json.dumps(asked).encode()
        head = (
            f"POST {address.path.rstrip('/')}/chat/completions HTTP/1.1\r\n"
            f"Host: {address.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key or 'none'}\r\nContent-Length: {len(body)}\r\n"
        )
        head += "".join(f"{header}\r\n" for header in headers) + "\r\n"
        self.data = head.encode() + body


def _body(model: str, chunks: int, streamed: bool, usage: bool) -> dict[str, object]:
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer briefly and to the point."},
            {"role": "user", "content": _QUESTION * 3},
        ],
        "max_tokens": max(256, chunks),  # a chunk counts as a token: never more than asked for
        "temperature": 0.7,
    }
    if streamed:
        body["stream"] = True
    if usage:
        body["stream_options"] = {"include_usage": True}
    return body


def _picture(kib: int) -> list[dict[str, object]]:
    """Return the content of a message with an image of this size, in base64."""
    url = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB" * (kib * 32)
    return [
        {"type": "text", "text": _QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]


class Tally:
    """What all calls of a run have seen; times in seconds. Counts only while `open`."""

    __slots__ = (
        "durations", "error", "errors", "events", "finished", "first_bytes", "gaps", "open",
        "read_gaps", "started",
    )  # fmt: skip

    def __init__(self, *, read_gaps: bool = False) -> None:
        self.read_gaps = read_gaps
        self.open = False
        self.error = ""
        self.errors = self.events = self.finished = self.started = 0
        self.durations = array("d")
        self.first_bytes = array("d")
        self.gaps = array("d")

    def fail(self, reason: str) -> None:
        """Count an error and keep the first reason; errors count also outside of the window."""
        self.errors += 1
        self.error = self.error or reason


class Call(asyncio.Protocol):
    """One keep-alive connection.

    `ended` is called after every whole answer, and once when the connection is `lost`, unless it
    was closed from this side.
    """

    __slots__ = (
        "_begun", "_chunks", "_closing", "_ended", "_last", "_left", "_request", "_rest", "_tally",
        "_transport", "busy", "lost",
    )  # fmt: skip
    _transport: asyncio.Transport

    def __init__(self, request: Request, tally: Tally, ended: Callable[[Call], None]) -> None:
        self._request = request
        self._tally = tally
        self._ended = ended
        self._rest = b""
        self._left: int | None = None  # bytes of the body to come; -1 when it comes in chunks
        self._chunks = 0
        self._begun = self._last = 0.0
        self._closing = False
        self.busy = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count an answer that the connection did not live to see."""
        self.lost = True
        if self.busy:
            self._fail(f"connection lost after {self._chunks} chunks: {exc}")
        if not self._closing:
            self._ended(self)

    def send(self) -> None:
        """Send the request; the connection is busy until its answer has ended."""
        self.busy = True
        self._left = None
        self._chunks = 0
        self._rest = b""
        self._last = 0.0
        self._tally.started += 1
        self._begun = time.perf_counter()
        self._transport.write(self._request.data)

    def close(self) -> None:
        """Drop the connection; an answer under way is no error."""
        self.busy = False
        self._closing = True
        self._transport.abort()

    @property
    def answered(self) -> bool:
        """Whether the head of the answer has come."""
        return self._left is not None

    @property
    def flowing(self) -> bool:
        """Whether the answer under way has brought content."""
        return self.busy and self._chunks > 0

    def data_received(self, data: bytes) -> None:
        """Read on: the head, then the body."""
        if not self.busy:
            self._fail(f"bytes after the end of an answer: {data[:80]!r}")
            return
        if self._left is None:
            data = self._rest + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if data[9:12] != b"200":
                self._fail(data[:300].decode("latin-1"))
                self._transport.abort()
                return
            length = _LENGTH.search(data, 0, end + 2)
            self._left = int(length[1]) if length is not None else -1
            data = data[end + 4 :]
            self._rest = b"\r\n"
        self._body(data)

    def _body(self, data: bytes) -> None:
        events = data.count(MARK)
        tally = self._tally
        if events:
            self._time(events)
            if tally.open:
                tally.events += events
        assert self._left is not None
        if self._left >= 0:
            self._left -= len(data)
            if self._left == 0:
                self._finish()
            return
        size = len(data)
        self._rest = data[size - 7 :] if size >= 7 else (self._rest + data)[-7:]
        if self._rest == _LAST_CHUNK:
            self._finish()

    def _time(self, events: int) -> None:
        tally = self._tally
        if not self._chunks:
            now = self._last = time.perf_counter()
            if tally.open:
                tally.first_bytes.append(now - self._begun)
        elif tally.read_gaps:
            now = time.perf_counter()
            if tally.open:
                tally.gaps.append(now - self._last)
            self._last = now
        self._chunks += events

    def _finish(self) -> None:
        if self._chunks != self._request.chunks:
            self._fail(f"{self._chunks} of {self._request.chunks} chunks came")
        elif self._tally.open:
            self._tally.finished += 1
            self._tally.durations.append(time.perf_counter() - self._begun)
        self.busy = False
        self._ended(self)

    def _fail(self, reason: str) -> None:
        self.busy = False
        self._tally.fail(reason)
