"""API paths below Tornado's RequestHandler: collect the body, run the pipeline, write the answer.

`ApiRouter` is a `tornado.routing.Router`: it gives API paths to `ApiDelegate` and all others to the
`Application` that serves pages. It runs on either listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

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
    RequestTooLarge,
    ServerError,
    Unavailable,
    UnsupportedMediaType,
)
from ezkielyna.gateway.guard import Guard
from ezkielyna.gateway.reply import Reply
from ezkielyna.wire.request_id import new_request_id

log = structlog.stdlib.get_logger("ezkielyna.gateway")

PREFIXES = ("/api/v1/", "/v1/")
MAX_URL_BYTES = 8 * 1024

PREFLIGHT_HEADERS = (
    "Authorization, Content-Type, x-api-key, Idempotency-Key, anthropic-version, anthropic-beta"
)


class Call:
    """A complete API request as the pipeline gets it: what was asked, and the way back."""

    __slots__ = ("body", "headers", "idempotency_key", "key", "method", "path", "query", "reply")

    def __init__(
        self, method: str, path: str, query: str, headers: HTTPHeaders, body: bytes, reply: Reply
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.key = api_key(headers)
        self.idempotency_key = headers.get("Idempotency-Key")
        self.body = body
        self.reply = reply

    @property
    def peer(self) -> str:
        """The address of the other end of the connection: the client, or a proxy before it."""
        return self.reply.peer

    @property
    def forwarded(self) -> str | None:
        """The header `X-Forwarded-For`, which anybody may have written."""
        return self.headers.get("X-Forwarded-For")

    def argument(self, name: str) -> str | None:
        """Return the last value of a query parameter."""
        values = parse_qs(self.query).get(name)
        return values[-1] if values else None


def api_key(headers: HTTPHeaders) -> str | None:
    """Return the key of `Authorization: Bearer` or `x-api-key`; None when there is none."""
    authorization = headers.get("Authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return key.strip()
    return headers.get("x-api-key")


Handler = Callable[[Call], Coroutine[Any, Any, None]]


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

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Return the pages' handler: API paths never come here."""
        return self.pages.find_handler(request)

    def run(self, handler: Handler, call: Call) -> None:
        """Serve a call in a task of its own, which a client's leaving does not cancel."""
        task = asyncio.get_running_loop().create_task(_serve(handler, call))
        self.running.add(task)
        task.add_done_callback(self.running.discard)


class ApiDelegate(HTTPMessageDelegate):
    """Receives one request; becomes a mere pass-through when the path is not the API's."""

    def __init__(self, router: ApiRouter, server: object, connection: HTTPConnection) -> None:
        self._router = router
        self._server = server
        self._connection = connection
        self._inner: HTTPMessageDelegate | None = None
        self._handler: Handler | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Choose who answers; refuse at once what cannot be right."""
        assert isinstance(start_line, RequestStartLine)
        path, _, self._query = start_line.path.partition("?")
        below = _below_prefix(path)
        if below is None:
            self._inner = self._router.pages.start_request(self._server, self._connection)
            return self._inner.headers_received(start_line, headers)
        self._method, self._path, self._headers = start_line.method, below, headers
        bodiless = start_line.method == "HEAD"
        self._reply = Reply(self._connection, new_request_id(), bodiless=bodiless)
        self._connection.set_close_callback(self._reply.cut)  # type: ignore[attr-defined]
        try:
            self._handler = self._choose(start_line.path)
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
        if self._handler is None or self._reply.begun:
            return
        if self._size > self._router.routes.max_body:
            self._refuse(self._too_large())
            return
        body, self._parts = b"".join(self._parts), []
        call = Call(self._method, self._path, self._query, self._headers, body, self._reply)
        self._router.run(self._handler, call)

    def on_connection_close(self) -> None:
        """Forget the request: the client left before it was complete."""
        if self._inner is not None:
            self._inner.on_connection_close()
        else:
            self._reply.cut()

    def _choose(self, url: str) -> Handler:
        router = self._router
        if len(router.running) >= router.guard.most:
            raise router.guard.refusal()
        if len(url) > MAX_URL_BYTES:
            raise InvalidRequest(f"The URL is longer than {MAX_URL_BYTES} bytes.")
        if self._method == "OPTIONS":
            return _preflight
        handlers = router.routes.find(self._path)
        if handlers is None:
            raise NotFound(f"There is no {self._path} here. See /docs for the endpoints.")
        handler = handlers.get("GET" if self._method == "HEAD" else self._method)
        if handler is None:
            allowed = (*handlers, "OPTIONS")
            raise MethodNotAllowed(
                f"{self._method} is not allowed on {self._path}; use {' or '.join(handlers)}.",
                allowed,
            )
        if self._method == "POST":
            self._check_body_headers()
        return handler

    def _check_body_headers(self) -> None:
        media_type = self._headers.get("Content-Type", "application/json")
        if media_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(
                f"The Content-Type is {media_type!r}; send 'Content-Type: application/json'."
            )
        if self._headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("Compressed bodies are not taken; send the JSON as it is.")
        length = self._headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self._router.routes.max_body:
            raise self._too_large()

    def _too_large(self) -> RequestTooLarge:
        limit = self._router.routes.max_body
        return RequestTooLarge(f"The body is larger than {limit} bytes.")

    def _refuse(self, error: GatewayError) -> None:
        """Answer before the request is complete; the rest of it is read and dropped."""
        self._parts.clear()
        if not self._reply.begun:
            self._reply.close_connection()
            self._reply.refuse(error)


async def _serve(handler: Handler, call: Call) -> None:
    """Run a handler; whatever it raises becomes an answer."""
    reply = call.reply
    try:
        await handler(call)
    except GatewayError as error:
        reply.refuse(error)
    except asyncio.CancelledError:
        reply.refuse(Unavailable("This server stopped before the answer was complete."))
        raise
    except Exception:
        log.exception("request failed", request_id=reply.request_id, path=call.path)
        reply.refuse(ServerError.masked(reply.request_id))


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


def _below_prefix(path: str) -> str | None:
    """Return the path below `/api/v1` or `/v1`, decoded; None when it is no API path."""
    for prefix in PREFIXES:
        if path.startswith(prefix):
            below = path[len(prefix) - 1 :]
            return unquote(below) if "%" in below else below
    return None
