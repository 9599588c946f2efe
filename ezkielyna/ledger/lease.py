"""A lease in memory: what one process may spend of one account's money. Pure.

Always `held = free + reserved + unsettled`: `held` is what the stored lease holds, `reserved` is
promised to running requests, `unsettled` is spent but not yet settled. `free` falls below zero only
by what a request cost beyond its reservation.

Times are seconds of a monotonic clock. How much to take from an account is decided here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ezkielyna.contract.money import Nano

HORIZON_S = 30.0
"""Spending is expected to go on as it did for about this long."""

AMPLE = 4
"""A rich account's lease is filled up to this many horizons, so that two minutes without the
database, or half of it at the worst, go by unnoticed. Idle money goes back soon, so it costs
nobody anything."""

BUSIER = 2
"""As many times the reservations of late can come at once without a grant."""

IDLE_S = 4.0
"""Money that was not touched for this long goes back."""

PLENTY = 32
"""An account that has this many times what running requests ask for is not near empty."""

SHARE = 16
"""What is leased beyond need is at most this fraction of what the account has."""


class Lease:
    """The money of one account in one process."""

    __slots__ = (
        "_peak",
        "_spent",
        "_spent_at",
        "account",
        "held",
        "reserved",
        "turn",
        "unsettled",
        "used",
    )

    def __init__(self, account: str, now: float) -> None:
        self.account = account
        self.held: Nano = 0
        self.reserved: Nano = 0
        self.unsettled: Nano = 0
        self.turn = 0
        self.used = now
        self._spent: Nano = 0
        self._peak: Nano = 0
        self._spent_at = now

    @property
    def free(self) -> Nano:
        """What can be reserved now; negative when requests cost more than was held."""
        return self.held - self.reserved - self.unsettled

    def take(self, amount: Nano, now: float) -> bool:
        """Reserve an amount; False, and nothing reserved, when that much is not free."""
        if amount > self.held - self.reserved - self.unsettled:
            return False
        self.reserved += amount
        if self.reserved > self._peak:
            self._peak = self.reserved
        self.used = now
        return True

    def take_some(self, most: Nano, least: Nano, now: float) -> Nano | None:
        """Reserve what is free, between `least` and `most`; None when that is less."""
        amount = min(most, self.free)
        if amount < least or not self.take(amount, now):
            return None
        return amount

    def give_back(self, amount: Nano) -> None:
        """End a reservation that cost nothing."""
        self.reserved -= amount
        assert self.reserved >= 0, self.reserved

    def spend(self, amount: Nano, cost: Nano, now: float) -> None:
        """End a reservation of `amount` that cost `cost`; a cost beyond it is taken from free."""
        self.reserved -= amount
        assert self.reserved >= 0, self.reserved
        self.unsettled += cost
        if now - self._spent_at >= 1:
            self._decay(now)
        self._spent += cost

    def moved(self, amount: Nano) -> None:
        """Note a grant, or with a negative amount a return, that the database confirmed."""
        self.held += amount
        self.turn += 1

    def settled(self, cost: Nano) -> None:
        """Note a settlement that the database confirmed."""
        self.held -= cost
        self.unsettled -= cost
        assert self.unsettled >= 0, self.unsettled

    def expected(self, now: float) -> Nano:
        """Return what the next `HORIZON_S` seconds will cost if they are like the last ones."""
        self._decay(now)
        return self._spent

    def wish(self, now: float) -> Nano:
        """Return how much would be good to have free, were the account rich.

        What requests reserve is many times what they cost, so the most that was reserved at once
        of late counts, too: without it every request would wait for a grant.
        """
        return self.expected(now) * AMPLE + self._peak * BUSIER

    def low(self, now: float) -> bool:
        """True when less than two thirds of what would be good to have is free."""
        return self.free * 3 < self.wish(now) * 2

    def idle(self, now: float, wanted: bool) -> Nano:
        """Return how much to give back to the account now: all that is free, or nothing."""
        if not wanted and now - self.used < IDLE_S:
            return 0
        return max(0, self.free)

    @property
    def forgettable(self) -> bool:
        """True when nothing would be lost with this object but the turn."""
        return not (self.held or self.reserved or self.unsettled)

    def _decay(self, now: float) -> None:
        """Forget spending exponentially, in steps that are long enough to be exact."""
        elapsed = now - self._spent_at
        if elapsed < 1:
            return
        kept = math.exp(-elapsed / HORIZON_S)
        self._spent = int(self._spent * kept)
        self._peak = max(self.reserved, int(self._peak * kept))
        self._spent_at = now


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants to reserve, between `least` and `most`."""

    most: Nano
    least: Nano


def grant_size(available: Nano, free: Nano, asks: Sequence[Ask], wish: Nano) -> Nano:
    """Return how much of an account's available money to lease; 0 when no ask can be met.

    Rich accounts lease what they expect to spend on top, up to a share of what there is. Near an
    empty balance a lease is exactly what the asks can reserve, first come first served, so that no
    money lies idle here while another process refuses for the want of it. A debt (`free` below
    zero) is covered first.
    """
    share = available // SHARE
    need = sum(ask.most for ask in asks) - free
    if need <= 0:
        return max(0, min(wish, share) - free)
    if available >= need * PLENTY:
        return need + min(max(wish, 3 * need), share)
    return _strict(available, free, asks)


def _strict(available: Nano, free: Nano, asks: Sequence[Ask]) -> Nano:
    budget = left = available + free
    for ask in asks:
        if ask.least <= left:
            left -= min(ask.most, left)
    taken = budget - left
    return max(0, taken - free) if taken else 0
