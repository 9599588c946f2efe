"""The way back to a client: one answer, whole, streamed, or an error."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from tornado.httputil import HTTPConnection, ResponseStartLine
from tornado.iostream import StreamClosedError

from ezkielyna.contract.errors import GatewayError
from ezkielyna.wire.prepared import PreparedHeaders
from ezkielyna.wire.request_connection import RequestConnection

EXPOSED = (
    "x-request-id, retry-after, retry-after-ms, x-ezkielyna-dropped, idempotent-replayed, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, "
    "x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-requests, x-ratelimit-reset-tokens"
)
CORS = f"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: {EXPOSED}\r\n"
EVENT_STREAM = (
    "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
)
_REASONS = {200: "OK", 204: "No Content"}


class Reply:
    """One client's end of a request. Every method may be called after the client is gone.

    Exactly one of `answer`, `refuse` and `begin` is called, once; `write` and `finish` follow
    `begin`. `on_gone` is called at most once, when the client leaves before the answer's end.
    `refused` is status and type of the error that was sent.
    """

    __slots__ = (
        "_bodiless",
        "_closes",
        "_connection",
        "_headers",
        "begun",
        "finished",
        "gone",
        "on_gone",
        "refused",
        "request_id",
    )

    def __init__(
        self, connection: HTTPConnection, request_id: str, *, bodiless: bool = False
    ) -> None:
        self._connection = connection
        self._bodiless = bodiless
        self.request_id = request_id
        self._headers = f"X-Request-Id: {request_id}\r\n{CORS}"
        self._closes = False
        self.begun = False
        self.finished = False
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.refused: tuple[int, str] | None = None

    @property
    def peer(self) -> str:
        """The address of the other end of the connection."""
        context = cast(Any, self._connection).context
        return cast(str, context.remote_ip)

    def add_headers(self, headers: Sequence[tuple[str, str]]) -> None:
        """Send these headers, too, whatever the answer will be.

        Raises ValueError for a line break in one.
        """
        self._headers += header_lines(headers)

    def add_lines(self, lines: str) -> None:
        """Send these lines of headers, too, each with its line break, as we wrote them."""
        self._headers += lines

    def close_connection(self) -> None:
        """Let the connection end with this answer, and say so."""
        self._closes = True
        self._headers += "Connection: close\r\n"

    def answer(
        self, body: bytes, *, status: int = 200, content_type: str = "application/json"
    ) -> None:
        """Send a whole answer."""
        own = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        sent, connection = b"" if self._bodiless else body, self._connection
        if type(connection) is RequestConnection and not self.gone:
            self.begun = self.finished = True
            reason = _REASONS.get(status, "Error")
            connection.answer(status, reason, own + self._headers, sent, closes=self._closes)
        else:
            self._send_head(status, own, len(body), sent)
            self.finish()

    def empty(self) -> None:
        """Send 204."""
        self._send_head(204, "", None, b"")
        self.finish()

    def refuse(self, error: GatewayError) -> None:
        """Send an error: with its status before the stream, as the last event inside it."""
        self.refused = error.status, error.type
        if self.begun:
            self.write(error.event())
            self.finish()
            return
        self.add_headers(error.headers())
        self.answer(error.body(), status=error.status)

    def begin(self, first: bytes, own: str = EVENT_STREAM) -> None:
        """Send the head of a stream, of events where nothing else is said, and its first bytes.

        `own` is header lines, each with its line break.
        """
        self._send_head(200, own, None, first)

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Send bytes of the stream; what is returned is done when more may be sent."""
        if self.gone or self.finished:
            return None
        future = self._connection.write(data)
        return None if future.done() else future

    async def send(self, data: bytes) -> bool:
        """Send bytes of the stream and wait until more may be sent; False: the client is gone."""
        sent = self.write(data)
        if sent is not None:
            with contextlib.suppress(StreamClosedError):
                await sent
        return not self.gone

    def finish(self) -> None:
        """End the answer. The connection may be used again."""
        if self.finished:
            return
        self.finished = True
        if not self.gone:
            self._connection.finish()

    def abandon(self) -> None:
        """Close the connection within a stream, so that nobody takes its beginning for all."""
        self.finished = True
        if not self.gone:
            self._connection.close()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """Note that the client left; tell who asked to know."""
        if self.gone or self.finished:
            return
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def _send_head(self, status: int, own: str, length: int | None, body: bytes) -> None:
        self.begun = True
        if self.gone:
            return
        headers = PreparedHeaders(own + self._headers, length=length, closes=self._closes)
        line = ResponseStartLine("HTTP/1.1", status, _REASONS.get(status, "Error"))
        self._connection.write_headers(line, headers, body)


def header_lines(headers: Sequence[tuple[str, str]]) -> str:
    """Return the lines of these headers; raises ValueError for a line break inside one."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header contains a line break")
    return lines
