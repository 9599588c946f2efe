"""The way out: a pooled HTTP/1.1 client that pushes answers, with no task for a request.

It follows no redirects, keeps no cookies, asks for no compression, and repeats a request only
where a pooled connection turned out to be dead before it said anything.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping

from ezkielyna.contract.errors import UpstreamError, UpstreamTimeout
from ezkielyna.contract.provider import TimeLimits, UpstreamRequest
from ezkielyna.wire.call import Call, Receiver
from ezkielyna.wire.dial import Dialer
from ezkielyna.wire.outbox import Outbox
from ezkielyna.wire.proxies import Proxies
from ezkielyna.wire.target import Opening, Origin, Target, first_lines
from ezkielyna.wire.upstream_connection import UpstreamConnection

__all__ = ["Call", "Receiver", "Upstream"]

_REMEMBERED_URLS = 1024


class Upstream:
    """Connections to every upstream of a process, pooled by origin. Lives on one event loop.

    `idle_s` is how long an unused connection is kept, in seconds; a `dialer` of your own opens them
    its way. Raises ValueError where the environment names a proxy that cannot be used.
    """

    def __init__(
        self,
        *,
        proxy_from_environment: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        dialer: Dialer | None = None,
        max_idle_per_origin: int = 256,
        idle_s: float = 30.0,
    ) -> None:
        self.idle_s = idle_s
        self._max_idle = max_idle_per_origin
        proxies = Proxies(os.environ if proxy_from_environment else {})
        self._dialer = dialer or Dialer(proxies, ssl_context)
        self._idle: dict[Origin, list[UpstreamConnection]] = {}
        self._connections: set[UpstreamConnection] = set()
        self._dialing: set[asyncio.Task[None]] = set()
        self._known: dict[str, Opening] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def start(self, request: UpstreamRequest, limits: TimeLimits, receiver: Receiver) -> Call:
        """Send a request and return at once; the receiver hears the rest.

        On a pooled connection the request is written before this returns. What cannot be sent
        fails like everything else: through `receiver.failed`, after this returned.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            self.outbox = Outbox(loop)
        call = Call(receiver, limits, loop.time() + limits.total_s)
        method, url, headers, body = request
        opening = self._known.get(url)
        # Providers send the same headers object with every request; equal is what counts.
        if opening is None or opening.method != method or opening.headers != headers:
            try:
                opening = self._learn(method, url, headers)
            except UpstreamError as error:
                loop.call_soon(call.fail, error)
                return call
        call.method = method
        call.origin = origin = opening.origin
        sized = b"Content-Length: %d\r\n\r\n" % len(body) if body or opening.sized else b"\r\n"
        call.wire = (opening.head + sized, body)
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()  # the one that was used last, if it still lives
            transport = connection.transport
            if transport is not None and not transport.is_closing():
                connection.send(call)
                return call
        self._dial(call)
        return call

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._connections)

    async def close(self) -> None:
        """Close every connection; calls under way fail. Nothing can be started afterwards."""
        self._closed = True
        self._known.clear()
        for task in self._dialing:
            task.cancel()
        for connection in list(self._connections):
            call = connection.call
            connection.drop()
            if call is not None:
                call.fail(_closing())
        if self._dialing:
            await asyncio.wait(self._dialing)
        # Transports report their end in the next turns of the loop, TLS after a few more.
        for _ in range(100):
            if not self._connections:
                break
            await asyncio.sleep(0)

    # What connections report.

    def keep(self, connection: UpstreamConnection) -> bool:
        """Take an idle connection; False when there are enough for its origin."""
        idle = self._idle.setdefault(connection.origin, [])
        if self._closed or len(idle) >= self._max_idle:
            return False
        idle.append(connection)
        return True

    def retry(self, call: Call) -> None:
        """Send a call again, on a fresh connection."""
        if self._closed:
            call.fail(_closing())
        else:
            self._dial(call)

    def gone(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection."""
        self._connections.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.origin, None)

    # The way to a connection.

    def _learn(self, method: str, url: str, headers: Mapping[str, str]) -> Opening:
        """Return how a request begins, and remember it: there are few, and they come again."""
        if self._closed:
            raise _closing()
        target = Target.of(url)
        proxy = self._dialer.proxies.before(target.origin)
        if proxy is not None and target.origin.scheme == "http":
            start = first_lines(target, absolute=True, authorization=proxy.authorization)
        else:
            start = first_lines(target)
        if len(self._known) >= _REMEMBERED_URLS:
            self._known.clear()
        self._known[url] = opening = Opening(target.origin, method, start, headers)
        return opening

    def _dial(self, call: Call) -> None:
        task = asyncio.ensure_future(self._dialed(call))
        call.dialing = task
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)

    async def _dialed(self, call: Call) -> None:
        """Open a connection for the call; a task of its own, cancelled by `Call.abort`."""
        loop = asyncio.get_running_loop()
        until = min(loop.time() + call.limits.connect_s, call.total_at)
        origin = call.origin
        assert origin is not None
        error: UpstreamError | None = None
        try:
            async with asyncio.timeout_at(until):
                connection = await self._dialer.connect(
                    origin, lambda: UpstreamConnection(self, origin, loop)
                )
        except TimeoutError as cause:
            error = UpstreamTimeout("The upstream kept us waiting too long for a connection.")
            error.__cause__ = cause
        except OSError as cause:
            error = UpstreamError("The upstream could not be reached.")
            error.__cause__ = cause
        except asyncio.CancelledError:
            if self._closed:
                call.fail(_closing())
            raise
        finally:
            call.dialing = None
        if error is not None:
            call.fail(error)
            return
        self._connections.add(connection)
        if not connection.alive:
            connection.connection_lost(None)
            call.fail(UpstreamError("The upstream closed the connection without an answer."))
        elif call.ended:
            connection.drop()
        else:
            connection.send(call)


def _closing() -> UpstreamError:
    return UpstreamError("The gateway is closing.")
