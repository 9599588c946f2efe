"""The live monitor: a page, and the one stream of events that every page with live numbers uses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from ezkielyna.console.charts.usage import NONE, OUTCOME_NAMES, milliseconds
from ezkielyna.console.formats import count, money
from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.ledger.live import Feed
from ezkielyna.ledger.window import MINUTE_S, QUARTER_S, Finished, Rates
from ezkielyna.storage.errors import StorageAway

EVENT_S = 1.0
"""At most one event in this time."""

SILENCE_S = 15.0
CHECK_S = 30.0
BALANCE_S = 2.0
"""The balance is read this often where requests end, else every `CHECK_S`."""

SHOWN = 20
MOST_VIEWERS = 20
"""Streams of one account in one process."""

Event = dict[str, Any]


class LivePage(AccountPage):
    """The monitor: the last minute, the last quarter of an hour, and what has just ended."""

    def get(self) -> None:
        """Show the page; its numbers come by the stream."""
        self.render(
            "live.html",
            title="Live",
            styles=("charts.css",),
            scripts=("live.js", "drawer.js"),
            spans=(("minute", "Last 60 seconds"), ("quarter", "Last 15 minutes")),
        )


class Events(AccountPage):
    """Server-sent events: what is new for this account, at most once a second."""

    def on_connection_close(self) -> None:
        """Wake the loop, which then ends."""
        self._left = True
        if self._feed is not None:
            self._feed.changed.set()

    def initialize(self) -> None:
        """Begin with nothing sent."""
        super().initialize()
        self._left = False
        self._feed: Feed | None = None

    async def get(self) -> None:
        """Send events until the reader leaves, logs out, or the gateway stops."""
        async with self.console.live.look(self.account.id) as feed:
            if feed.viewers > MOST_VIEWERS:
                raise HTTPError(503, reason="too many live pages of this account are open")
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Accel-Buffering", "no")
            if self.request.method == "HEAD":
                return
            self._feed = feed
            names = {key.id: key.name for key in await self.console.keys.list(self.account.id)}
            try:
                await self._send_for_ever(feed, names)
            except StreamClosedError:
                return

    async def _send_for_ever(self, feed: Feed, names: Mapping[str, str]) -> None:
        seen = counted = max(0, feed.window.total - SHOWN // 2)
        balance, looked_at = money(self.account.balance), time.monotonic()
        sent: bytes = b""
        sent_at, checked_at = float("-inf"), time.monotonic()
        self.write(b"retry: 2000\n\n")
        await self.flush()
        while not self._left and self.console.obstacle() != "draining":
            event = snapshot(feed, seen, names, time.time())
            seen = feed.window.total
            now = time.monotonic()
            if now - looked_at > (CHECK_S if counted == seen else BALANCE_S):
                balance, looked_at, counted = await self._balance(balance), now, seen
            event["numbers"]["balance"] = balance
            body = orjson.dumps(event)
            if body != sent or now - sent_at > SILENCE_S:
                sent, sent_at = orjson.dumps({**event, "finished": []}), now
                self.write(b"event: live\ndata: " + body + b"\n\n")
                await self.flush()
            if now - checked_at > CHECK_S:
                checked_at = now
                if not await self._still_logged_in():
                    self.write(b"event: over\ndata: {}\n\n")
                    return
            await _something_new(feed, seen)
            await asyncio.sleep(max(0.0, sent_at + EVENT_S - time.monotonic()))

    async def _balance(self, known: str) -> str:
        """Return what the account has; what is known, while the database is away."""
        try:
            account = await self.console.accounts.by_id(self.account.id)
        except StorageAway:
            return known
        return money(account.balance)

    async def _still_logged_in(self) -> bool:
        token = self.get_cookie(self.console.cookies.session) or ""
        return await self.console.sessions.find(token) is not None


async def _something_new(feed: Feed, seen: int) -> None:
    """Wait until something ended, but no longer than an event: spans of time move on, too."""
    feed.changed.clear()
    if feed.window.total == seen:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVENT_S):
                await feed.changed.wait()


def snapshot(feed: Feed, seen: int, names: Mapping[str, str], now: float) -> Event:
    """Return an event: numbers as they are read, and what ended since so many had been seen."""
    window = feed.window
    new = min(window.total - seen, len(window.newest), SHOWN)
    finished = list(window.newest)[len(window.newest) - new :]
    minute, quarter = window.last(MINUTE_S, now), window.last(QUARTER_S, now)
    return {
        "connected": feed.connected,
        "numbers": {
            "open": count(feed.open),
            **_numbers("minute", minute, MINUTE_S),
            **_numbers("quarter", quarter, QUARTER_S),
        },
        "said": _said(minute, feed.open),
        "finished": [_row(request, names) for request in reversed(finished)],
    }


def _numbers(span: str, rates: Rates, seconds: int) -> dict[str, str]:
    first = rates.mean_first_byte_ms
    return {
        f"{span}-requests": count(rates.requests),
        f"{span}-rate": rate(rates.requests, seconds),
        f"{span}-tokens": rate(rates.tokens, seconds),
        f"{span}-first": NONE if first is None else milliseconds(first),
        f"{span}-errors": count(rates.errors),
        f"{span}-cost": money(rates.cost),
    }


def _row(request: Finished, names: Mapping[str, str]) -> dict[str, Any]:
    ended = datetime.fromtimestamp(request.ended_at, UTC)
    first = request.first_byte_ms
    return {
        "id": request.id,
        "at": ended.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "time": ended.strftime("%H:%M:%S"),
        "model": request.model,
        "key": names.get(request.key, request.key),
        "tokens": count(request.tokens),
        "cost": money(request.cost),
        "first": NONE if first is None else milliseconds(first),
        "duration": milliseconds(request.duration_ms),
        "outcome": OUTCOME_NAMES.get(request.outcome, request.outcome),
        "status": request.status,
        "bad": request.error,
    }


def _said(minute: Rates, running: int) -> str:
    return (
        f"In the last minute {count(minute.requests)} requests ended, "
        f"{count(minute.errors)} of them failed; {count(running)} are open."
    )


def rate(number: int, seconds: int) -> str:
    """Return a number a second in three digits at least, where it has them."""
    found = number / seconds
    return f"{found:,.0f}" if found >= 100 else f"{found:.1f}" if found >= 10 else f"{found:.2f}"


TOPIC = Topic(
    routes=((r"/live", LivePage), (r"/live/events", Events)),
    menu=(Entry(16, "Live", "/live", "pulse"),),
)
