"""One account in this process: its lease, who waits for its money, and why somebody was refused."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import Nano
from ezkielyna.ledger.lease import Ask, Lease

RETRY_AFTER_S = 2.0
"""After how long money that others hold may be back."""

LONG_AGO = -3600.0


class Waiter:
    """A request that waits for a grant."""

    __slots__ = ("ask", "future")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.future: asyncio.Future[Nano] = asyncio.get_running_loop().create_future()

    def undo(self, lease: Lease) -> None:
        """Give back what was granted in the moment in which the request gave up."""
        future = self.future
        if future.done() and not future.cancelled() and future.exception() is None:
            lease.give_back(future.result())


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was refused; `held` says that other requests or processes hold money."""

    at: float
    available: Nano
    held: bool

    def error(self) -> InsufficientBalance:
        """Return the error for one request."""
        return InsufficientBalance(
            "The balance does not cover this request. Top up the account, or ask for less output.",
            retry_after_s=RETRY_AFTER_S if self.held else None,
        )


class Holding:
    """One account here: its lease, who waits for it, and the lock that lets moves take turns."""

    __slots__ = (
        "away_at",
        "doubtful",
        "lease",
        "lock",
        "look_at",
        "open",
        "refusal",
        "returning",
        "serving",
        "short",
        "topped_at",
        "waiting",
        "wanted_at",
    )

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.lock = asyncio.Lock()
        self.open = 0
        """How many requests of the account have begun here and not ended."""
        self.waiting: deque[Waiter] = deque()
        self.short: Nano = 0
        self.returning: Nano = 0
        self.doubtful = False
        """True while the return may have taken place already: a reply to it was lost."""
        self.serving: asyncio.Task[None] | None = None
        self.refusal: Refusal | None = None
        self.away_at = LONG_AGO
        self.wanted_at = LONG_AGO
        self.topped_at = LONG_AGO
        self.look_at = LONG_AGO

    @property
    def busy(self) -> bool:
        """True while a request of the account runs here or waits for money."""
        return bool(self.open or self.waiting)
