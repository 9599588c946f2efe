"""One connection to Redis that many requests share.

redis-py opens it: addresses, TLS, passwords and databases are its business. Then this protocol
takes the socket over, because a call through redis-py's asyncio client costs five times the CPU of
one written here: it draws a connection from a pool, arms a timer and awaits a reader, every time.
Calls are answered in order, so one queue and one timer serve all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ezkielyna_redis.scripts import SCRIPTS, Prepared

LIMIT_S = 0.05
"""The longest a call may take."""

GRACE_S = 0.005
"""The end of `LIMIT_S` in which the loop reads once more: it may have been busy itself."""

_BULK, _ERROR, _STATUS, _NUMBER = b"$-+:"


class Away(Exception):
    """Redis did not answer, not in time, or with an error. Never leaves this plugin."""


class Call:
    """A call on its way. `future` is None where nobody waits; `late` gets the reply of a call whose
    waiter was cancelled.
    """

    __slots__ = ("at", "future", "late", "prepared", "rest")

    def __init__(
        self,
        prepared: Prepared,
        rest: bytes,
        future: asyncio.Future[bytes] | None,
        late: Callable[[bytes], None] | None,
    ) -> None:
        self.prepared = prepared
        self.rest = rest
        self.future = future
        self.late = late
        self.at = 0.0


class Link(asyncio.Protocol):
    """A connection that is up until `lost`; every call on it gets a reply or raises Away."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[str], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._calls: deque[Call] = deque()
        self._rest = b""
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.Transport
        self.lost = False

    def take_over(self, connection: AbstractConnection) -> None:
        """Become the protocol of a connection whose handshake is done."""
        # redis-py has no public way to its transport; the name is the same in versions 5 to 8.
        opened: Any = connection
        self._writer, opened._writer, opened._reader = opened._writer, None, None
        assert self._writer is not None
        transport: Any = self._writer.transport
        self._transport = transport
        transport.set_protocol(self)

    def call(
        self, prepared: Prepared, rest: bytes, late: Callable[[bytes], None] | None = None
    ) -> asyncio.Future[bytes]:
        """Send a call with the rest of its arguments, packed; the future has the reply.

        The future raises Away, at the latest after `LIMIT_S`.
        """
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._send(Call(prepared, rest, future, late), prepared.by_sha)
        return future

    def tell(self, prepared: Prepared, rest: bytes) -> None:
        """Send a call for whose reply nobody waits; it runs before every later one."""
        self._send(Call(prepared, rest, None, None), prepared.by_sha)

    def fail(self, reason: str) -> None:
        """Drop the connection; every call on it raises Away."""
        if self.lost:
            return
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        calls, self._calls = self._calls, deque()
        for call in calls:
            if call.future is not None and not call.future.done():
                call.future.set_exception(Away(reason))
        self._on_lost(reason)

    def data_received(self, data: bytes) -> None:
        """Hand every whole reply to the oldest call."""
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        try:
            while start < end:
                line = data.find(b"\r\n", start)
                if line < 0:
                    break
                kind, following = data[start], line + 2
                if kind == _BULK:
                    following += int(data[start + 1 : line]) + 2
                    if end < following:
                        break
                    self._answer(data[line + 2 : following - 2])
                elif kind == _ERROR:
                    self._refuse(data[start + 1 : line])
                elif kind in (_STATUS, _NUMBER):
                    self._answer(data[start + 1 : line])
                else:
                    self.fail("it does not speak RESP2")
                    return
                start = following
        except (ValueError, IndexError):
            self.fail("it answered what nobody asked")
            return
        self._rest = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was on its way."""
        self.fail(f"the connection broke: {exc or 'closed by Redis'}")

    def _send(self, call: Call, head: bytes) -> None:
        if self.lost:
            if call.future is not None:
                call.future.set_exception(Away("the connection is gone"))
            return
        call.at = self._loop.time()
        self._calls.append(call)
        if self._timer is None:
            self._timer = self._loop.call_later(LIMIT_S - GRACE_S, self._look, None)
        # A system call is the dearest part of a call: what one turn of the loop says is one write.
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(head)
        self._unsent.append(call.rest)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.lost:
            self._transport.write(b"".join(unsent))

    def _answer(self, reply: bytes) -> None:
        call = self._calls.popleft()
        future = call.future
        if future is None:
            return
        if not future.done():
            future.set_result(reply)
        elif call.late is not None:
            call.late(reply)

    def _refuse(self, error: bytes) -> None:
        call = self._calls.popleft()
        if error.startswith(b"NOSCRIPT"):
            self._send(call, call.prepared.by_source())
        elif call.future is None:
            # A correction that Redis does not take is as much a failure as a request's.
            self.fail(error.decode(errors="replace"))
        elif not call.future.done():
            call.future.set_exception(Away(error.decode(errors="replace")))

    def _look(self, suspect: Call | None) -> None:
        """Fail when the oldest call is too old, and was already when this last looked.

        Between the two looks the loop reads the socket: where the loop itself was late, the reply
        is there by now.
        """
        self._timer = None
        if not self._calls:
            return
        oldest = self._calls[0]
        if oldest is suspect:
            self.fail(f"no answer within {LIMIT_S * 1000:g} ms")
            return
        left = oldest.at + LIMIT_S - GRACE_S - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look, None)
        else:
            self._timer = self._loop.call_later(GRACE_S, self._look, oldest)


def opener(url: str) -> Callable[[], AbstractConnection]:
    """Return what makes a connection to this address; raises ValueError where it is none."""
    arguments: dict[str, Any] = dict(parse_url(url))
    class_ = arguments.pop("connection_class", Connection)
    for name in ("max_connections", "socket_timeout", "socket_connect_timeout", "protocol"):
        arguments.pop(name, None)

    def make() -> AbstractConnection:
        connection: AbstractConnection = class_(
            **arguments, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        return connection

    return make


async def linked(
    make: Callable[[], AbstractConnection], limit_s: float, on_lost: Callable[[str], None]
) -> Link:
    """Return an open link; raises redis-py's errors, OSError, or TimeoutError after `limit_s`."""
    connection: Any = make()  # its methods are not typed
    try:
        async with asyncio.timeout(limit_s):
            await connection.connect()
            # Loaded beforehand, so that a first correction is not overtaken on its second way.
            for script in SCRIPTS:
                await connection.send_command("SCRIPT", "LOAD", script.source)
                await connection.read_response()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    link = Link(asyncio.get_running_loop(), on_lost)
    link.take_over(connection)
    return link
