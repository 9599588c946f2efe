"""Exchange ⇄ client: from the upstream's bytes to the client's in one synchronous call chain.

A relay is what the upstream connection pushes into. There is no task, no queue and no await
between a read from the upstream and the write to the client; back-pressure is pause and resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ezkielyna.contract.errors import GatewayError, UpstreamError
from ezkielyna.contract.provider import Exchange, Headers, TimeLimits
from ezkielyna.gateway.charge import WAIT
from ezkielyna.gateway.hooks import Watching
from ezkielyna.gateway.reply import Reply
from ezkielyna.wire.upstream import Call, Upstream

log = structlog.stdlib.get_logger("ezkielyna.hooks")

ASK_AGAIN_S = 0.02
"""How often a stream that waits for its account's money asks again."""

HEARTBEAT = b": keep-alive\n\n"


class PlainRelay:
    """Collects a whole answer. A plain request runs to its end without its client.

    `data_received` keeps a part of the body.
    """

    __slots__ = ("_body", "_headers", "_status", "data_received", "ended")

    def __init__(self) -> None:
        self._status = 0
        self._headers: Headers = {}
        self._body: list[bytes] = []
        self.data_received = self._body.append  # no Python frame for a part
        self.ended: asyncio.Future[tuple[int, Headers, bytes]] = (
            asyncio.get_running_loop().create_future()
        )

    def headers_received(self, status: int, headers: Headers) -> None:
        """Keep the head."""
        self._status, self._headers = status, headers

    def finished(self) -> None:
        """Hand over the answer."""
        if not self.ended.done():
            self.ended.set_result((self._status, self._headers, b"".join(self._body)))

    def failed(self, error: UpstreamError) -> None:
        """Hand over the failure."""
        if not self.ended.done():
            self.ended.set_exception(error)


class ClientGone(Exception):
    """The client left a stream; what was delivered is billed."""


class MoneyEnded(Exception):
    """The account's money ended in mid-stream; what was delivered is billed."""


