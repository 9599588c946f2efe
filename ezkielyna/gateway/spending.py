"""What keys with a limit have spent, so that none spends more.

A key's spending is the sum of what other processes have settled, what this process has ended, and
what its running requests may still cost. The last two are exact at any moment; the first is read
again every two seconds, so of other workers a process knows what ended about four seconds ago and
nothing of what runs. Within one worker a limit is therefore exact, to the piece of a stream that
arrives between two questions for money; with several it can be passed by what the others spend in
that time.

Roll-ups of hours that are long over are one for all processes, and a key may be years old: what
began before the horizon, the start of the last full hour, is read for all processes together, once
an hour. So what is settled more than an hour late is noticed within the next hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from ezkielyna.contract.context import Key
from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import Nano, usd

RETRY_S = 1.0
HOUR_S = 3600


class SpendingStore(Protocol):
    """What is known of settled spending."""

    async def spent(
        self, account_id: str, ids: Collection[str], *, until: datetime | None = None
    ) -> Mapping[str, Nano]:
        """Return what keys of an account spent in all, or in hours before a time."""

    async def spent_lately(
        self, ids: Collection[str], *, besides: str, since: datetime
    ) -> Mapping[str, Nano]:
        """Return what all processes but one spent in hours from a time on, if not merged."""


class Spending:
    """One key's limit, and what this process knows to count against it. All in nano-dollars."""

    __slots__ = ("_by_hour", "earlier", "here", "horizon", "limit", "promised", "recent")

    def __init__(self, limit: Nano) -> None:
        self.limit = limit
        self.horizon = -1
        self.earlier: Nano = 0
        """Settled by anybody, of requests that began before the horizon, an hour since 1970."""
        self.recent: Nano = 0
        """Settled by others, of later requests."""
        self.here: Nano = 0
        """Ended in this process, but for what is settled as earlier."""
        self._by_hour: dict[int, Nano] = {}
        self.promised: Nano = 0
        """The most that this process's running requests may cost."""

    @property
    def left(self) -> Nano:
        """What no request has spent or was promised; less than nothing after an overrun."""
        return self.limit - self.earlier - self.recent - self.here - self.promised

    def promise(self, least: Nano, most: Nano) -> Nano:
        """Set aside what is left, up to `most`; raises InsufficientBalance below `least`."""
        left = max(0, self.left)
        if least > left:
            waits = least <= left + self.promised
            raise InsufficientBalance(
                f"{self.explanation} Ask for a key with a higher limit.",
                retry_after_s=RETRY_S if waits else None,
            )
        amount = min(most, left)
        self.promised += amount
        return amount

    def extend(self, promised: Nano, to: Nano) -> Nano:
        """Return the promise after it was raised to `to`, or as far as the limit goes."""
        more = min(to - promised, self.left)
        if more <= 0:
            return promised
        self.promised += more
        return promised + more

    def reduce(self, promised: Nano, to: Nano) -> Nano:
        """Take back what the request does not need; return the new promise."""
        self.promised -= promised - to
        return to

    def end(self, promised: Nano, cost: Nano, started_at: float) -> None:
        """Note what a request cost that began at this time, in Unix seconds."""
        self.promised -= promised
        self.here += cost
        hour = int(started_at // HOUR_S)
        self._by_hour[hour] = self._by_hour.get(hour, 0) + cost

    def move(self, horizon: int, earlier: Nano) -> None:
        """Take what is settled of hours before the horizon; it includes what was ended here."""
        self.horizon, self.earlier = horizon, earlier
        for hour in [hour for hour in self._by_hour if hour < horizon]:
            self.here -= self._by_hour.pop(hour)

    @property
    def explanation(self) -> str:
        """A sentence for the client."""
        return f"This API key may spend {usd(self.limit)} USD, and too little of it is left."


class Spendings:
    """The spending of every key with a limit that this process has seen."""

    def __init__(
        self, store: SpendingStore, process: str, *, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._process = process
        self._now = now
        self._known: dict[str, Spending] = {}

    async def of(self, key: Key) -> Spending | None:
        """Return a key's spending as it is now, None without a limit; raises StorageError."""
        if key.limit is None:
            return None
        await self.refresh([key])
        return self._known[key.id]

    async def refresh(self, keys: Collection[Key]) -> None:
        """Read what was settled for these keys; raises StorageError."""
        limits = {key.id: key.limit for key in keys if key.limit is not None}
        if not limits:
            return
        horizon = int(self._now() // HOUR_S) - 1
        hour = datetime.fromtimestamp(horizon * HOUR_S, UTC)
        stale = [key for key in keys if key.id in limits and self._horizon(key.id) != horizon]
        earlier = await self._earlier(stale, hour)
        recent = await self._store.spent_lately(limits, besides=self._process, since=hour)
        for id_, limit in limits.items():
            spending = self._known.setdefault(id_, Spending(limit))
            spending.limit = limit
            spending.recent = recent.get(id_, 0)
            if id_ in earlier:
                spending.move(horizon, earlier[id_])

    async def _earlier(self, keys: Iterable[Key], hour: datetime) -> dict[str, Nano]:
        """Return what each of these keys spent before this hour."""
        accounts: dict[str, list[str]] = {}
        for key in keys:
            accounts.setdefault(key.account, []).append(key.id)
        earlier: dict[str, Nano] = {}
        for account, ids in accounts.items():
            found = await self._store.spent(account, ids, until=hour)
            earlier |= {id_: found.get(id_, 0) for id_ in ids}
        return earlier

    def _horizon(self, id_: str) -> int:
        known = self._known.get(id_)
        return -1 if known is None else known.horizon
