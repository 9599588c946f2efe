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
    Permit,
    Plan,
    RateLimited,
    RateLimiter,
    RequestContext,
    Standing,
    Usage,
)
from ezkielyna_redis.counts import SECOND, Counts, Quota
from ezkielyna_redis.link import Away, Link
from ezkielyna_redis.remote import Remote
from ezkielyna_redis.scripts import ADMIT, CORRECT, HOLD, SERVER_TIME, packed

HOLD_S = 30.0
"""How long a slot outlives a killed process; it is refreshed three times as often."""

FIRST_OUTPUT = 1000
"""Output tokens charged at first: agents ask for 32,000 and need a few hundred."""

MARGIN = 5_000
"""Microseconds of waiting below which Redis is asked: our idea of its clock is not exact."""

FRESH = SECOND
"""How long a refusal for tokens is believed: another process may give tokens back any moment."""

MOST_ACCOUNTS = 50_000
"""Accounts remembered at most; beyond it one that was idle for long is forgotten."""

BATCH = 100
"""Calls on their way at once when many accounts are refreshed, so that requests need not queue."""


class RedisLimiter(RateLimiter):
    """Admits by account, all limits or none, together with every process on the same Redis.

    Where Redis does not answer within 50 ms, each process holds its share of the limits alone.
    """

    kind = "redis"

    def __init__(self, workers: int, url: str, hold_s: float = HOLD_S) -> None:
        super().__init__(workers)
        if not url:
            raise ValueError('limiter = "redis" needs the address of a server: set [redis] url')
        self._process = secrets.token_hex(8).encode()
        self._remote = Remote(url, self._process, self, hold_s)
        self._hold = int(hold_s * SECOND)
        self._quotas: dict[tuple[str, int], Quota] = {}
        self._accounts: OrderedDict[str, Counts] = OrderedDict()
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
        quota = self._quota(ctx.plan, 1)
        output = ctx.output_bound
        tokens = ctx.input_estimate + (output if output < FIRST_OUTPUT else FIRST_OUTPUT)
        counts = self._counts(ctx.account.id)
        minute, day = quota.minute(tokens), quota.day(tokens)
        if self._remote.link is not None:
            self._refuse_known(counts, quota, minute, day)
        permit = SharedPermit(self, counts, quota, tokens, self._id())
        if quota.unlimited:
            permit.standing = Standing()
            return permit
        costs = packed(permit.id, b"%d" % minute, b"%d" % day)
        tail = b"".join((counts.keys, SERVER_TIME, costs, quota.arguments))
        try:
            reply = await self._remote.ask(ADMIT, 10, tail, permit.undo)
        except Away:
            return self._alone(permit, minute, day)
        return self._answered(reply, permit, minute, day)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left by what Redis told this process last; counts nothing."""
        counts = self._accounts.get(account.id)
        if counts is None:
            counts = Counts(account.id)
        return counts.standing(self._remote.now(), self._quota(plan, 1))

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
        hold = packed(b"%d" % self._hold)
        for start in range(0, len(busy), BATCH):
            await asyncio.gather(
                *(
                    link.call(
                        HOLD,
                        3 + len(counts.running),
                        counts.slots_key + SERVER_TIME + hold + packed(*counts.running),
                    )
                    for counts in busy[start : start + BATCH]
                    if counts.running
                )
            )

    def give_back(self, permit: SharedPermit, used: int) -> None:
        """Free a slot and correct the tokens; Redis is told at once, or when it is back."""
        counts, quota, remote = permit.counts, permit.quota, self._remote
        held = quota.slots > 0
        if held:
            counts.running.discard(permit.id)
            if not counts.running:
                self._busy.discard(counts)
        minute = quota.minute(used) - quota.minute(permit.tokens)
        day = quota.day(used) - quota.day(permit.tokens)
        if not (held or minute or day):
            return
        now = remote.now()
        counts.shift(now, quota, minute, day)
        counts.corrections += 1
        link = remote.link
        if link is not None:
            ids = (permit.id,) if held else ()
            numbers = packed(b"0", b"0", b"%d" % minute, b"%d" % day, *ids)
            link.tell(CORRECT, 7 + len(ids), counts.keys + SERVER_TIME + numbers)
            return
        debt = counts.owing(now)
        self._owing.add(counts)
        debt.minute += minute
        debt.day += day
        if held:
            debt.gone.append(permit.id)

    def _answered(self, reply: bytes, permit: SharedPermit, minute: int, day: int) -> Permit:
        """Return the permit that Redis granted; raises RateLimited where it refused."""
        counts, quota = permit.counts, permit.quota
        granted, now, counts.requests, counts.minute, counts.day, running = map(int, reply.split())
        # A reply that was under way while tokens were given back does not know of them.
        counts.seen = now if counts.corrections == permit.corrections else 0
        self._remote.set_clock(now)
        if not granted:
            permit.closed = True
            wait, limit = counts.wait(now, quota, minute, day, running)
            raise _refusal(wait, limit, counts.standing(now, quota))
        self._runs(permit)
        permit.standing = counts.standing(now, quota)
        return permit

    def _alone(self, permit: SharedPermit, minute: int, day: int) -> Permit:
        """Return a permit of this process's share; raises RateLimited."""
        counts, now = permit.counts, self._remote.now()
        quota = self._quota(permit.quota.plan, max(self.workers, self._remote.processes, 1))
        wait, limit = counts.wait(now, quota, minute, day, len(counts.running))
        if wait:
            permit.closed = True
            if quota.slots:
                # The call that was not answered in time may still be carried out.
                counts.owing(now).gone.append(permit.id)
                self._owing.add(counts)
            raise _refusal(wait, limit, counts.standing(now, quota))
        permit.quota = quota
        counts.take(now, quota, minute, day)
        self._owing.add(counts)
        self._runs(permit)
        permit.standing = counts.standing(now, quota)
        return permit

    def _refuse_known(self, counts: Counts, quota: Quota, minute: int, day: int) -> None:
        """Raise RateLimited for what Redis would refuse by all that is known here."""
        now = self._remote.now()
        if now - counts.seen > FRESH:
            minute = day = -1
        wait, limit = counts.wait(now, quota, minute, day, len(counts.running))
        if wait > MARGIN:
            raise _refusal(wait, limit, counts.standing(now, quota))

    def _runs(self, permit: SharedPermit) -> None:
        if permit.quota.slots:
            permit.counts.running.add(permit.id)
            self._busy.add(permit.counts)

    async def _pay(self, link: Link, counts: Counts) -> None:
        debt, counts.debt = counts.debt, None
        if debt is None:
            return
        count, arguments = debt.arguments(self._remote.now())
        try:
            await link.call(CORRECT, 3 + count, counts.keys + SERVER_TIME + arguments)
        except Away:
            if counts.debt is None:
                counts.debt = debt
            self._owing.add(counts)
            raise

    def _counts(self, account: str) -> Counts:
        counts = self._accounts.get(account)
        if counts is None:
            self._forget()
            counts = self._accounts[account] = Counts(account)
        else:
            self._accounts.move_to_end(account)
        return counts

    def _quota(self, plan: Plan, parts: int) -> Quota:
        quota = self._quotas.get((plan.name, parts))
        if quota is None or (quota.plan is not plan and quota.plan != plan):
            quota = self._quotas[plan.name, parts] = Quota(plan, parts, self._hold)
        return quota

    def _id(self) -> bytes:
        self._ids += 1
        return b"%b:%d" % (self._process, self._ids)

    def _forget(self) -> None:
        """Make room for one more account: look at two, so that what is idle shrinks over time."""
        now = self._remote.now()
        for _ in range(min(2, len(self._accounts))):
            account, counts = next(iter(self._accounts.items()))
            full = len(self._accounts) >= MOST_ACCOUNTS
            if counts.idle(now) or (full and not counts.running and counts.debt is None):
                del self._accounts[account]
            else:
                self._accounts.move_to_end(account)


