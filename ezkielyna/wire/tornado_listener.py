"""The way in on Tornado's own HTTP server, and the choice between the two.

What differs from `wire.listener`, because Tornado gives no place to do it:

- What is malformed, or more than `HARD` times too large, is refused without a JSON body: 400, or a
  closed connection where the head is too large.
- `idle_timeout_s` covers the time for the head, too; `header_timeout_s` is not used.
- A client that reads nothing is not closed after `write_stall_s`.
- While draining, an answer whose request began before does not say `Connection: close`; its
  connection is closed after it all the same.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Protocol, cast

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream

from ezkielyna.contract.errors import GatewayError, HeadersTooLarge, Overloaded
from ezkielyna.wire.listener import Listener, ListenerLimits, Refuse, occurs, plainly
from ezkielyna.wire.request_connection import refusal

_BACKLOG = 2048

HARD = 2
"""Tornado refuses without an answer of ours, so its limits are where politeness ends: a delegate
that wants to answer does so below them."""


class AnyListener(Protocol):
    """What both listeners can do; `Listener` says what each member means."""

    @property
    def connections(self) -> int:
        """Open connections."""

    async def start(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket."""

    def stop_accepting(self) -> None:
        """Close the listening socket."""

    def close_idle(self) -> None:
        """Close connections on which nothing is under way."""

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every connection is closed; False when that takes longer than this."""

    def abort_all(self) -> None:
        """Close every connection at once."""


def listener(
    wire: str,
    delegate: HTTPServerConnectionDelegate,
    limits: ListenerLimits | None = None,
    refuse: Refuse = plainly,
) -> AnyListener:
    """Return the listener that `server.wire` names; raises ValueError for an unknown name."""
    if wire == "llhttp":
        return Listener(delegate, limits, refuse)
    if wire == "tornado":
        return TornadoListener(delegate, limits, refuse)
    raise ValueError(f'wire is "llhttp" or "tornado", not {wire!r}')


class TornadoListener:
    """`Listener` over `tornado.httpserver.HTTPServer`."""

    def __init__(
        self,
        delegate: HTTPServerConnectionDelegate,
        limits: ListenerLimits | None = None,
        refuse: Refuse = plainly,
    ) -> None:
        self.limits = limits or ListenerLimits()
        self.refuse = refuse
        self.draining = False
        self.streams: dict[IOStream, bool] = {}  # open connections, and whether each is at work
        self.empty = asyncio.Event()
        self.empty.set()
        self._server = _Server(
            _Delegate(self, delegate),
            idle_connection_timeout=self.limits.idle_timeout_s,
            body_timeout=self.limits.body_timeout_s,
            max_header_size=self.limits.header_bytes * HARD,
            max_body_size=self.limits.max_body * HARD,
        )
        self._server.owner = self
        self._server.served = delegate

    async def start(self, sock: socket.socket) -> None:
        """Accept connections on a bound socket; the listener owns it from now on."""
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self._server.add_socket(sock)

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self.streams)

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on, each to the end of its answer."""
        self._drain()
        self._server.stop()

    def close_idle(self) -> None:
        """Close connections on which nothing is under way; others close after their answer."""
        self._drain()
        for stream, busy in list(self.streams.items()):
            if not busy:
                stream.close()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every connection is closed; False when that takes longer than this."""
        return await occurs(self.empty, timeout_s)

    def abort_all(self) -> None:
        """Close every connection at once."""
        for stream in list(self.streams):
            stream.close()

    def _drain(self) -> None:
        self.draining = True
        self._server.conn_params.no_keep_alive = True


class _Server(HTTPServer):
    """Counts connections, and tells the delegate of their end, which `HTTPServer` keeps quiet."""

    owner: TornadoListener
    served: HTTPServerConnectionDelegate

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        owner = self.owner
        if len(owner.streams) >= owner.limits.max_connections:
            error = Overloaded("Too many connections; try again in a moment.")
            written = stream.write(refusal(error.status, *owner.refuse(error)))
            asyncio.ensure_future(written).add_done_callback(lambda _: stream.close())
            return
        owner.streams[stream] = False
        owner.empty.clear()
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        owner = self.owner
        owner.streams.pop(cast(Any, server_conn).stream, None)
        self.served.on_close(server_conn)
        if not owner.streams:
            owner.empty.set()


class _Delegate(HTTPServerConnectionDelegate):
    """Begins requests, and notes which connections are at work."""

    def __init__(self, owner: TornadoListener, inner: HTTPServerConnectionDelegate) -> None:
        self._owner = owner
        self._inner = inner

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Begin to wait for a request: until its head is there, the connection is idle."""
        stream: IOStream = cast(Any, server_conn).stream
        if stream in self._owner.streams:
            self._owner.streams[stream] = False
        if self._owner.draining:
            stream.close()
        inner = self._inner.start_request(server_conn, request_conn)
        return _Busy(self._owner, stream, request_conn, inner)


class _Busy(HTTPMessageDelegate):
    """Passes a request through; its head makes the connection busy."""

    def __init__(
        self,
        owner: TornadoListener,
        stream: IOStream,
        connection: HTTPConnection,
        inner: HTTPMessageDelegate,
    ) -> None:
        self._owner = owner
        self._stream = stream
        self._inner = inner
        self._connection = connection
        self._refused = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Note that the connection is at work; send small events without delay."""
        self._owner.streams[self._stream] = True
        self._stream.set_nodelay(True)
        size = sum(len(name) + len(value) + 4 for name, value in headers.get_all())
        limit = self._owner.limits.header_bytes
        if size > limit:
            self._refuse(HeadersTooLarge(f"The headers are larger than {limit} bytes."))
            return None
        return self._inner.headers_received(start_line, headers)

    def _refuse(self, error: GatewayError) -> None:
        """Answer in the place of the delegate, which never hears of the request."""
        self._refused = True
        own, body = self._owner.refuse(error)
        headers = HTTPHeaders({"Content-Type": "application/json", "Connection": "close"})
        headers["Content-Length"] = str(len(body))
        for name, value in own:
            headers.add(name, value)
        line = ResponseStartLine("HTTP/1.1", error.status, HTTPStatus(error.status).phrase)
        self._connection.write_headers(line, headers, body)
        self._connection.finish()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a part of the body."""
        return None if self._refused else self._inner.data_received(chunk)

    def finish(self) -> None:
        """Pass the end of the request."""
        if not self._refused:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Pass the early end of the connection."""
        if not self._refused:
            self._inner.on_connection_close()
