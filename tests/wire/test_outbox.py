"""What is written in one turn of the loop is one piece, in order, and never lost by a close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from ezkielyna.wire.outbox import LARGE_BYTES, MOST_PIECES, Outbox, Sender


class Counted(Sender):
    """Knows how often it wrote to the kernel."""

    __slots__ = ("written",)

    def __init__(self, outbox: Outbox, transport: asyncio.Transport) -> None:
        super().__init__(outbox, transport)
        self.written: list[bytes] = []
        self._transport = cast(asyncio.Transport, Noting(transport, self.written))


class Noting:
    """Notes what is written on its way to a real transport."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._inner = transport
        self._written = written

    def write(self, data: bytes) -> None:
        self._written.append(bytes(data))
        self._inner.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@asynccontextmanager
async def line(
    outbox: Outbox | None = None,
) -> AsyncIterator[tuple[Counted, asyncio.StreamReader]]:
    """A sender, and the reader at the other end of its connection."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.StreamReader] = loop.create_future()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        accepted.set_result(reader)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
        yield Counted(outbox or Outbox(loop), transport), await accepted
        transport.abort()
        writers[0].close()


async def test_one_turn_is_one_write_for_each_connection() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    async with line(outbox) as (one, heard), line(outbox) as (other, _):
        one.write(b"first ")
        other.write(b"other")
        one.write(b"second")
        assert one.written == []
        assert one.get_write_buffer_size() == 12
        await asyncio.sleep(0)
        assert (one.written, other.written) == ([b"first second"], [b"other"])
        assert one.get_write_buffer_size() == 0
        assert await heard.readexactly(12) == b"first second"
        one.write(b"third")
        await asyncio.sleep(0)
        assert one.written[1:] == [b"third"]


@pytest.mark.parametrize("kind", [bytes, memoryview])
async def test_what_is_large_goes_out_at_once_and_behind_what_waits(kind: type[bytes]) -> None:
    async with line() as (one, heard):
        large = bytes(LARGE_BYTES)
        one.write(b"before")
        one.write(kind(large))
        assert one.written == [b"before", large]
        one.write(kind(b"after"))
        assert await heard.readexactly(LARGE_BYTES + 11) == b"before" + large + b"after"


async def test_a_connection_holds_back_few_pieces() -> None:
    async with line() as (one, heard):
        for _ in range(2 * MOST_PIECES + 1):
            one.write(b"x")
        assert one.written == [b"x" * MOST_PIECES] * 2
        assert await heard.readexactly(2 * MOST_PIECES + 1) == b"x" * (2 * MOST_PIECES + 1)


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_an_orderly_end_loses_nothing(end: str) -> None:
    async with line() as (one, heard):
        one.write(b"the last")
        getattr(one, end)()
        assert await heard.read() == b"the last"


async def test_what_is_aborted_or_closing_is_not_written() -> None:
    async with line() as (one, heard):
        one.write(b"never")
        one.abort()
        one.write(b"nor this")
        await asyncio.sleep(0)
        assert one.written == []
        assert await heard.read() == b""