class StreamRelay:
    """Pushes a streamed answer through the exchange to the client.

    `ended` is done exactly once: with None after a complete stream, else with UpstreamError,
    ClientGone or MoneyEnded. Nothing is sent to the client before the upstream's first event (or
    the first heartbeat), so until `begun` another attempt may follow. `spend` is asked when the
    exchange's progress passes `allowance`; it returns the next allowance, WAIT while the account
    is being asked, during which nothing is read from the upstream, or None when the money
    has ended. `note` is told the progress once a second. `watching` is shown what was delivered.
    """

    __slots__ = (
        "_allowance",
        "_asking",
        "_call",
        "_exchange",
        "_failure",
        "_headers",
        "_note",
        "_on_begin",
        "_paused",
        "_reply",
        "_spend",
        "_status",
        "_watching",
        "begun",
        "ended",
        "quiet_ticks",
    )

    def __init__(
        self,
        exchange: Exchange,
        reply: Reply,
        allowance: int,
        spend: Callable[[int], int | None],
        on_begin: Callable[[], None],
        note: Callable[[Exchange, int], None],
        watching: Watching | None = None,
    ) -> None:
        self._exchange = exchange
        self._reply = reply
        self._allowance = allowance
        self._spend = spend
        self._on_begin = on_begin
        self._note = note
        self._watching = watching
        self._call: Call | None = None
        self._status = 0
        self._headers: Headers = {}
        self._failure: list[bytes] | None = None
        self._paused = False
        self._asking = False
        self.begun = False
        self.quiet_ticks = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reply.on_gone = self.client_gone

    def start(self, upstream: Upstream, limits: TimeLimits) -> None:
        """Send the request, unless the client left in the meantime."""
        if self._reply.gone:
            self.client_gone()
        else:
            self._call = upstream.start(self._exchange.request, limits, self)

    def close(self) -> None:
        """Leave nothing running, however the wait for `ended` was left."""
        self._reply.on_gone = None
        if not self.ended.done():
            self.ended.cancel()
            if self._call is not None:
                self._call.abort()
        self._call = None  # which knows this relay: no cycle stays behind

    def stop(self, error: GatewayError) -> None:
        """End the stream for a reason of ours."""
        self._end(error)

    def headers_received(self, status: int, headers: Headers) -> None:
        """Tell a stream from anything else; statuses decide, content types may lie."""
        self._status, self._headers = status, headers
        is_json = headers.get("content-type", "").startswith("application/json")
        if status != 200 or is_json:
            self._failure = []

    def data_received(self, data: bytes) -> None:
        """Translate and hand on."""
        if self._failure is not None:
            self._failure.append(data)
            return
        try:
            events = self._exchange.feed(data)
        except UpstreamError as error:
            self._end(error)
            return
        if events:
            self._deliver(events)
            if self._exchange.progress() > self._allowance and not self._asking:
                self._ask_for_money()

    def finished(self) -> None:
        """Send what is still owed."""
        if self._failure is not None:
            body = b"".join(self._failure)
            status = self._status if self._status != 200 else 502
            self._end(self._exchange.failure(status, self._headers, body))
            return
        try:
            owed = self._exchange.close()
        except UpstreamError as error:
            self._end(error)
            return
        if owed:
            self._deliver(owed)
        self._end(None)

    def failed(self, error: UpstreamError) -> None:
        """Pass the wire's failure on."""
        self._end(error)

    def client_gone(self) -> None:
        """Abort the upstream at once: nobody reads the rest."""
        self._end(ClientGone())

    def tick(self) -> None:
        """Note the progress, about once a second."""
        self._exchange.tidy()
        if self.begun:
            self._note(self._exchange, self._exchange.progress())

    def heartbeat(self) -> None:
        """Send a comment, so that proxies in between do not give up on a thinking model."""
        self.quiet_ticks = 0
        self._send(HEARTBEAT)

    def _deliver(self, events: bytes) -> None:
        self.quiet_ticks = 0
        self._send(events)
        if self._watching is not None:
            try:
                self._watching.show(events)
            except Exception:
                log.exception("a watcher failed", plugin=self._watching.plugin)
                self._watching = None

    def _send(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            if data is not HEARTBEAT:
                # No other attempt follows, and a stream must not keep a long question twice.
                self._exchange.request = self._exchange.request._replace(body=b"")
            self._on_begin()
            self._reply.begin(data)
            return
        writing = self._reply.write(data)
        if writing is not None and not self._paused and self._call is not None:
            self._pause_until(writing)

    def _pause_until(self, writing: Awaitable[None]) -> None:
        """Read no more from the upstream while the client does not take what it got."""
        assert self._call is not None
        self._paused = True
        self._call.pause()
        asyncio.ensure_future(writing).add_done_callback(self._resume)

    def _resume(self, writing: asyncio.Future[None]) -> None:
        writing.cancelled() or writing.exception()
        self._paused = False
        if self._call is not None and not self._asking:
            self._call.resume()

    def _ask_for_money(self) -> None:
        if self.ended.done():
            return
        allowance = self._spend(self._exchange.progress())
        if allowance is None:
            self._end(MoneyEnded())
        elif allowance == WAIT:
            self._wait_for_money()
        else:
            self._allowance = allowance
            self._go_on()

    def _wait_for_money(self) -> None:
        """Read no more while the account is asked: what is delivered meanwhile may be unpaid."""
        if not self._asking and self._call is not None:
            self._asking = True
            self._call.pause()
        asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_for_money)

    def _go_on(self) -> None:
        if self._asking and self._call is not None and not self._paused:
            self._call.resume()
        self._asking = False

    def _end(self, reason: BaseException | None) -> None:
        if self.ended.done():
            return
        if reason is None:
            self.ended.set_result(None)
            return
        if self._call is not None:
            self._call.abort()
        self.ended.set_exception(reason)
