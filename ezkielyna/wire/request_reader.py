"""Bytes → requests: llhttp's callbacks, and the limits that hold before anyone is asked."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from tornado.httputil import RequestStartLine

from ezkielyna.contract.errors import (
    GatewayError,
    HeadersTooLarge,
    InvalidRequest,
    RequestTooLarge,
)
from ezkielyna.wire.received import ReceivedHeaders, RepeatedHeaders
from ezkielyna.wire.repeated_head import RepeatedHead
from ezkielyna.wire.request_connection import RequestConnection

if TYPE_CHECKING:
    from ezkielyna.wire.server_connection import ServerConnection

_VERSIONS = frozenset({"1.0", "1.1"})
_PROTOCOLS = {version: f"HTTP/{version}" for version in _VERSIONS}
_UPGRADING = frozenset({b"upgrade", b"http2-settings"})

TRIES = 4
"""So many heads of a connection are kept in vain; with one that comes again they begin anew."""


class RequestReader:
    """Parses what one connection sends; any split of the bytes gives the same requests.

    `incoming` is the request whose body is being read, None between requests. `fault` is set once
    the bytes cannot be read further; requests before it are whole.
    """

    __slots__ = (
        "_head_bytes",
        "_headers",
        "_known",
        "_limits",
        "_parser",
        "_server",
        "_tries",
        "_unfinished_bytes",
        "_url",
        "fault",
        "in_head",
        "incoming",
    )

    def __init__(self, server: ServerConnection) -> None:
        self._server = server
        self._limits = server.limits
        self.fault: GatewayError | None = None
        self.incoming: RequestConnection | None = None
        self.in_head = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._unfinished_bytes = 0
        self._parser = HttpRequestParser(self)
        self._known: RepeatedHead | None = None
        self._tries = TRIES

    def feed(self, data: bytes) -> None:
        """Take one read; whole requests go to the server connection's queue."""
        if self.in_head or self.incoming is not None or self.fault is not None:
            self._parse(data)
            return
        known = self._known
        body = None if known is None else known.body(data)
        if known is None or body is None or len(body) > self._limits.max_body:
            self._learn(data)
            return
        # A whole request, with the head that came before.
        headers = RepeatedHeaders(known.headers, len(body))
        request = RequestConnection(self._server, known.line, headers)
        request.keep_alive = request.complete = True
        if body:
            request.received = len(body)
            request.pieces.append(body)
        self._server.queue.append(request)
        self._tries = TRIES

    def _learn(self, data: bytes) -> None:
        """Parse a read that begins with a head, and keep that head where it may come again."""
        queue = self._server.queue
        queued = len(queue)
        self._parse(data)
        if self._tries and len(queue) == queued + 1 and queue[-1].complete:
            self._tries -= 1
            self._known = RepeatedHead.of(data, queue[-1])

    def _parse(self, data: bytes) -> None:
        began_in_head = self.in_head
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            if self.fault is None:
                self.fault = InvalidRequest("The request is not valid HTTP/1.1.")
        if began_in_head and self.in_head:
            # The parser keeps an unfinished line to itself: without this, one without an end
            # would never be counted.
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > self._limits.header_bytes and self.fault is None:
                self.fault = self._too_large_head()

    # llhttp's callbacks. One that raises stops the parser; `fault` then says why.

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.in_head = True
        self._url = b""
        self._headers = []
        self._head_bytes = self._unfinished_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header until the head is complete; count a trailer, and ignore it."""
        if self.incoming is None:
            self._headers.append((name, value))
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.header_bytes:
            self._refuse(self._too_large_head())

    def on_headers_complete(self) -> None:
        """Make the request, or stop where it can only be refused."""
        parser, limits = self._parser, self._limits
        self.in_head = False
        headers = self._read_headers()
        if self._head_bytes > limits.header_bytes:
            self._refuse(self._too_large_head())
        version = parser.get_http_version()
        method = parser.get_method().decode("ascii")
        if version not in _VERSIONS or method == "CONNECT":
            self._refuse(InvalidRequest("Only HTTP/1.1 is spoken here, and no CONNECT."))
        seen = headers.values_by_name
        if b"host" in headers.repeated or (b"host" not in seen and version == "1.1"):
            self._refuse(InvalidRequest("The request needs exactly one Host header."))
        if parser.should_upgrade():
            return  # the parser stops, and `feed` reads the request again
        target = self._url.decode("latin-1")
        line = RequestStartLine(method, target, _PROTOCOLS[version])
        request = RequestConnection(self._server, line, headers)
        request.keep_alive = parser.should_keep_alive()
        if int(seen.get(b"content-length", 0)) > limits.max_body:
            self._refuse(self._too_large_body())
        if b"expect" in seen:
            request.expects_continue = seen[b"expect"].lower() == b"100-continue"
        self._headers = []  # an answer may take minutes
        self.incoming = request
        self._server.queue.append(request)

    def _read_headers(self) -> ReceivedHeaders:
        """Return what `on_header` kept, and count its bytes."""
        headers = self._headers
        named = sum(map(len, chain.from_iterable(headers)))
        self._head_bytes = len(self._url) + named + 4 * len(headers)
        # llhttp strips the left side of a value only.
        seen = {name.lower(): value.rstrip(b" \t") for name, value in headers}
        repeated = _repeated(headers) if len(seen) < len(headers) else {}
        for name, values in repeated.items():
            seen[name] = b",".join(values)
        return ReceivedHeaders(seen, repeated)

    def on_body(self, piece: bytes) -> None:
        """Take a part of the body."""
        request = self.incoming
        assert request is not None
        request.received += len(piece)
        if request.received > self._limits.max_body:
            self._refuse(self._too_large_body())
        if not request.finished:
            request.pieces.append(piece)

    def on_message_complete(self) -> None:
        """End the request."""
        if self.incoming is not None:
            self.incoming.complete = True
            self.incoming = None

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again without its `Upgrade`, as RFC 9110 section 7.8 allows.

        llhttp would take what follows for another protocol, and would lose the body of a POST that
        offers h2c, as Java's HTTP client sends.
        """
        method = self._parser.get_method()
        lines = [b"%b %b HTTP/1.1" % (method, self._url)]
        for name, value in self._read_headers().values_by_name.items():
            if name == b"connection":
                words = [word.strip() for word in value.split(b",")]
                kept = [word for word in words if word and word.lower() not in _UPGRADING]
                lines.append(b"Connection: " + b", ".join(kept))
            elif name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        self._parser = HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", b""]) + rest)

    def _refuse(self, error: GatewayError) -> None:
        self.fault = self.fault or error
        raise error

    def _too_large_head(self) -> HeadersTooLarge:
        limit = self._limits.header_bytes
        return HeadersTooLarge(f"The headers are larger than {limit} bytes.")

    def _too_large_body(self) -> RequestTooLarge:
        return RequestTooLarge(f"The body is larger than {self._limits.max_body} bytes.")


def _repeated(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Return the values of those headers that came more than once."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    return {name: each for name, each in values.items() if len(each) > 1}
