"""HTTP/1.1 on a bare asyncio protocol, as fast as a test bench has to be.

It reads what HTTP clients send (a length or chunks, one request after the other on a connection)
and nothing more exotic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ezkielyna_simulator.answers import Answer, Refused
from ezkielyna_simulator.script import Script

if TYPE_CHECKING:
    from ezkielyna_simulator.server import SimulatedServer

MAX_BODY = 64 * 1024 * 1024

_END = b"\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One connection: reads a request, sends its answer, reads the next."""

    __slots__ = ("_answering", "_buffer", "_sending", "_server", "_transport")

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._answering = False
        self._sending: _Sending | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave them; an answer on its way was abandoned by its client."""
        self._server.left(self)
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
            self._server.abandoned += 1

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Hold the stream back: its reader is slow."""
        if self._sending is not None:
            self._sending.pause()

    def resume_writing(self) -> None:
        """Let the stream go on."""
        if self._sending is not None:
            self._sending.resume()

    def data_received(self, data: bytes) -> None:
        """Collect the request; the next one waits for this one's answer."""
        self._buffer += data
        if self._sending is None:
            self._next()

    def _next(self) -> None:
        """Answer the requests that have arrived in full, each after the one before it."""
        if self._answering:  # an answer that was sent at once: the loop below goes on
            return
        self._answering = True
        try:
            self._answer_all()
        finally:
            self._answering = False

    def _answer_all(self) -> None:
        assert self._transport is not None
        while self._sending is None and not self._transport.is_closing():
            end = self._buffer.find(_END)
            if end < 0:
                return
            method, path, headers = _head(bytes(self._buffer[:end]))
            body, size = _body(headers, self._buffer, end + 4)
            if body is None:
                if headers.get("expect") and len(self._buffer) == end + 4:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            del self._buffer[:size]
            self._respond(method, path, body, headers.get("connection", "").lower() == "close")

    def _respond(self, method: str, path: str, body: bytes, last: bool) -> None:
        assert self._transport is not None
        try:
            answer, script = self._server.answer(method, path, body)
        except Refused as refused:
            self._transport.write(_plain(refused.status, refused.body(), last))
            self._end(last)
            return
        self._sending = _Sending(self._transport, answer, script, last, self._sent)
        self._sending.start()

    def _sent(self, last: bool) -> None:
        self._sending = None
        self._end(last)
        if self._buffer and not last:
            self._next()

    def _end(self, last: bool) -> None:
        if last and self._transport is not None:
            self._transport.close()


class _Sending:
    """An answer on its way, chunk by chunk in its own time."""

    __slots__ = (
        "_answer",
        "_done",
        "_last",
        "_loop",
        "_paused",
        "_place",
        "_script",
        "_started_at",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        answer: Answer,
        script: Script,
        last: bool,
        done: Callable[[bool], None],
    ) -> None:
        self._transport = transport
        self._answer = answer
        self._script = script
        self._last = last
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._place = 0
        self._paused = False
        self._started_at = 0.0

    def start(self) -> None:
        if self._script.first_byte_s > 0:
            self._timer = self._loop.call_later(self._script.first_byte_s, self._begin)
        else:
            self._begin()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._answer.events is not None and self._timer is None and self._started_at:
            self._write()

    def _begin(self) -> None:
        self._timer = None
        if self._answer.events is None:
            self._transport.write(_plain(200, self._answer.body, self._last))
            self._done(self._last)
            return
        self._transport.write(_STREAM_HEAD)
        self._started_at = self._loop.time()
        self._write()

    def _write(self) -> None:
        """Write the chunks that are due, and come back for the others."""
        self._timer = None
        if self._paused:
            return
        events = self._answer.events or []
        stop = self._stop()
        due = stop
        if self._script.pace > 0:
            passed = self._loop.time() - self._started_at
            due = min(stop, max(self._place, int(passed * self._script.pace)) + 1)
        written = events[self._place : due]
        self._place = due
        if written:
            self._transport.write(b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in written))
        if self._place < stop:
            at = self._started_at + self._place / self._script.pace
            self._timer = self._loop.call_at(at, self._write)
        else:
            self._finish()

    def _stop(self) -> int:
        ends = (self._script.error_after, self._script.cut_after)
        return min((end for end in ends if end >= 0), default=len(self._answer.events or []))

    def _finish(self) -> None:
        if 0 <= self._script.cut_after <= self._place:
            self._transport.abort()
            return
        if 0 <= self._script.error_after <= self._place:
            event = b"data: " + Refused(500, "A simulated failure.").body() + b"\n\n"
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._transport.write(b"0\r\n\r\n")
        self._done(self._last)


def _head(raw: bytes) -> tuple[str, str, dict[str, str]]:
    lines = raw.decode("latin-1").split("\r\n")
    method, path, *_ = (*lines[0].split(" "), "", "")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, path, headers


def _body(headers: dict[str, str], buffer: bytearray, start: int) -> tuple[bytes | None, int]:
    """Return the body and where it ends; None until all of it is there."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _chunked(buffer, start)
    length = headers.get("content-length", "0")
    end = start + min(int(length) if length.isdecimal() else 0, MAX_BODY)
    return (bytes(buffer[start:end]), end) if len(buffer) >= end else (None, 0)


def _chunked(buffer: bytearray, start: int) -> tuple[bytes | None, int]:
    parts: list[bytes] = []
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size = int(bytes(buffer[start:line_end]).partition(b";")[0] or b"0", 16)
        start = line_end + 2
        if len(buffer) < start + size + 2:
            break
        parts.append(bytes(buffer[start : start + size]))
        start += size + 2
        if size == 0:
            return b"".join(parts), start
    return None, 0


def _plain(status: int, body: bytes, last: bool) -> bytes:
    more = b"Retry-After: 1\r\n" if status in (429, 503) else b""
    more += b"Connection: close\r\n" if last else b""
    return (
        b"HTTP/1.1 %d Simulated\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
        % (status, more, len(body), body)
    )
