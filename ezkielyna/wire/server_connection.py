"""A client's connection: reads requests, runs their delegates one at a time, in order."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, cast

from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError

from ezkielyna.contract.errors import GatewayError, InvalidRequest, Overloaded, RequestTooLarge
from ezkielyna.wire.outbox import Sender
from ezkielyna.wire.request_connection import Context, RequestConnection, refusal
from ezkielyna.wire.request_reader import RequestReader
from ezkielyna.wire.timed import Timed

if TYPE_CHECKING:
    from ezkielyna.wire.listener import Listener, ListenerLimits

_QUEUED_BYTES = 64 * 1024
"""Up to here a client may send ahead while a request is answered; as long as we read, we also
notice when it leaves."""

_REFUSED_AT_ONCE = 1024

_LINGER_S = 2.0
"""How long the rest of a refused request is read away, so that the client sees the answer: closing
with unread bytes would send a reset that overtakes it."""


class ServerConnection(Timed):
    """The parser only notes what it sees; `_advance` hands it to the delegates."""

    __slots__ = (
        "_advancing",
        "_ahead",
        "_current",
        "_deaf",
        "_drained",
        "_head_at",
        "_lingering",
        "_reader",
        "_served",
        "_since",
        "_stalled_at",
        "_stalled_bytes",
        "_transport",
        "closed",
        "context",
        "limits",
        "listener",
        "queue",
    )

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.listener = listener
        self.limits: ListenerLimits = listener.limits
        self.context = Context("0.0.0.0")  # noqa: S104 - Tornado's word for "not known"
        self.queue: deque[RequestConnection] = deque()
        self.closed = False
        self._reader = RequestReader(self)
        self._transport: Sender | None = None
        self._current: RequestConnection | None = None
        self._advancing = False
        self._ahead = 0
        self._deaf = False
        self._lingering = False
        self._served = False
        self._since = self._head_at = loop.time()
        self._stalled_at: float | None = None
        self._stalled_bytes = 0
        self._drained: asyncio.Future[None] | None = None

    # What the socket says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read, or refuse the connection where there are too many."""
        self._transport = Sender(self.listener.outbox, cast(asyncio.Transport, transport))
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.context = Context(peer[0])
        if not self.listener.opened(self):
            if self.listener.connections > self.limits.max_connections + _REFUSED_AT_ONCE:
                self.abort()  # even to refuse them takes file descriptors
                return
            self._refuse(Overloaded("Too many connections; try again in a moment."))
        self.watch()

    def data_received(self, data: bytes) -> None:
        """Parse one read, then let the delegates work on it."""
        if self._lingering or self._reader.fault is not None:
            return
        reader = self._reader
        was_in_head = reader.in_head
        if self._current is not None and self._current.complete:
            self._ahead += len(data)
        reader.feed(data)
        if reader.in_head and not was_in_head:
            self._head_at = self._loop.time()
        self._advance()
        if reader.in_head or reader.incoming is not None:
            self.watch()

    def eof_received(self) -> None:
        """Take a closed sending side for a closed connection, as Tornado does."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever is at work, once; requests that were not begun are forgotten."""
        self.closed = True
        self._stop_timer()
        self.listener.gone(self, greeted=self._served or self._current is not None)
        self.queue.clear()
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_exception(StreamClosedError(exc))
            drained.exception()  # whoever wrote need not be waiting
        current, self._current = self._current, None
        if current is not None:
            if current.waiting is not None:
                current.waiting.cancel()
            current.lost()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._drained = self._loop.create_future()
        self._stalled_at = self._loop.time()
        self._stalled_bytes = self._buffered()
        self.watch()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._stalled_at = None
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # What a request's connection asks for.

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Write; the future is done when more may be written."""
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return self.listener.broken_future()
        if data:
            transport.write(data)
        return self._drained or self.listener.done_future

    def answered(self, request: RequestConnection) -> None:
        """Go on after an answer: close, or take the next request."""
        if request is not self._current or self._advancing:
            return
        if self._ended(request) and (self.queue or self._reader.fault is not None or self._deaf):
            # Not from here: what the next delegate raises is no business of this one's.
            self._loop.call_soon(self._advance)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def idle(self) -> bool:
        """True when no request is under way, not even a part of one."""
        return self._current is None and not self.queue and not self._reader.in_head

    def close(self) -> None:
        """Close once everything written is on the wire."""
        if self._transport is not None:
            self._transport.close()

    # Requests, one after the other.

    def _advance(self) -> None:
        """Give the delegates what has arrived; requests that end at once do not recurse."""
        if self._advancing or self.closed or self._lingering:
            return
        queue = self.queue
        if self._current is None and queue and queue[0].complete and self.listener.take(queue[0]):
            self._current = queue.popleft()
            self._current.delivered = True
            return
        self._advancing = True
        try:
            self._work()
        except HTTPInputError:
            self._unreadable(InvalidRequest("The request's headers are not valid."))
        except BaseException:
            self.abort()
            raise  # to the event loop, which logs it
        finally:
            self._advancing = False
        current = self._current
        if self._ahead or self._deaf or (current is not None and current.waiting is not None):
            self._regulate()

    def _work(self) -> None:
        while True:
            current = self._current
            if current is None:
                if not self.queue:
                    break
                current = self._current = self.queue.popleft()
                if not current.complete:
                    current.began_at = self._loop.time()
            fed = self._fed(current)
            if self._current is not current:
                return  # refused
            if not current.finished:
                if fed:
                    break
                return
            if not self._ended(current):
                return
        current = self._current
        if self._reader.fault is not None and (current is None or not current.complete):
            self._unreadable(self._reader.fault)

    def _fed(self, request: RequestConnection) -> bool:
        """Hand over what has arrived of this request; False where its delegate asks to wait."""
        if request.waiting is not None:
            return False
        if request.delivered:
            return True
        if request.delegate is None and not self._begun(request):
            return False
        delegate = request.delegate
        assert delegate is not None
        pieces = request.pieces
        if pieces and not request.finished:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if request.received > request.max_body:
                limit = request.max_body
                self._unreadable(RequestTooLarge(f"The body is larger than {limit} bytes."))
                return False
            awaitable = delegate.data_received(data)
            if awaitable is not None and self._waits(request, awaitable):
                return False
        if request.complete:
            request.delivered = True
            if request.finished:
                delegate.on_connection_close()
            else:
                delegate.finish()
        return True

    def _begun(self, request: RequestConnection) -> bool:
        """Give the head to a new delegate; False where it asks to wait for the body."""
        delegate = request.delegate = self.listener.delegate.start_request(self, request)
        awaitable = delegate.headers_received(request.start_line, request.headers)
        waits = awaitable is not None and self._waits(request, awaitable)
        if request.expects_continue and not request.complete and not request.head_written:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return not waits

    def _waits(self, request: RequestConnection, awaitable: object) -> bool:
        """Hold the request until an awaitable of its delegate is done."""
        future = asyncio.ensure_future(cast("asyncio.Future[None]", awaitable))
        if future.done() and not future.cancelled() and future.exception() is None:
            return False
        request.waiting = future
        future.add_done_callback(lambda done: self._waited(request, done))
        return True

    def _waited(self, request: RequestConnection, done: asyncio.Future[None]) -> None:
        request.waiting = None
        if done.cancelled():
            self.abort()
            return
        error = done.exception()
        if error is not None:
            if request is self._current:
                self.abort()
            raise error  # to the event loop, which logs it
        request.began_at = self._loop.time()
        self._advance()

    def _ended(self, request: RequestConnection) -> bool:
        """Put an answered request aside; False where the connection ends with it."""
        if request.delivered:
            request.delegate = None  # and no cycle stays behind
        else:
            request.lost()  # tells a delegate that answered before it had all of the request
        self._current = None
        self._since = since = self._loop.time()
        if request.complete and not request.closes and not self.listener.draining:
            self._served = True
            if not self.queue:
                self._ahead = 0
            if since + self.limits.idle_timeout_s < self._timer_at or self._reader.in_head:
                self.watch()
            return True
        self.queue.clear()
        if request.complete and self._reader.incoming is None and not self._deaf:
            self.close()
            self.watch()
        else:
            self._linger()
        return False

    def _unreadable(self, error: GatewayError) -> None:
        """Refuse what cannot be read, and with it the rest of the connection."""
        current, self._current = self._current, None
        head_written = current is not None and current.head_written
        if current is not None:
            current.finished = True
            current.lost()
        self.queue.clear()
        if head_written:
            self.abort()  # within an answer there is no other way to say that it is broken
        else:
            self._refuse(error)

    def _refuse(self, error: GatewayError) -> None:
        headers, body = self.listener.refuse(error)
        self.write(refusal(error.status, headers, body))
        self._linger()

    def _linger(self) -> None:
        """Close our side, and read away what the client still sends."""
        self._lingering = True
        self._since = self._loop.time()
        transport = cast(Sender, self._transport)
        if not transport.is_closing():
            transport.write_eof()
        self._regulate()
        self.watch()

    # Flow.

    def _regulate(self) -> None:
        """Stop reading while a delegate asks for it, or while the client sends far ahead."""
        current = self._current
        if not self.queue and (current is None or not current.complete):
            self._ahead = 0  # nothing but what is being read
        waiting = current is not None and current.waiting is not None and not current.complete
        deaf = not self._lingering and (waiting or self._ahead > _QUEUED_BYTES)
        transport = cast(Sender, self._transport)
        if deaf is not self._deaf and not transport.is_closing():
            self._deaf = deaf
            if deaf:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _buffered(self) -> int:
        return cast(Sender, self._transport).get_write_buffer_size()

    # Time.

    def _deadline(self) -> float:
        """Return when patience ends; infinite while the gateway itself is at work."""
        limits, incoming = self.limits, self._reader.incoming
        if self._stalled_at is not None:
            return self._stalled_at + limits.write_stall_s
        if self._lingering:
            return self._since + (limits.write_stall_s if self._buffered() else _LINGER_S)
        if incoming is not None and incoming is self._current:
            return incoming.began_at + incoming.body_timeout_s if not incoming.waiting else math.inf
        if self._current is not None or self.queue:
            return math.inf
        if self._reader.in_head:
            return self._head_at + limits.header_timeout_s
        return self._since + (limits.idle_timeout_s if self._served else limits.header_timeout_s)

    def watch(self) -> None:
        """Make sure that the timer fires no later than the deadline."""
        if not self.closed:
            self._ring_by(self._deadline())

    def _ring(self) -> None:
        super()._ring()
        at, now = self._deadline(), self._loop.time()
        if self._stalled_at is not None and self._buffered() < self._stalled_bytes:
            # The client reads, if slowly.
            self._stalled_at, self._stalled_bytes = now, self._buffered()
            at = self._deadline()
        if at == math.inf:
            # Busy: nothing shall ring before the next phase begins, which watches again.
            return
        if at > now + 0.001:
            self.watch()
        else:
            self.abort()
