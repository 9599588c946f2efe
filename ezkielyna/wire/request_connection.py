"""One request and the way to answer it, as Tornado's `HTTPConnection`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)

from ezkielyna.wire.prepared import PreparedHeaders

if TYPE_CHECKING:
    from ezkielyna.wire.server_connection import ServerConnection

_BODILESS = frozenset({204, 304})
_END_OF_CHUNKS = b"0\r\n\r\n"


class Context:
    """Where a request came from; Tornado's `HTTPServerRequest` reads both."""

    __slots__ = ("protocol", "remote_ip")

    def __init__(self, remote_ip: str, protocol: str = "http") -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol


class RequestConnection(HTTPConnection):
    """Carries one answer. A late writer can never touch the next request of the connection.

    Futures for flow control are done at once while the client reads fast enough. After the client
    left they hold `tornado.iostream.StreamClosedError`, as Tornado's own do.
    """

    # What most requests never change is kept by the class.
    # The request, filled by the parser.
    received = 0
    complete = False
    keep_alive = False
    expects_continue = False
    began_at = 0.0
    # How far the delegate got.
    delegate: HTTPMessageDelegate | None = None
    delivered = False
    waiting: asyncio.Future[None] | None = None
    # The answer.
    no_keep_alive = False
    head_written = False
    chunked = False
    finished = False
    _remaining: int | None = None
    closes = True
    """True when the connection ends with this answer; until its head is written nobody knows."""
    _close_callback: Callable[[], None] | None = None

    def __init__(
        self, server: ServerConnection, start_line: RequestStartLine, headers: HTTPHeaders
    ) -> None:
        self._server = server
        self.context = server.context
        self.start_line = start_line
        self.headers = headers
        self.pieces: list[bytes] = []
        self.max_body = server.limits.max_body
        self.body_timeout_s = server.limits.body_timeout_s

    # Tornado's interface.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called once when the client leaves between its request and our last byte.

        While the request is incomplete, the delegate's `on_connection_close` is called instead.
        """
        self._close_callback = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        """Lower or raise the limit for this request's body, up to the listener's own."""
        self.max_body = min(max_body_size, self._server.limits.max_body)

    def set_body_timeout(self, timeout: float) -> None:
        """Set how long the body of this request may take, in seconds."""
        self.body_timeout_s = timeout
        self._server.watch()

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write the head and the first bytes of the body in one system call.

        Raises ValueError for a line break in a header, HTTPOutputError for a chunk that is longer
        than Content-Length.
        """
        assert isinstance(start_line, ResponseStartLine)
        if type(headers) is PreparedHeaders:
            lines, length = headers.lines, headers.length
            says_connection = says_close = headers.closes
        else:
            lines = _checked_lines(headers)
            text = headers.get("Content-Length")
            length = None if text is None else int(text)
            says_connection = "Connection" in headers
            says_close = says_connection and "close" in headers["Connection"].lower()
        code = start_line.code
        head = self._head(code, start_line.reason, lines, length, says_connection, says_close)
        return self._server.write(head + self._framed(chunk) if chunk else head)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Write a piece of the body; raises HTTPOutputError beyond Content-Length."""
        return self._server.write(self._framed(chunk))

    def finish(self) -> None:
        """End the answer; raises HTTPOutputError where it is shorter than Content-Length."""
        if self.finished:
            return
        if self._remaining and not self._server.closed:
            missing = self._remaining
            self._server.abort()
            raise HTTPOutputError(f"the answer is {missing} bytes shorter than its Content-Length")
        if self.chunked:
            self._server.write(_END_OF_CHUNKS)
        self.finished = True
        self._close_callback = None
        self._server.answered(self)

    def close(self) -> None:
        """Close the connection at once; an answer that is under way is cut."""
        self._close_callback = None
        self._server.abort()

    def answer(self, code: int, reason: str, lines: str, body: bytes, *, closes: bool) -> None:
        r"""Write and finish a whole answer; `lines` are those of its headers, each with its `\r\n`.

        Content-Length is among them, and `Connection: close` where the connection ends with it.
        """
        head = self._head(code, reason, lines, len(body), closes, closes)
        self._server.write(head + body)
        self.finished = True
        self._close_callback = None
        self._server.answered(self)

    # What the server connection reports.

    def lost(self) -> None:
        """Tell the one who has to know that the client left; at most once."""
        delegate, callback = self.delegate, self._close_callback
        self.delegate = self._close_callback = None  # and no cycle stays behind
        if delegate is not None and not self.delivered:
            self.delivered = True
            delegate.on_connection_close()
        elif callback is not None and not self.finished:
            callback()

    def _head(
        self,
        code: int,
        reason: str,
        lines: str,
        length: int | None,
        says_connection: bool,
        says_close: bool,
    ) -> bytes:
        """Return the head, and note what follows from it; once."""
        assert not self.head_written
        self.head_written = True
        line = self.start_line
        if line.method == "HEAD" or code in _BODILESS:
            self._remaining = 0
        elif length is not None:
            self._remaining = length
        elif line.version == "HTTP/1.1":
            self.chunked = True
            lines += "Transfer-Encoding: chunked\r\n"
        else:
            self.no_keep_alive = True  # the end of the connection is the end of the body
        closes = self.no_keep_alive or not self.keep_alive or self._server.listener.draining
        if not says_connection and (closes or line.version == "HTTP/1.0"):
            lines += "Connection: close\r\n" if closes else "Connection: keep-alive\r\n"
        self.closes = says_close or closes
        return f"HTTP/1.1 {code} {reason}\r\n{lines}\r\n".encode("latin-1")

    def _framed(self, chunk: bytes) -> bytes:
        if self.chunked:
            # An empty chunk would end the answer.
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self._remaining is not None:
            if self.start_line.method == "HEAD":
                return b""
            self._remaining -= len(chunk)
            if self._remaining < 0:
                self._server.abort()
                raise HTTPOutputError("the answer is longer than its Content-Length")
        return chunk


def _checked_lines(headers: HTTPHeaders) -> str:
    """Return the header lines; raises ValueError for a line break inside one."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.get_all()]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ValueError("a header contains a line break")
    return text


def refusal(status: int, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """Return a whole answer that ends the connection, for what never reached a delegate."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
