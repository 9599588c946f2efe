"""Holdings: every lease of this process, and the moves between leases and accounts.

Requests take from a lease in memory. When it does not cover them, one grant at a time is asked of
the account; requests that meet in the meantime share it. What lies idle goes back, at once when
another process asked for it. A process that could not renew its leases for `FENCE_S` fences itself:
it spends nothing until it reached the database again, so that a sweeper may return them later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

from ezkielyna.contract.errors import GatewayError, Unavailable
from ezkielyna.contract.money import Nano
from ezkielyna.ledger.crash import crash_point
from ezkielyna.ledger.holding import LONG_AGO, RETRY_AFTER_S, Holding, Refusal, Waiter
from ezkielyna.ledger.lease import Ask, Lease, grant_size
from ezkielyna.ledger.settlement import moment
from ezkielyna.ledger.vault import Vault
from ezkielyna.storage.errors import StorageAway, StorageError
from ezkielyna.storage.leases import OutOfTurn, Stored

FENCE_S = 600.0
LEASE_S = FENCE_S + 60.0
RENEW_S = 20.0
PATIENCE_S = 8.0
"""How long a request waits for its account's money before it is told to come back."""

REFUSAL_S = 0.25
"""How long a refusal is believed without asking again."""

AWAY_S = 0.5
"""How long a database that did not answer is left alone."""

LOOK_S = 0.02
"""How often a lease that is drawn on is looked at."""

TOP_UP_S = 1.0
"""How often a lease that is low, yet covers its requests, asks for more."""

NO_MORE_S = 5.0
"""How long a lease that got no more of its account's money does not ask for it."""

WANTED_S = 5.0
FORGET_S = 600.0

log = logging.getLogger(__name__)

_Reason = Callable[[], GatewayError]
"""Makes the error that a request is refused with; every request raises one of its own."""


