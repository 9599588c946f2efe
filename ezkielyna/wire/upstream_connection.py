"""A connection to an upstream: one answer at a time, pushed into its call's receiver."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ezkielyna.contract.errors import UpstreamError, UpstreamTimeout
from ezkielyna.wire.answered import AnswerHeaders
from ezkielyna.wire.call import Call
from ezkielyna.wire.decoding import Decoder
from ezkielyna.wire.outbox import Outbox, Sender
from ezkielyna.wire.outgoing import Outgoing
from ezkielyna.wire.target import Origin
from ezkielyna.wire.timed import Timed

MAX_HEAD_BYTES = 64 * 1024
"""The most bytes of an answer's head, 1xx answers before it included."""

MAX_HEADERS = 1000

_JOINED_BYTES = 64 * 1024
"""Up to here head and body are copied into one write; beyond, the body goes out in slices."""


class Pool(Protocol):
    """What a connection reports to."""

    idle_s: float
    outbox: Outbox

    def keep(self, connection: UpstreamConnection) -> bool:
        """Take an idle connection; False when there are enough."""

    def retry(self, call: Call) -> None:
        """Send a call again on a fresh connection."""

    def gone(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection."""


class UpstreamConnection(Timed):
    """Parses answers with llhttp; the parser only notes what it sees, `_deliver` hands it on.

    The time of the last progress is `_since`.
    """

    __slots__ = (
        "_body_end",
        "_complete",
        "_decoder",
        "_fault",
        "_head",
        "_head_bytes",
        "_headers",
        "_keep_alive",
        "_open",
        "_outgoing",
        "_parser",
        "_pieces",
        "_pool",
        "_since",
        "_status",
        "_until_close",
        "call",
        "on_body",
        "origin",
        "reused",
        "transport",
    )

    on_body: Callable[[bytes], None]

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._pool = pool
        self.transport: Sender | None = None
        self._since = loop.time()
        self.origin = origin
        self.call: Call | None = None
        self.reused = False
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # no Python frame for a piece of a body
        self._status = 0
        self._until_close = False
        self._keep_alive = False
        self._body_end = 0
        self._fault: UpstreamError | None = None
        self._reset()
        self._parser = HttpResponseParser(self)

    def _reset(self) -> None:
        """Begin anew, but for what the next answer's head and end set in any case."""
        self._head: AnswerHeaders | None = None  # complete, not yet or already handed on
        self._headers: list[tuple[bytes, bytes]] = []  # being read: a head, or ignored trailers
        self._head_bytes = 0
        self._open = False  # the receiver has the head
        self._complete = False
        self._decoder: Decoder | None = None
        self._outgoing: Outgoing | None = None

    # What the pool does.

    @property
    def alive(self) -> bool:
        """True as far as this side knows."""
        return self.transport is not None and not self.transport.is_closing()

    def send(self, call: Call) -> None:
        """Write the call's request and wait for its answer; the connection must be idle."""
        assert self.call is None
        assert self.transport is not None
        self.call = call
        call.connection = self
        self._since = since = self._loop.time()
        head, body = call.wire
        if len(body) <= _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self._outgoing = Outgoing(self._loop, self.transport, body)
            self._outgoing.resume()
        if call.paused:
            self.pause()
        if since + call.limits.first_byte_s < self._timer_at or call.total_at < self._timer_at:
            self._watch()

    def pause(self) -> None:
        """Stop reading."""
        if self.alive:
            cast(Sender, self.transport).pause_reading()

    def resume(self) -> None:
        """Read on; the limit between two reads starts anew."""
        if self.alive:
            self._since = self._loop.time()
            self._watch()
            cast(Sender, self.transport).resume_reading()

    def drop(self) -> None:
        """Close at once; the call, if any, is not told."""
        self._detached()
        self._stop_timer()
        if self.transport is not None:
            self.transport.abort()

    def _detached(self) -> Call | None:
        call, self.call = self.call, None
        if call is not None:
            call.connection = None
        if self._outgoing is not None:
            self._outgoing.stop()
        return call

    # Time.

    def _deadline(self) -> tuple[float, str]:
        """Return when patience ends, and with which phase."""
        call = self.call
        if call is None:
            return self._since + self._pool.idle_s, ""
        if not self._open:
            at, phase = self._since + call.limits.first_byte_s, "its first byte"
        elif call.paused:
            at, phase = math.inf, ""
        else:
            at, phase = self._since + call.limits.idle_s, "more of its answer"
        return (call.total_at, "the end of its answer") if call.total_at < at else (at, phase)

    def _watch(self) -> None:
        """Make sure that the timer fires no later than the deadline."""
        self._ring_by(self._deadline()[0])

    def _ring(self) -> None:
        super()._ring()
        at, phase = self._deadline()
        # A millisecond is the resolution of the loop's clock.
        if at > self._loop.time() + 0.001:
            self._watch()
        elif self.call is None:
            self.drop()
        else:
            self._fail(UpstreamTimeout(f"The upstream kept us waiting too long for {phase}."))

    # What the socket says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; TCP_NODELAY is set by the event loop."""
        self.transport = Sender(self._pool.outbox, cast(asyncio.Transport, transport))

    def pause_writing(self) -> None:
        """Hold back a large body."""
        if self._outgoing is not None:
            self._outgoing.pause()

    def resume_writing(self) -> None:
        """Go on with it."""
        if self._outgoing is not None:
            self._outgoing.resume()

    def data_received(self, data: bytes) -> None:
        """Parse one read and push it into the receiver."""
        call = self.call
        if call is None:
            # What an upstream says unasked would be taken for the answer to the next request.
            self.drop()
            return
        if self._open:
            self._since = self._loop.time()  # a trickled head gains no time
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fault = UpstreamError("The upstream's answer is not HTTP.")
        if len(self._headers) > MAX_HEADERS:
            self._fault = UpstreamError("The upstream's answer has too many headers.")
        try:
            self._deliver(call, len(data))
        except BaseException:
            # The receiver's own fault. It goes on to the event loop, which closes the transport.
            if self.call is call:
                self._fail(UpstreamError("The upstream's answer could not be handled."))
            self.reused = False
            raise

    def eof_received(self) -> None:
        """End an answer that the end of the connection delimits; the transport then closes."""
        if self.call is not None and self._open and self._until_close:
            self._finish(self.call)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the call, or send it again where a pooled connection had died unnoticed."""
        self._stop_timer()
        self._pool.gone(self)
        call = self._detached()
        if call is None:
            return
        unanswered = not self._open and not self._head_bytes
        if self.reused and unanswered and not call.retried:
            call.retried = True
            self._pool.retry(call)
            return
        error = UpstreamError(
            "The upstream's answer was cut short."
            if self._open
            else "The upstream closed the connection without an answer."
        )
        error.__cause__ = exc
        call.fail(error)

    # What the parser says; it may say several things about one read.

    def on_message_begin(self) -> None:
        """Note that more follows an answer in the same read, which nobody asked for."""
        if self._complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header of the head or of the trailers."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the head, unless it is an interim one or not the first."""
        headers, self._headers = self._headers, []
        if len(headers) > MAX_HEADERS:
            raise ValueError("too many headers")
        status = self._parser.get_status_code()
        if status < 200 or self._complete:
            return
        self._status, self._head = status, AnswerHeaders(headers)
        values = self._head.values_by_name
        self._until_close = b"content-length" not in values and _until_close(values)
        assert self.call is not None
        if self.call.method == "HEAD":
            # llhttp cannot be told that no body follows; the connection is closed afterwards.
            self._complete = True

    def on_message_complete(self) -> None:
        """Note the end of the answer, unless it is an interim one."""
        if self._head is not None and not self._complete:
            self._complete = True
            self._body_end = len(self._pieces)
            self._keep_alive = self._parser.should_keep_alive()

    # What the receiver hears.

    def _deliver(self, call: Call, size: int) -> None:
        if not self._open and not self._opened(call, size):
            return
        pieces = self._pieces
        if pieces:
            if self._complete:
                del pieces[self._body_end :]
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if self._decoder is not None:
                data = self._decoded(data)
            if data:
                call.receiver.data_received(data)
                if call.ended:
                    return
        if self._complete:
            self._finish(call)
        elif self._fault is not None:
            self._fail(self._fault)

    def _opened(self, call: Call, size: int) -> bool:
        """Hand the head on once it is complete; False when there is nothing more to deliver."""
        if self._head is None:
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fault = UpstreamError("The upstream's answer has too large a head.")
            if self._fault is not None:
                self._fail(self._fault)
            return False
        self._open = True
        self._since = since = self._loop.time()
        call.wire = (b"", b"")  # it cannot be sent again; a stream must not keep it in memory
        if since + call.limits.idle_s < self._timer_at or call.total_at < self._timer_at:
            self._watch()
        if b"content-encoding" in self._head.values_by_name:
            encoding = self._head["content-encoding"]
            try:
                self._decoder = Decoder.named(encoding)
            except UpstreamError as error:
                self._fail(error)
                return False
            if self._decoder is not None:
                self._head = self._head.without(b"content-encoding", b"content-length")
        call.receiver.headers_received(self._status, self._head)
        return not call.ended

    def _decoded(self, data: bytes) -> bytes:
        try:
            return cast(Decoder, self._decoder).decode(data)
        except UpstreamError as error:
            self._complete, self._fault = False, error
            return b""

    def _finish(self, call: Call) -> None:
        """Give the connection back first, so that nothing the receiver does can touch it."""
        if self._decoder is not None and not self._decoder.complete:
            self._fail(UpstreamError("The upstream's answer was cut short."))
            return
        self.call = call.connection = None
        call.ended = True
        transport = self.transport
        assert transport is not None
        reusable = (
            self._keep_alive
            and self._fault is None
            and not transport.is_closing()
            # An upstream that answers before it has read the request leaves a rest of it behind.
            and not transport.pieces
            and transport.unsent() == 0
            and (self._outgoing is None or self._outgoing.done)
            and self._pool.keep(self)
        )
        if reusable:
            self._reset()
            self.reused = True
            self._since = since = self._loop.time()
            if call.paused:
                transport.resume_reading()  # to hear when the upstream closes
            if since + self._pool.idle_s < self._timer_at:
                self._watch()
        else:
            self.drop()  # an orderly close would wait for an unsent rest of the request
        call.receiver.finished()

    def _fail(self, error: UpstreamError) -> None:
        call = self.call
        self.drop()
        if call is not None:
            call.fail(error)


def _until_close(values: dict[bytes, bytes]) -> bool:
    """True when no chunks say where a body without a length ends (RFC 9112, section 6.3)."""
    return not values.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
