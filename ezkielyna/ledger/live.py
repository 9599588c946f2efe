"""Live: what accounts use right now, for as long as somebody looks.

Requests arrive as any process settles them, half a second after their end, by a stream of changes
of the database that is open only while somebody looks. So the path of requests knows nothing of it,
and it is the same with one process and with many machines. Who looks is woken when something ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ezkielyna.ledger.window import QUARTER_S, Finished, Window
from ezkielyna.storage import live
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError

PULSE_S = 1.0
"""How often this process tells what is open here, and asks what is open elsewhere."""

LONGEST_REQUEST_S = 15 * 60
AGAIN_S = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Feed:
    """One account that somebody looks at. `connected` is false while the database is away."""

    account: str
    window: Window = field(default_factory=Window)
    open: int = 0
    connected: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    viewers: int = 0


class OpenHere(Protocol):
    """What this process serves at the moment; a Ledger is one."""

    process: str

    @property
    def busy(self) -> bool:
        """True while any request runs here."""

    def open_requests(self, account: str) -> int:
        """Return how many requests of an account run here."""


class Live:
    """The feeds of a process.

    `open_here` says what is open here: a process that serves nothing asks nothing.
    """

    def __init__(self, database: Database, open_here: OpenHere) -> None:
        self._database = database
        self._open_here = open_here
        self._telling = False
        self._feeds: dict[str, Feed] = {}
        self._following: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._token: dict[str, Any] | None = None

    def start(self) -> None:
        """Begin to tell others what is open here, whenever they look."""
        self._pulse = asyncio.get_running_loop().create_task(self._pulse_for_ever())

    async def close(self) -> None:
        """Stop."""
        tasks = [task for task in (self._following, self._pulse) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def look(self, account: str) -> AsyncIterator[Feed]:
        """Follow an account for as long as the context lasts; its feed is shared by all viewers."""
        feed = self._feeds.get(account)
        if feed is None:
            feed = self._feeds[account] = Feed(account)
            self._follow()
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                del self._feeds[account]
                self._follow()

    def _follow(self) -> None:
        """Follow the accounts that are looked at now; nobody's, nothing is asked."""
        if self._following is not None:
            self._following.cancel()
        self._following = None
        if self._feeds:
            work = self._follow_for_ever(tuple(self._feeds))
            self._following = asyncio.get_running_loop().create_task(work)
        else:
            self._token = None

    async def _follow_for_ever(self, accounts: tuple[str, ...]) -> None:
        while True:
            try:
                await self._follow_once(accounts)
            except StorageError as error:
                log.info("live numbers stand still: %s", error)
            for account in accounts:
                if (feed := self._feeds.get(account)) is not None:
                    feed.connected = False
            self._token = None  # what it stands for may be gone; the start reads it all again
            await asyncio.sleep(AGAIN_S)

    async def _follow_once(self, accounts: tuple[str, ...]) -> None:
        """Follow until the stream ends. What came before is read once the stream is open."""
        async with live.settled_requests(self._database, accounts, self._token) as changes:
            for account in accounts:
                feed = self._feeds[account]
                if not feed.connected:
                    await self._load(feed)
                    feed.connected = True
            async for change in changes:
                self._token = change["_id"]
                self._note(change["fullDocument"])

    async def _load(self, feed: Feed) -> None:
        now = time.time()
        since = datetime.fromtimestamp(now, UTC) - timedelta(seconds=QUARTER_S + LONGEST_REQUEST_S)
        found = [Finished.of(one) for one in await live.recent(self._database, feed.account, since)]
        for request in sorted(found, key=lambda one: one.ended_at):
            feed.window.add(request)
        feed.window.forget(now)
        feed.changed.set()

    def _note(self, document: dict[str, Any]) -> None:
        feed = self._feeds.get(document["account"])
        if feed is not None and feed.window.add(Finished.of(document)):
            feed.changed.set()

    async def _pulse_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            try:
                await self._beat()
            except StorageError as error:
                log.debug("nobody is told what is open: %s", error)

    async def _beat(self) -> None:
        """Ask who is looked at anywhere, tell them what is open here, and learn the sums."""
        now = datetime.now(UTC)
        feeds = dict(self._feeds)
        await live.watch(self._database, feeds, now)
        if self._open_here.busy or self._telling:
            watched = await live.watched(self._database, now)
            here = {account: self._open_here.open_requests(account) for account in watched}
            await live.tell(self._database, self._open_here.process, here, now)
            self._telling = any(here.values())
        if not feeds:
            return
        there = await live.told(self._database, feeds, now)
        for account, feed in feeds.items():
            feed.window.forget(now.timestamp())
            if feed.open != there.get(account, 0):
                feed.open = there.get(account, 0)
                feed.changed.set()
