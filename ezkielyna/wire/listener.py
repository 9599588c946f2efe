"""The way in: an HTTP/1.1 server on llhttp that speaks Tornado's interfaces.

`HTTPServerConnectionDelegate`s, and with them a `tornado.web.Application`, run on it unchanged.
Protocol upgrades are ignored: there are no WebSockets on this wire.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tornado.httputil import HTTPServerConnectionDelegate
from tornado.iostream import StreamClosedError

from ezkielyna.contract.errors import GatewayError
from ezkielyna.wire.outbox import Outbox
from ezkielyna.wire.request_connection import RequestConnection
from ezkielyna.wire.server_connection import ServerConnection

__all__ = ["Listener", "ListenerLimits", "Refuse", "plainly"]

Refuse = Callable[[GatewayError], tuple[list[tuple[str, str]], bytes]]
"""Gives the extra headers and the JSON body of an answer to what never reached a delegate."""

_BACKLOG = 2048


@runtime_checkable
class Taker(Protocol):
    """A delegate that takes some requests whole, where Tornado's interface has four steps."""

    def take(self, request: RequestConnection) -> bool:
        """Serve a request, and never within this call; False: go on as with any other."""


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """What a client may do to a listener. Sizes in bytes, times in seconds.

    `header_timeout_s` runs from the first byte of a head, and from the start of a connection that
    sends nothing; `body_timeout_s` from the end of the head; `write_stall_s` while the client
    reads nothing at all of what is waiting for it.
    """

    max_connections: int = 4000
    header_bytes: int = 32 * 1024
    max_body: int = 20 * 1024 * 1024
    header_timeout_s: float = 15.0
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 60.0
    write_stall_s: float = 60.0


def plainly(error: GatewayError) -> tuple[list[tuple[str, str]], bytes]:
    """Refuse with the error's own headers and body."""
    return error.headers(), error.body()


class Listener:
    """Accepts connections on one socket and serves them with a delegate."""

    done_future: asyncio.Future[None]

    def __init__(
        self,
        delegate: HTTPServerConnectionDelegate,
        limits: ListenerLimits | None = None,
        refuse: Refuse = plainly,
    ) -> None:
        self.delegate = delegate
        self.take = delegate.take if isinstance(delegate, Taker) else _take_none
        self.limits = limits or ListenerLimits()
        self.refuse = refuse
        self.draining = False
        self._server: asyncio.Server | None = None
        self._connections: set[ServerConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket; the listener owns it from now on."""
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(loop)
        self.done_future = loop.create_future()
        self.done_future.set_result(None)
        self._server = await loop.create_server(
            lambda: ServerConnection(self, loop), sock=sock, backlog=_BACKLOG
        )

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on, each to the end of its answer."""
        self.draining = True
        if self._server is not None:
            self._server.close()

    def close_idle(self) -> None:
        """Close connections on which nothing is under way; answers from now on close theirs."""
        self.draining = True
        for connection in list(self._connections):
            if connection.idle:
                connection.close()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every connection is closed; False when that takes longer than this."""
        return await occurs(self._empty, timeout_s)

    def abort_all(self) -> None:
        """Close every connection at once."""
        for connection in list(self._connections):
            connection.abort()

    # What connections report and share.

    def opened(self, connection: ServerConnection) -> bool:
        """Count a new connection; False where it is one too many."""
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self.limits.max_connections

    def gone(self, connection: ServerConnection, *, greeted: bool) -> None:
        """Forget a closed connection; the delegate knows it when it had a request of it."""
        self._connections.discard(connection)
        if greeted:
            self.delegate.on_close(connection)
        if not self._connections:
            self._empty.set()

    def broken_future(self) -> asyncio.Future[None]:
        """Return what a write to a client that left gives."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StreamClosedError())
        future.exception()  # whoever wrote need not be waiting
        return future


def _take_none(_: RequestConnection) -> bool:
    return False


async def occurs(event: asyncio.Event, within_s: float) -> bool:
    """Wait for an event; False when it takes longer than this."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
