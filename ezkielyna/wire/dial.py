"""Opening a connection to an origin: directly, through TLS, through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ezkielyna.wire.proxies import Proxies, Proxy
from ezkielyna.wire.target import Origin

_MAX_ANSWER_BYTES = 16 * 1024

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Opens connections. Raises OSError, which TLS errors and a proxy's refusal are, too."""

    __slots__ = ("_context", "proxies")

    def __init__(self, proxies: Proxies, ssl_context: ssl.SSLContext | None) -> None:
        self.proxies = proxies
        self._context = ssl_context

    async def connect(self, origin: Origin, factory: Callable[[], P]) -> P:
        """Return a connected protocol made by the factory."""
        proxy = self.proxies.before(origin)
        if proxy is not None and origin.scheme == "https":
            return await self._through_tunnel(proxy, origin, factory)
        hop = proxy.origin if proxy is not None else origin
        return await self._direct(hop, factory)

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context; the default one is made at its first use, for it takes time."""
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    async def _direct(self, hop: Origin, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        context = self.tls() if hop.scheme == "https" else None
        _, protocol = await loop.create_connection(factory, hop.host, hop.port, ssl=context)
        return protocol

    async def _through_tunnel(self, proxy: Proxy, origin: Origin, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        tunnel = await self._direct(proxy.origin, lambda: _Tunnel(origin, proxy, loop))
        try:
            transport = await tunnel.opened
            protocol = factory()
            secure = await loop.start_tls(
                transport, protocol, self.tls(), server_hostname=origin.host
            )
        except BaseException:
            tunnel.close()
            raise
        if secure is None:
            raise ConnectionResetError("the proxy closed the tunnel")
        protocol.connection_made(secure)
        return protocol


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel (RFC 9110, section 9.3.6); `opened` gives the bare transport."""

    def __init__(self, origin: Origin, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[asyncio.Transport] = loop.create_future()
        self._origin = origin
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._received = 0
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host = f"[{self._origin.host}]" if ":" in self._origin.host else self._origin.host
        authority = f"{host}:{self._origin.port}"
        lines = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        if self._proxy.authorization:
            lines += f"Proxy-Authorization: {self._proxy.authorization}\r\n"
        self._transport.write((lines + "\r\n").encode("ascii"))

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError:
            self._status = self._status or 502
        if self._status:
            self._answered()
        elif self._received > _MAX_ANSWER_BYTES:
            self._refuse("the proxy's answer is too large")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = self._status or status

    def connection_lost(self, exc: Exception | None) -> None:
        self._refuse("the proxy closed the connection")

    def close(self) -> None:
        """Close the connection; harmless when it is closed."""
        self._refuse("closed")

    def _answered(self) -> None:
        if 200 <= self._status < 300:
            # Nothing more may be read as HTTP: TLS begins here.
            self.opened.set_result(cast(asyncio.Transport, self._transport))
        else:
            self._refuse(f"the proxy answered {self._status}")

    def _refuse(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionRefusedError(reason))
            self.opened.exception()  # nobody may be waiting any more
        if self._transport is not None:
            self._transport.abort()
