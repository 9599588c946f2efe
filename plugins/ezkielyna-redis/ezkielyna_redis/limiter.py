"""The rate limiter `redis`: one call of a script a request, and no 5xx because of Redis."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Self

from ezkielyna import (
    Account,
    Key,
    Limits,
    Permit,
    Plan,
    RateLimiter,
    RequestContext,
    Standing,
    scopes,
)
from ezkielyna_redis.counts import SECOND, Counts, Quota, Refused, standing_of
from ezkielyna_redis.link import Away, Link
from ezkielyna_redis.permits import SharedPermit, Under, refusal
from ezkielyna_redis.remote import BEATS, Remote
from ezkielyna_redis.scripts import ADMIT, CORRECT, HOLD, NOTHING, OWE, SERVER_TIME, packed

HOLD_S = 30.0
"""How long a slot outlives a killed process."""

FIRST_OUTPUT = 1000
"""Output tokens charged at first: agents ask for 32,000 and need a few hundred."""

MARGIN = 5_000
"""Microseconds of waiting below which Redis is asked: our idea of its clock is not exact."""

FRESH = SECOND
"""How long a refusal for tokens is believed: another process may give tokens back any moment."""

MOST_COUNTED = 50_000
"""Accounts, keys and models remembered at most; beyond it one that was idle for long is forgotten.
"""

FEW = 9
"""So many are kept in any case: a request has three, and makes two others older for each."""

BATCH = 100
"""Calls on their way at once when many accounts are refreshed, so that requests need not queue."""


class RedisLimiter(RateLimiter):
    """Admits under all limits or none, together with every process on the same Redis.

    Where Redis does not answer within 50 ms, each process holds its share of the limits alone.
    """

    kind = "redis"

    def __init__(self, workers: int, url: str, hold_s: float = HOLD_S) -> None:
        super().__init__(workers)
        if not url:
            raise ValueError('limiter = "redis" needs the address of a server: set [redis] url')
        self._process = secrets.token_hex(8).encode()
        self._remote = Remote(url, self._process, self, hold_s)
        self._beat = int(hold_s * SECOND / BEATS)
        self._hold = packed(b"%d" % int(hold_s * SECOND))
        self._quotas: dict[tuple[Limits, int], Quota] = {}
        self._unders: dict[tuple[str, str], Under] = {}
        self._counted: OrderedDict[str, Counts] = OrderedDict()
        self._busy: set[Counts] = set()
        self._owing: set[Counts] = set()
        self._ids = 0

    @classmethod
    def build(cls, workers: int, redis_url: str) -> Self:
        """Return the limiter of a process; raises ValueError without a good address."""
        return cls(workers, redis_url)

    async def start(self) -> None:
        """Connect; a Redis that is away stops nothing."""
        await self._remote.start()

    async def close(self) -> None:
        """Hand over the last corrections and disconnect."""
        await self._remote.close()

    @property
    def degradation(self) -> str | None:
        """Say that limits are held by this process alone; None while Redis answers."""
        return self._remote.trouble

    async def admit(self, ctx: RequestContext) -> Permit:
        """Return a permit; raises RateLimited with the time after which the retry passes."""
        output = ctx.output_bound
        tokens = ctx.input_estimate + (output if output < FIRST_OUTPUT else FIRST_OUTPUT)
        under = self._under(ctx)
        counted = [self._counts(ctx.account.id, id_) for id_ in under.ids]
        permit = SharedPermit(self, counted, under, tokens, self._id())
        if not counted:
            permit.standing = Standing()
            return permit
        if self._remote.link is not None:
            self._refuse_known(permit, under)
        costs = packed(permit.id, b"%d" % tokens)
        tail = b"".join((under.keys, SERVER_TIME, costs, self._hold, under.arguments))
        try:
            reply = await self._remote.ask(ADMIT, 4 + 7 * len(counted), tail, permit.undo)
        except Away:
            return self._alone(permit, under)
        return self._answered(reply, permit, under)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left by what Redis told this process last; counts nothing."""
        found = [
            (self._counted.get(id_) or Counts(account.id, id_), self._quota(limits, 1))
            for id_, limits, _ in scopes(plan, account, key)
        ]
        return standing_of(found, self._remote.now())

    async def refresh(self, link: Link) -> None:
        """Pay what is owed to Redis and say which slots are still held. Raises Away."""
        work: list[Coroutine[Any, Any, None]] = []
        while self._owing:
            work.append(self._pay(link, self._owing.pop()))
            if len(work) == BATCH:
                await asyncio.gather(*work)
                work = []
        await asyncio.gather(*work)
        busy = list(self._busy)
        for start in range(0, len(busy), BATCH):
            await asyncio.gather(
                *(
                    link.call(
                        HOLD,
                        3 + len(counts.running),
                        counts.slots_key + SERVER_TIME + self._hold + packed(*counts.running),
                    )
                    for counts in busy[start : start + BATCH]
                    if counts.running
                )
            )

    def give_back(self, permit: SharedPermit, used: int) -> None:
        """Free slots and correct the tokens; Redis is told at once, or when it is back."""
        now, more, link = self._remote.now(), used - permit.tokens, self._remote.link
        told, corrects = packed(b"%d" % more), False
        numbers: list[bytes] = []
        for counts, quota in zip(permit.counted, permit.quotas, strict=True):
            if quota.slots:
                counts.running.discard(permit.id)
                if not counts.running:
                    self._busy.discard(counts)
            minute, day = quota.more(more)
            numbers.append(told if minute else NOTHING)
            numbers.append(told if day else NOTHING)
            if not (quota.slots or minute or day):
                continue
            corrects = True
            if minute or day:
                counts.shift(now, quota, more)
            if link is None:
                self._owe(counts, permit, quota, minute, day)
        if link is not None and corrects:
            charged = packed(permit.id, b"%d" % permit.at)
            tail = b"".join((permit.keys, SERVER_TIME, charged, *numbers))
            link.tell(CORRECT, 3 + 2 * len(numbers), tail)

    def _owe(
        self, counts: Counts, permit: SharedPermit, quota: Quota, minute: int, day: int
    ) -> None:
        debt = counts.owing(self._remote.now())
        self._owing.add(counts)
        debt.add(permit.at if minute < 0 or day < 0 else self._remote.now(), minute, day)
        if quota.slots:
            debt.gone.append(permit.id)

    def _answered(self, reply: bytes, permit: SharedPermit, under: Under) -> Permit:
        """Return the permit that Redis granted; raises RateLimited where it refused."""
        granted, now, wait, limit, *told = map(int, reply.split())
        self._remote.set_clock(now)
        permit.at = now
        for number, counts in enumerate(permit.counted):
            *used, running = told[6 * number : 6 * number + 6]
            counts.told(used, max(0, running - len(counts.running) - granted), now)
        left = permit.left(now)
        if not granted:
            permit.closed = True
            scope, which = divmod(limit, 4)
            counts = permit.counted[scope]
            # A reply that was under way while tokens were given back does not know of them.
            if which in (1, 2) and counts.corrections == permit.corrections[scope]:
                counts.refused = Refused(now, now + wait, permit.tokens, which)
            raise refusal(wait, under.name(limit), left)
        self._runs(permit)
        permit.standing = left
        return permit

    def _alone(self, permit: SharedPermit, under: Under) -> Permit:
        """Return a permit of this process's share; raises RateLimited."""
        now, parts = self._remote.now(), max(self.workers, self._remote.processes, 1)
        permit.at = now
        permit.quotas = [self._quota(quota.limits, parts) for quota in permit.quotas]
        wait, limit = permit.longest(
            [
                counts.wait(now, quota, permit.tokens, counts.slots(now, quota, self._beat))
                for counts, quota in zip(permit.counted, permit.quotas, strict=True)
            ]
        )
        if wait:
            permit.closed = True
            for counts, quota in zip(permit.counted, permit.quotas, strict=True):
                if quota.slots:
                    # The call that was not answered in time may still be carried out.
                    counts.owing(now).gone.append(permit.id)
                    self._owing.add(counts)
            raise refusal(wait, under.name(limit), permit.left(now))
        for counts, quota in zip(permit.counted, permit.quotas, strict=True):
            counts.take(now, quota, permit.tokens)
            self._owing.add(counts)
        self._runs(permit)
        permit.standing = permit.left(now)
        return permit

    def _refuse_known(self, permit: SharedPermit, under: Under) -> None:
        """Raise RateLimited for what Redis would refuse by all that is known here."""
        now = self._remote.now()
        wait, limit = permit.longest(
            [
                counts.known(now, quota, permit.tokens, FRESH)
                for counts, quota in zip(permit.counted, permit.quotas, strict=True)
            ]
        )
        if wait > MARGIN:
            raise refusal(wait, under.name(limit), permit.left(now))

    def _runs(self, permit: SharedPermit) -> None:
        for counts, quota in zip(permit.counted, permit.quotas, strict=True):
            if quota.slots:
                counts.running.add(permit.id)
                self._busy.add(counts)

    async def _pay(self, link: Link, counts: Counts) -> None:
        debt, counts.debt = counts.debt, None
        if debt is None:
            return
        count, arguments = debt.arguments(self._remote.now())
        try:
            await link.call(OWE, 3 + count, counts.keys + SERVER_TIME + arguments)
        except Away:
            if counts.debt is None:
                counts.debt = debt
            self._owing.add(counts)
            raise

    def _under(self, ctx: RequestContext) -> Under:
        """Return what such a request counts against; found once while nothing of it changes."""
        pair = (ctx.key.id, ctx.model.name)
        under = self._unders.get(pair)
        if under is None or not under.fits(ctx):
            if len(self._unders) >= MOST_COUNTED:
                self._unders.clear()
            found = [
                scope for scope in scopes(ctx.plan, ctx.account, ctx.key, ctx.model) if scope.limits
            ]
            quotas = [self._quota(scope.limits, 1) for scope in found]
            under = self._unders[pair] = Under(ctx, found, quotas)
        return under

    def _counts(self, account: str, id_: str) -> Counts:
        counts = self._counted.get(id_)
        if counts is None:
            self._forget()
            counts = self._counted[id_] = Counts(account, id_)
        else:
            self._counted.move_to_end(id_)
        return counts

    def _quota(self, limits: Limits, parts: int) -> Quota:
        quota = self._quotas.get((limits, parts))
        if quota is None:
            if len(self._quotas) >= MOST_COUNTED:
                self._quotas.clear()
            quota = self._quotas[limits, parts] = Quota(limits, parts)
        return quota

    def _id(self) -> bytes:
        self._ids += 1
        return b"%b:%d" % (self._process, self._ids)

    def _forget(self) -> None:
        """Make room for one more: look at two, so that what is idle shrinks over time."""
        now = self._remote.now()
        for _ in range(2 if len(self._counted) > FEW else 0):
            id_, counts = next(iter(self._counted.items()))
            full = len(self._counted) >= MOST_COUNTED
            if counts.idle(now) or (full and not counts.running and counts.debt is None):
                del self._counted[id_]
            else:
                self._counted.move_to_end(id_)
