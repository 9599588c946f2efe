"""Redis as this process sees it: a link that is there or not, kept by one task."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from redis.exceptions import RedisError

from ezkielyna_redis.breaker import Breaker
from ezkielyna_redis.link import Away, Link, linked, opener
from ezkielyna_redis.scripts import HEARTBEAT, SERVER_TIME, Prepared, keyed, packed

CONNECT_S = 1.0
"""The longest a connection may take to open; no request waits for it."""

RETRY_S = 0.05
"""Between two attempts to connect while the breaker is closed; the first is made at once."""

MISSED_S = 0.25
"""How long a connection may be gone before requests that miss it count as failures."""

BEATS = 3
"""Heartbeats in the time that a slot outlives a killed process."""

BEAT = Prepared(HEARTBEAT, keyed(b"ezkielyna:{processes}") + SERVER_TIME, 4)

logger = logging.getLogger(__name__)


class Tenant(Protocol):
    """Who has something in Redis."""

    async def refresh(self, link: Link) -> None:
        """Write what Redis must know; awaited before a new link is used and at every beat."""


class Remote:
    """Calls Redis while it answers, and finds out when it does again.

    `processes` is how many processes share the limits, as last known. `trouble` says that
    limits are held by this process alone; None while Redis answers. The reason is in the log.
    """

    def __init__(self, url: str, process: bytes, tenant: Tenant, hold_s: float) -> None:
        self._make = opener(url)
        self._process = process
        self._tenant = tenant
        self._hold_s = hold_s
        self._breaker = Breaker()
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._gone_at = 0.0
        self._offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self.link: Link | None = None
        self.processes = 0
        self.trouble: str | None = None

    async def start(self) -> None:
        """Connect, or go on without: never fails, and takes two seconds at most."""
        await self._attempt()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Deliver what is on its way, leave the living, and disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        link, self.link = self.link, None
        if link is not None:
            with suppress(Away):
                await self._tenant.refresh(link)
                await self._beat(link, 0)
            link.fail("the gateway ends")

    def now(self) -> int:
        """Return Redis's time in microseconds: never ahead of it but by the clocks' drift."""
        return time.monotonic_ns() // 1000 + self._offset

    def set_clock(self, now: int) -> None:
        """Take the time that a reply carried."""
        self._offset = now - time.monotonic_ns() // 1000

    async def ask(self, prepared: Prepared, rest: bytes, late: Callable[[bytes], None]) -> bytes:
        """Return a reply; raises Away, after 50 ms at most and at once where there is no link.

        `late` gets the reply when the asker is cancelled.
        """
        link = self.link
        if link is None:
            if time.monotonic() - self._gone_at > MISSED_S:
                self._failed("there is no connection")
            raise Away
        future = link.call(prepared, rest, late)
        try:
            reply = await future
        except Away as away:
            self._failed(str(away))
            raise
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                late(future.result())
            raise
        self._breaker.succeeded()
        return reply

    async def _keep(self) -> None:
        """Look after the link as long as the process lives."""
        while True:
            link = self.link
            if link is None:
                if self._breaker.is_open:
                    await asyncio.sleep(self._breaker.pause_s())
                await self._attempt()
                if self.link is None and not self._breaker.is_open:
                    await asyncio.sleep(RETRY_S)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), self._hold_s / BEATS)
            if not link.lost:
                with suppress(Away, ValueError):
                    await self._beat(link, self._hold_s)
                    await self._tenant.refresh(link)

    async def _attempt(self) -> None:
        """Connect and probe: one heartbeat within the limit of a call."""
        link = None
        try:
            link = await linked(self._make, CONNECT_S, self._on_lost)
            await self._beat(link, self._hold_s)
            await self._tenant.refresh(link)
        except (Away, RedisError, OSError, ValueError) as error:
            # TimeoutError is an OSError; ValueError is a reply of something that is no Redis.
            if link is not None:
                link.fail(str(error))
            self._failed(str(error) or type(error).__name__)
            return
        self._lost.clear()
        self.link = None if link.lost else link
        if self._breaker.succeeded():
            self.trouble = None
            logger.warning("Redis answers again: limits are shared by all processes")

    async def _beat(self, link: Link, hold_s: float) -> None:
        """Say that this process lives, and learn how many do."""
        rest = packed(b"%d" % int(hold_s * 1_000_000), self._process)
        now, processes = map(int, (await link.call(BEAT, rest)).split())
        self.set_clock(now)
        self.processes = processes

    def _on_lost(self, _: str) -> None:
        if self.link is not None and self.link.lost:
            self.link = None
            self._gone_at = time.monotonic()
            self._lost.set()

    def _failed(self, reason: str) -> None:
        """Count a failure; say so once, when the breaker opens."""
        if not self._breaker.failed():
            return
        self.trouble = "Redis is away: limits are held by each process alone"
        logger.warning("%s, as one of %d last known (%s)", self.trouble, self.processes, reason)
        if self.link is not None:
            self.link.fail("the breaker opened")
