"""A question asked every ten milliseconds: how long an event loop keeps its callers waiting."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import cast
from urllib.parse import urlsplit

INTERVAL_S = 0.01


class Probe(asyncio.Protocol):
    """Asks a small page again and again on one connection; use it with `async with`.

    A wait of several intervals counts once for each of them: who had asked then would have waited,
    too. What answers slowly is not asked less (no coordinated omission). Counts while `open`.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._asking = f"GET {address.path or '/'} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None
        self.open = False
        self.waits = array("d")
        self.lost = False

    async def __aenter__(self) -> Probe:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self._host, self._port)
        self._ask()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nobody answers any more."""
        self.lost = True

    def data_received(self, data: bytes) -> None:
        """Count the wait; an answer is taken for whole with its first bytes, for it is small."""
        if not self._waiting:
            return
        self._waiting = False
        waited = time.perf_counter() - self._due
        while self.open and waited > 0:
            self.waits.append(waited)
            waited -= INTERVAL_S

    def _ask(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._ask)
        if not self._waiting and not self.lost and self._transport is not None:
            self._waiting = True
            self._due = time.perf_counter()
            self._transport.write(self._asking.encode())
