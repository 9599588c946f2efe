"""API paths below Tornado's RequestHandler: collect the body, run the pipeline, write the answer.

`ApiRouter` is a `tornado.routing.Router`: it gives API paths to `ApiDelegate` and all others to the
`Application` that serves pages. It runs on either listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, cast

import structlog
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import Router

from ezkielyna.contract.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ServerError,
    Unavailable,
)
from ezkielyna.gateway.call import Call, Handler, Head, api_path, check_body_headers, too_large
from ezkielyna.gateway.guard import Guard
from ezkielyna.gateway.reply import Reply
from ezkielyna.wire.received import ReceivedHeaders
from ezkielyna.wire.request_connection import RequestConnection
from ezkielyna.wire.request_id import new_request_id

log = structlog.stdlib.get_logger("ezkielyna.gateway")

MAX_URL_BYTES = 8 * 1024

PREFLIGHT_HEADERS = (
    "Authorization, Content-Type, x-api-key, Idempotency-Key, anthropic-version, anthropic-beta"
)


class Routes(Protocol):
    """What answers API paths."""

    def find(self, path: str) -> dict[str, Handler] | None:
        """Return the handlers by method for a path below the prefix; None when unknown."""

    @property
    def max_body(self) -> int:
        """The largest body in bytes that is taken."""


class ApiRouter(Router):
    """Gives API paths to `ApiDelegate`, all others to the pages' own router."""

    def __init__(self, routes: Routes, pages: Router, guard: Guard) -> None:
        self.routes = routes
        self.pages = pages
        self.guard = guard
        self.running: set[asyncio.Task[None]] = set()

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Return the delegate of a request whose path is not known yet."""
        return ApiDelegate(self, server_conn, request_conn)

    def take(self, request: RequestConnection) -> bool:
        """Serve a request that came whole, with a head that was read before; else False.

        `ApiDelegate` does what is left: it reads heads, collects bodies, and refuses.
        """
        headers = request.headers
        head: Head | None = cast(ReceivedHeaders, headers).notes.get(Head)
        if head is None or request.received > self.routes.max_body:
            return False
        if len(self.running) >= self.guard.most:
            return False
        body = b"".join(request.pieces)
        request.pieces.clear()
        reply = Reply(request, new_request_id(), bodiless=head.method == "HEAD")
        request.set_close_callback(reply.cut)
        self.run(Call(head, headers, body, reply))
        return True

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Return the pages' handler: API paths never come here."""
        return self.pages.find_handler(request)

    def read(self, line: RequestStartLine, headers: HTTPHeaders) -> Head:
        """Return what the head of an API request says; raises GatewayError for a wrong one."""
        if len(line.path) > MAX_URL_BYTES:
            raise InvalidRequest(f"The URL is longer than {MAX_URL_BYTES} bytes.")
        url, _, query = line.path.partition("?")
        path = api_path(url)
        assert path is not None
        handler = self._handler(line.method, path)
        if line.method == "POST":
            check_body_headers(headers, self.routes.max_body)
        return Head(handler, line.method, path, query, headers)

    def _handler(self, method: str, path: str) -> Handler:
        if method == "OPTIONS":
            return _preflight
        handlers = self.routes.find(path)
        if handlers is None:
            raise NotFound(f"There is no {path} here. See /docs for the endpoints.")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise MethodNotAllowed(
                f"{method} is not allowed on {path}; use {' or '.join(handlers)}.",
                (*handlers, "OPTIONS"),
            )
        return handler

    def run(self, call: Call) -> None:
        """Serve a call in a task of its own, which a client's leaving does not cancel."""
        # Named after its request: of one without a name, the making of the name is a third.
        task = asyncio.Task(
            self._serve(call), loop=asyncio.get_running_loop(), name=call.reply.request_id
        )
        self.running.add(task)

    async def _serve(self, call: Call) -> None:
        """Run a call's handler; whatever it raises becomes an answer."""
        reply = call.reply
        try:
            await call.head.handler(call)
        except GatewayError as error:
            reply.refuse(error)
        except asyncio.CancelledError:
            reply.refuse(Unavailable("This server stopped before the answer was complete."))
            raise
        except Exception:
            log.exception("request failed", request_id=reply.request_id, path=call.head.path)
            reply.refuse(ServerError.masked(reply.request_id))
        finally:
            # What a callback of the task did would take a turn of the loop more.
            self.running.discard(cast(asyncio.Task[None], asyncio.current_task()))


class ApiDelegate(HTTPMessageDelegate):
    """Receives one request; becomes a mere pass-through when the path is not the API's."""

    # What most requests never change is kept by the class.
    _inner: HTTPMessageDelegate | None = None
    _head: Head | None = None
    _size = 0

    def __init__(self, router: ApiRouter, server: object, connection: HTTPConnection) -> None:
        self._router = router
        self._server = server
        self._connection = connection
        self._parts: list[bytes] = []

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Choose who answers; refuse at once what cannot be right."""
        assert isinstance(start_line, RequestStartLine)
        router = self._router
        notes: dict[Any, Any] = getattr(headers, "notes", {})  # kept by our own listener
        head: Head | None = notes.get(Head)
        if head is None and api_path(start_line.path) is None:
            self._inner = router.pages.start_request(self._server, self._connection)
            return self._inner.headers_received(start_line, headers)
        self._headers = headers
        bodiless = start_line.method == "HEAD"
        self._reply = reply = Reply(self._connection, new_request_id(), bodiless=bodiless)
        self._connection.set_close_callback(reply.cut)  # type: ignore[attr-defined]
        try:
            if len(router.running) >= router.guard.most:
                raise router.guard.refusal()
            if head is None:
                head = notes[Head] = router.read(start_line, headers)
            self._head = head
        except GatewayError as error:
            self._refuse(error)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Collect the body, never more than the limit."""
        if self._inner is not None:
            return self._inner.data_received(chunk)
        self._size += len(chunk)
        if self._size <= self._router.routes.max_body:
            self._parts.append(chunk)
        else:
            # Refused at the end: who is still sending would lose an answer now to a reset.
            self._parts.clear()
        return None

    def finish(self) -> None:
        """Start the pipeline: the request is complete."""
        if self._inner is not None:
            self._inner.finish()
            return
        head, reply, router = self._head, self._reply, self._router
        if head is None or reply.begun:
            return
        if self._size > router.routes.max_body:
            self._refuse(too_large(router.routes.max_body))
            return
        body, self._parts = b"".join(self._parts), []
        router.run(Call(head, self._headers, body, reply))

    def on_connection_close(self) -> None:
        """Forget the request: the client left before it was complete."""
        if self._inner is not None:
            self._inner.on_connection_close()
        else:
            self._reply.cut()

    def _refuse(self, error: GatewayError) -> None:
        """Answer before the request is complete; the rest of it is read and dropped."""
        self._parts.clear()
        if not self._reply.begun:
            self._reply.close_connection()
            self._reply.refuse(error)


async def _preflight(call: Call) -> None:
    """Answer a CORS preflight (Fetch standard, section 3.2.2): any origin, no credentials."""
    asked = call.headers.get("Access-Control-Request-Headers")
    call.reply.add_headers(
        [
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", asked or PREFLIGHT_HEADERS),
            ("Access-Control-Max-Age", "86400"),
        ]
    )
    call.reply.empty()
