"""The scripted upstream: an OpenAI-shaped server that costs as little as a Python server can.

It reads no more of a request than its length, its model and whether usage was asked; every answer
is built once (`scripts.py`). `python -m benchmarks.upstream --port 9001` prints one line,
`listening on http://127.0.0.1:9001`, and serves until it is terminated.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
from collections.abc import Callable
from typing import cast

import uvloop

from benchmarks.dialects import Stream, dialect_of
from benchmarks.scripts import Answer, answer_of, json_answer

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_MODEL = re.compile(rb'"model"\s*:\s*"([^"]+)"')
_ASKS_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_TICK_S = 0.001
_CATCH_UP_S = 0.05
_GOLDEN = 0.6180339887498949
_HIGH_WATER = 256 * 1024


class Wheel:
    """Turns once a period and beats each of its streams once; one timer for a whole rate."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float) -> None:
        slots = max(1, round(1 / rate / _TICK_S))
        self._loop = loop
        self._tick = 1 / rate / slots
        self._slots: list[set[Connection]] = [set() for _ in range(slots)]
        self._at = 0
        self._seat = 0.0
        self._due = 0.0
        self._streams = 0
        self._turning = False

    def add(self, stream: Connection) -> int:
        """Seat a stream and return its slot; neighbours in time sit in different slots."""
        # Steps of the golden section spread any number of streams evenly.
        self._seat = (self._seat + _GOLDEN) % 1
        slot = int(self._seat * len(self._slots))
        self._slots[slot].add(stream)
        self._streams += 1
        if not self._turning:
            self._turning = True
            self._due = self._loop.time()
            self._turn()
        return slot

    def remove(self, stream: Connection, slot: int) -> None:
        """Take a stream off the wheel."""
        self._slots[slot].discard(stream)
        self._streams -= 1

    def _turn(self) -> None:
        now = self._loop.time()
        # Time that is lost stays lost: to catch up with more would leave none for anything else.
        self._due = max(self._due, now - _CATCH_UP_S)
        while self._due <= now:
            for stream in tuple(self._slots[self._at]):
                stream.beat()
            self._at = (self._at + 1) % len(self._slots)
            self._due += self._tick
        self._turning = self._streams > 0
        if self._turning:
            # uvloop rounds to milliseconds: what is sooner would be now, again and again.
            self._loop.call_later(max(_TICK_S, self._due - now), self._turn)


class Upstream:
    """The answers and wheels that all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: dict[tuple[bytes, bool, Stream | None], Answer] = {}
        self._wheels: dict[float, Wheel] = {}

    def answer(self, request: bytes) -> Answer | None:
        """Return the answer a request asks for, or None when its model has no script."""
        dialect, model = dialect_of(request)
        if model is None:
            found = _MODEL.search(request)
            if found is None:
                return None
            model = found[1]
        asked = (model, _ASKS_USAGE.search(request) is not None, dialect)
        known = self._answers.get(asked)
        if known is None:
            try:
                known = self._answers[asked] = answer_of(model.decode(), asked[1], dialect)
            except ValueError:
                return None
        return known

    def wheel(self, rate: float) -> Wheel:
        """Return the wheel of a rate in chunks a second."""
        if rate not in self._wheels:
            self._wheels[rate] = Wheel(self._loop, rate)
        return self._wheels[rate]

    def connection(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered one after the other."""

    __slots__ = (
        "_answer",
        "_left",
        "_missing",
        "_parts",
        "_paused",
        "_rest",
        "_seat",
        "_sent",
        "_transport",
        "_upstream",
    )
    _transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._rest = b""
        self._parts: list[bytes] = []  # of a large request, joined when it is complete
        self._missing = 0
        self._answer: Answer | None = None
        self._sent = 0
        self._left = 0
        self._seat: tuple[Wheel, int] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the wheel; nobody reads the rest of the answer."""
        self._answer = None
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Answer every request that these bytes complete."""
        if self._missing > 0:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        else:
            data = self._rest + data
        while data:
            size = _request_size(data)
            if size is None or size > len(data):
                break
            self._respond(data[:size])
            data = data[size:]
        self._rest = data
        if data and size is not None:
            self._rest, self._parts, self._missing = b"", [data], size - len(data)

    def pause_writing(self) -> None:
        """Stop a burst: the reader is slower."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with a burst."""
        self._paused = False
        self._burst()

    def beat(self) -> None:
        """Send the next chunk of a paced stream, or its end; a slow reader misses beats."""
        answer = self._answer
        assert answer is not None
        if self._paused:
            return
        self._left -= 1
        if self._left > 0:
            self._transport.write(answer.groups[0])
            return
        self._leave()
        self._answer = None
        self._transport.write(answer.groups[0] + answer.ending)

    def _respond(self, request: bytes) -> None:
        answer = self._upstream.answer(request)
        if answer is None:
            self._transport.write(json_answer(404, b'{"error":{"message":"no such script"}}'))
            return
        self._transport.write(answer.opening)
        if answer.script.kind == "burst":
            self._answer, self._sent = answer, 0
            self._burst()
        elif answer.script.kind == "paced":
            self._answer, self._left = answer, answer.script.chunks
            wheel = self._upstream.wheel(answer.script.rate)
            self._seat = (wheel, wheel.add(self))

    def _burst(self) -> None:
        answer = self._answer
        if answer is None or answer.script.kind != "burst":
            return
        groups, write = answer.groups, self._transport.write
        while self._sent < len(groups) and not self._paused:
            self._sent += 1
            write(groups[self._sent - 1])
        if self._sent == len(groups):
            self._answer = None

    def _leave(self) -> None:
        if self._seat is not None:
            wheel, slot = self._seat
            self._seat = None
            wheel.remove(self, slot)


def _request_size(data: bytes) -> int | None:
    """Return the bytes of the first request in the data, or None while that is not known."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = _LENGTH.search(data, 0, head + 2)
    if length is not None:
        return head + 4 + int(length[1])
    if _CHUNKED.search(data, 0, head + 2) is not None:
        end = data.find(b"\r\n0\r\n\r\n", head)
        return end + 7 if end >= 0 else None
    return head + 4


async def serve(port: int, listening: Callable[[int], None]) -> None:
    """Serve on loopback until cancelled; call `listening` with the port when it accepts."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream(loop).connection, "127.0.0.1", port, backlog=4096)
    listening(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """Run the scripted upstream as a process."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.upstream", description=__doc__)
    arguments.add_argument("--port", type=int, default=9001)
    port = arguments.parse_args().port
    gc.disable()  # answers are shared and connections hold no cycles; a collection is only a pause
    uvloop.run(serve(port, lambda at: print(f"listening on http://127.0.0.1:{at}", flush=True)))


if __name__ == "__main__":
    main()