class Holdings:
    """The leases of this process. `clock` is monotonic, `wall` gives Unix seconds."""

    def __init__(
        self, vault: Vault, process: str, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._vault = vault
        self._process = process
        self._clock = clock
        self._wall = wall
        self._all: dict[str, Holding] = {}
        self.fence_at = clock() + FENCE_S
        """From when on the leases may be someone else's, by this clock."""
        self._away_at = LONG_AGO

    @property
    def fenced(self) -> bool:
        """True when the leases may be someone else's by now."""
        return self._clock() > self.fence_at

    def of(self, account: str) -> Holding:
        """Return the holding of an account, perhaps empty."""
        known = self._all.get(account)
        if known is None:
            known = self._all[account] = Holding(Lease(account, self._clock()))
        return known

    def open(self, account: str) -> int:
        """Return how many requests of an account have begun here and not ended."""
        known = self._all.get(account)
        return 0 if known is None else known.open

    def reserve(self, account: str, amount: Nano, now: float) -> Holding | None:
        """Reserve from memory; None when others wait already or the lease does not cover it."""
        holding = self._all.get(account)
        if holding is None or holding.waiting or not holding.lease.take(amount, now):
            return None
        if now > holding.look_at:
            self._look(holding, now)
        return holding

    def _look(self, holding: Holding, now: float) -> None:
        """Ask for more in good time; not at every request, for the answer costs as much as it."""
        holding.look_at = now + LOOK_S
        if holding.lease.low(now) and now - holding.topped_at > TOP_UP_S:
            holding.topped_at = now
            self.top_up(holding, 0)

    async def ask(self, holding: Holding, ask: Ask) -> Nano:
        """Reserve, with a grant if need be; raises InsufficientBalance or Unavailable."""
        self._believe(holding, ask)
        waiter = Waiter(ask)
        holding.waiting.append(waiter)
        self._serve(holding)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await waiter.future
        except TimeoutError:
            waiter.undo(holding.lease)
            raise _unreadable() from None
        except asyncio.CancelledError:
            waiter.undo(holding.lease)
            raise

    def _believe(self, holding: Holding, ask: Ask) -> None:
        refusal = holding.refusal
        if refusal is None or self._clock() - refusal.at > REFUSAL_S:
            return
        if ask.least > max(0, holding.lease.free) + refusal.available:
            raise refusal.error()

    def top_up(self, holding: Holding, short: Nano) -> bool:
        """Ask for more money in the background; False when the account was just found empty."""
        now = self._clock()
        if holding.refusal is not None and now - holding.refusal.at <= RETRY_AFTER_S:
            return False
        if now - holding.away_at <= RETRY_AFTER_S:
            return False
        holding.short = max(holding.short, short)
        self._serve(holding)
        return True

    def _serve(self, holding: Holding) -> None:
        if holding.serving is None or holding.serving.done():
            holding.serving = asyncio.get_running_loop().create_task(self._serving(holding))

    async def _serving(self, holding: Holding) -> None:
        """Grant until nobody waits; one task an account at a time."""
        while True:
            async with holding.lock:
                await self._round(holding)
            self._cover(holding)
            if not holding.waiting:
                return

    def _cover(self, holding: Holding) -> None:
        """Serve those who came during a grant, in turn, while the lease covers them in full.

        With a grant for each round of them, who comes during that one would wait for the next:
        under a steady load every request would wait for a grant, however much the lease holds.
        """
        lease, waiting, now = holding.lease, holding.waiting, self._clock()
        while waiting:
            waiter = waiting[0]
            if not waiter.future.done():
                amount = lease.take_some(waiter.ask.most, waiter.ask.most, now)
                if amount is None:
                    return
                waiter.future.set_result(amount)
            waiting.popleft()

    async def _round(self, holding: Holding) -> None:
        asked = [waiter for waiter in holding.waiting if not waiter.future.done()]
        asks = [waiter.ask for waiter in asked]
        if holding.short:
            asks.append(Ask(holding.short, 1))
        holding.short = 0
        refusal: _Reason | None
        try:
            refusal = await self._granted(holding, asks)
        except StorageError as error:
            self._failed(holding, error)
            refusal = _unreadable
        self._distribute(holding, asked, refusal)

    async def _granted(self, holding: Holding, asks: list[Ask]) -> _Reason | None:
        """Move money once; return why those that are not covered now will not be."""
        lease = holding.lease
        poor = False

        def size(available: Nano) -> Nano:
            nonlocal poor
            poor = available + lease.free < sum(ask.most for ask in asks)
            return grant_size(available, lease.free, asks, lease.wish(self._clock()))

        if holding.returning:
            await self._hand_back(holding)
        crash_point("before_grant")
        try:
            grant = await self._vault.grant(
                self._process, lease.account, lease.turn, size, self._expiry()
            )
        except OutOfTurn as error:
            self._sync(holding, error.stored)
            return None
        crash_point("after_grant")
        if grant.amount:
            lease.moved(grant.amount)
        elif not asks:
            holding.topped_at = self._clock() + NO_MORE_S
        if not poor:
            holding.refusal = None
            return None
        return await self._refused(holding, grant.available)

    async def _refused(self, holding: Holding, available: Nano) -> _Reason:
        account, now = holding.lease.account, self._clock()
        elsewhere = await self._vault.held_elsewhere(self._process, account)
        if elsewhere and now - holding.wanted_at > 1:
            holding.wanted_at = now
            await self._vault.want(account, moment(self._wall()))
        held = elsewhere or holding.lease.reserved > 0
        holding.refusal = Refusal(now, available, held)
        return holding.refusal.error

    def _distribute(self, holding: Holding, asked: list[Waiter], refusal: _Reason | None) -> None:
        """Give each request, first come first served, what it asked for or the reason why not."""
        lease, now = holding.lease, self._clock()
        for waiter in asked:
            if waiter.future.done():
                continue
            amount = lease.take_some(waiter.ask.most, waiter.ask.most, now)
            if amount is None and refusal is not None:
                amount = lease.take_some(waiter.ask.most, waiter.ask.least, now)
            if amount is not None:
                waiter.future.set_result(amount)
            elif refusal is not None:
                waiter.future.set_exception(refusal())
        holding.waiting = deque(w for w in holding.waiting if not w.future.done())

    def _failed(self, holding: Holding, error: StorageError) -> None:
        self._away_at = holding.away_at = self._clock()
        if not isinstance(error, StorageAway):
            log.error("no grant for account %s: %s", holding.lease.account, error)

    def _sync(self, holding: Holding, stored: Stored | None) -> None:
        """Take the stored lease for true: a sweeper was there while this process was cut off."""
        lease = holding.lease
        log.info("the lease of account %s was swept", lease.account)
        lease.held = 0 if stored is None else stored.held
        lease.turn = 0 if stored is None else stored.turn

    async def tick(self) -> None:
        """Return what is idle or wanted; call it every second. Raises StorageError."""
        if self._clock() - self._away_at <= AWAY_S:
            return
        try:
            await self._return_idle(await self._wanted())
        except StorageAway:
            self._away_at = self._clock()
            raise

    async def _wanted(self) -> set[str]:
        if not any(holding.lease.free > 0 for holding in self._all.values()):
            return set()
        return set(await self._vault.wanted(moment(self._wall() - WANTED_S)))

    async def _return_idle(self, wanted: set[str]) -> None:
        now = self._clock()
        first = [self._all[account] for account in wanted if account in self._all]
        rest = [h for account, h in self._all.items() if account not in wanted]
        for holding in first + rest:
            lease = holding.lease
            if holding.returning or lease.idle(now, lease.account in wanted):
                await self._return(holding, lease.account in wanted)
            elif lease.forgettable and now - lease.used > FORGET_S and not holding.busy:
                del self._all[lease.account]

    async def _return(self, holding: Holding, wanted: bool) -> None:
        async with holding.lock:
            if not holding.returning:
                amount = holding.lease.idle(self._clock(), wanted)
                if holding.waiting or not amount:
                    return
                # What is on its way back cannot be reserved any more.
                holding.lease.reserved += amount
                holding.returning = amount
            await self._hand_back(holding)

    async def _hand_back(self, holding: Holding) -> None:
        """Finish the return that is on its way; the caller holds the lock.

        Once a reply was lost, the money stays out of reach until the database tells: that a later
        try certainly failed says nothing of the first.
        """
        lease, amount = holding.lease, holding.returning
        crash_point("before_return")
        try:
            gained = await self._vault.hand_back(
                self._process, lease.account, lease.turn, amount, self._expiry()
            )
        except OutOfTurn as error:
            self._sync(holding, error.stored)
            gained = None
        except StorageError as error:
            holding.doubtful |= error.commit_unknown
            if not holding.doubtful:
                self._unblock(holding)
            raise
        crash_point("after_return")
        self._unblock(holding)
        if gained is not None:
            lease.moved(gained)

    def _unblock(self, holding: Holding) -> None:
        holding.lease.give_back(holding.returning)
        holding.returning = 0
        holding.doubtful = False

    async def renew(self) -> None:
        """Put off the end of all leases; raises StorageError. Lifts the fence."""
        began = self._clock()
        was_fenced = self.fenced
        count = await self._vault.renew(self._process, self._expiry())
        known = sum(1 for holding in self._all.values() if holding.lease.turn)
        if was_fenced or count < known:
            await self._resync()
        self.fence_at = began + FENCE_S

    async def _resync(self) -> None:
        for holding in list(self._all.values()):
            async with holding.lock:
                if not holding.returning:
                    account = holding.lease.account
                    stored = await self._vault.lease(self._process, account)
                    if stored is None or stored.turn != holding.lease.turn:
                        self._sync(holding, stored)

    def turns(self, accounts: Collection[str]) -> AsyncExitStack:
        """Return what holds the locks of these accounts; for a settlement."""
        return _Turns([self.of(account).lock for account in sorted(accounts)])

    def settled(self, costs: dict[str, Nano]) -> None:
        """Take settled costs off the leases; under their locks."""
        for account, cost in costs.items():
            self.of(account).lease.settled(cost)

    async def stop(self) -> None:
        """End the grants that are on their way."""
        serving = [h.serving for h in self._all.values() if h.serving is not None]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def close(self) -> None:
        """Give every lease back. Raises StorageError; recovery does then what is left."""
        await self.stop()
        for lease in await self._vault.leases_of(self._process):
            await self._vault.dissolve(lease)
        self._all.clear()

    def _expiry(self) -> datetime:
        return moment(self._wall()) + timedelta(seconds=LEASE_S)


class _Turns(AsyncExitStack):
    """Locks that are taken in order when entered, so that no two holders wait for each other."""

    def __init__(self, locks: list[asyncio.Lock]) -> None:
        super().__init__()
        self._locks = locks

    async def __aenter__(self) -> _Turns:
        await super().__aenter__()
        try:
            for lock in self._locks:
                await self.enter_async_context(lock)
        except BaseException:
            await self.aclose()
            raise
        return self


def _unreadable() -> Unavailable:
    return Unavailable("The balance cannot be read now. Try again.")