class SharedPermit(Permit):
    """A slot, and tokens charged on an estimate. Closing it again changes nothing."""

    __slots__ = (
        "_limiter",
        "closed",
        "corrections",
        "counts",
        "id",
        "quota",
        "standing",
        "tokens",
    )

    def __init__(
        self, limiter: RedisLimiter, counts: Counts, quota: Quota, tokens: int, id_: bytes
    ) -> None:
        self._limiter = limiter
        self.counts = counts
        self.corrections = counts.corrections
        self.quota = quota
        self.tokens = tokens
        self.id = id_
        self.closed = False

    async def close(self, usage: Usage | None) -> None:
        """Return the slot; charge what was used instead of the estimate. Waits for nothing."""
        if not self.closed:
            self.closed = True
            self._limiter.give_back(self, usage.total if usage is not None else 0)

    def undo(self, reply: bytes) -> None:
        """Return what a request was granted that had gone when the reply came."""
        if not self.closed and reply.startswith(b"1"):
            self.closed = True
            self._limiter.give_back(self, 0)


def _refusal(wait: int, limit: str, standing: Standing) -> RateLimited:
    """Return the error; whole milliseconds, rounded up."""
    retry_after_s = max(1, -(-wait // 1000)) / 1000
    return RateLimited(
        f"Rate limit reached: {limit}. Try again in {retry_after_s:g} seconds.",
        retry_after_s=retry_after_s,
        standing=standing,
    )
