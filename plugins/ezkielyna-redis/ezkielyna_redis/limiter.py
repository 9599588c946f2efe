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
    RateLimited,
    RateLimiter,
    RequestContext,
    Standing,
    scopes,
)
from ezkielyna_redis.counts import SECOND, Counts, Quota, Refused, learn, standing_of
from ezkielyna_redis.link import Away, Link
from ezkielyna_redis.permits import SharedPermit, Under, refusal
from ezkielyna_redis.remote import BEATS, Remote
from ezkielyna_redis.scripts import HOLD, OWE, SERVER_TIME, Prepared, keyed, packed

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
        self._forgotten = 0
        self._running: set[SharedPermit] = set()
        self._owing: set[Counts] = set()
        self._permits = 0
        self._id = b"$%d\r\n%b:%%016x\r\n" % (len(self._process) + 17, self._process)

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
        self._permits = number = self._permits + 1
        permit = SharedPermit(self, under, tokens, number, self._id % number)
        if not under.counted:
            permit.standing = Standing()
            return permit
        if self._remote.link is not None:
            self._refuse_known(permit)
        size = b"%d" % tokens
        rest = b"%b$%d\r\n%b\r\n" % (permit.id, len(size), size)
        try:
            reply = await self._remote.ask(under.admit, rest, permit.undo)
        except Away:
            return self._alone(permit)
        return self._answered(reply, permit)

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
        held = self._held()
        for start in range(0, len(held), BATCH):
            await asyncio.gather(
                *(
                    link.call(
                        Prepared(HOLD, keyed(counts.names[1]) + SERVER_TIME, 3 + len(ids)),
                        self._hold + b"".join(ids),
                    )
                    for counts, ids in held[start : start + BATCH]
                )
            )

    def _held(self) -> list[tuple[Counts, list[bytes]]]:
        """Return whose slots requests hold here, and which requests."""
        held: dict[Counts, list[bytes]] = {}
        for permit in self._running:
            for counts, quota in permit.counted:
                if quota.slots:
                    held.setdefault(counts, []).append(permit.id)
        return list(held.items())

    def give_back(self, permit: SharedPermit, used: int) -> None:
        """Free slots and correct the tokens; Redis is told at once, or when it is back."""
        more, link, under = used - permit.tokens, self._remote.link, permit.under
        now = self._remote.now() if more > 0 or link is None else permit.at
        ran = permit in self._running
        self._running.discard(permit)
        for counts, quota in permit.counted:
            if ran and quota.slots:
                counts.running -= 1
            if more and quota.windows:
                counts.shift(now, quota, more, self._permits)
            if link is None:
                self._owe(counts, permit, quota, more)
        if link is not None and (under.slots or (more and under.tokens)):
            at, told = b"%d" % permit.at, b"%d" % more
            rest = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (permit.id, len(at), at, len(told), told)
            link.tell(under.correct, rest)

    def _owe(self, counts: Counts, permit: SharedPermit, quota: Quota, more: int) -> None:
        if not (quota.slots or (more and quota.windows)):
            return
        now = self._remote.now()
        debt = counts.owing(now)
        self._owing.add(counts)
        debt.add(permit.at if more < 0 else now, more if quota.tpm else 0, more if quota.tpd else 0)
        if quota.slots:
            debt.gone.append(permit.id)

    def _answered(self, reply: bytes, permit: SharedPermit) -> Permit:
        """Return the permit that Redis granted; raises RateLimited where it refused."""
        told = permit.under.reply.unpack(reply)
        granted, now, wait, limit = told[:4]
        self._remote.set_clock(now)
        permit.at = now
        learn(permit.counted, now, granted, told[4:])
        permit.standing = permit.left(now)
        if not granted:
            raise self._refused(permit, wait, limit)
        self._runs(permit)
        return permit

    def _refused(self, permit: SharedPermit, wait: int, limit: int) -> RateLimited:
        """Return the error for what Redis refused, and remember that where it is sure to last."""
        permit.closed = True
        scope, which = divmod(limit, 4)
        counts, _ = permit.counted[scope]
        # A reply that was under way while tokens were given back does not know of them.
        if which in (1, 2) and counts.corrected < permit.number:
            counts.refused = Refused(permit.at, permit.at + wait, permit.tokens, which)
        return refusal(wait, permit.under.name(limit), permit.standing)

    def _alone(self, permit: SharedPermit) -> Permit:
        """Return a permit of this process's share; raises RateLimited."""
        now, parts = self._remote.now(), max(self.workers, self._remote.processes, 1)
        permit.at = now
        permit.counted = [
            (counts, self._quota(quota.limits, parts)) for counts, quota in permit.counted
        ]
        wait, limit = permit.longest(
            [
                counts.wait(now, quota, permit.tokens, counts.slots(now, quota, self._beat))
                for counts, quota in permit.counted
            ]
        )
        if wait:
            permit.closed = True
            for counts, quota in permit.counted:
                if quota.slots:
                    # The call that was not answered in time may still be carried out.
                    counts.owing(now).gone.append(permit.id)
                    self._owing.add(counts)
            raise refusal(wait, permit.under.name(limit), permit.left(now))
        for counts, quota in permit.counted:
            counts.take(now, quota, permit.tokens)
            self._owing.add(counts)
        self._runs(permit)
        permit.standing = permit.left(now)
        return permit

    def _refuse_known(self, permit: SharedPermit) -> None:
        """Raise RateLimited for what Redis would refuse by all that is known here."""
        now = self._remote.now()
        for counts, quota in permit.counted:
            if (
                counts.requests - now > quota.burst
                or counts.refused is not None
                or counts.running >= quota.slots > 0
            ):
                break
        else:
            return
        wait, limit = permit.longest(
            [counts.known(now, quota, permit.tokens, FRESH) for counts, quota in permit.counted]
        )
        if wait > MARGIN:
            raise refusal(wait, permit.under.name(limit), permit.left(now))

    def _runs(self, permit: SharedPermit) -> None:
        if permit.under.slots:
            self._running.add(permit)
            for counts, quota in permit.counted:
                if quota.slots:
                    counts.running += 1

    async def _pay(self, link: Link, counts: Counts) -> None:
        debt, counts.debt = counts.debt, None
        if debt is None:
            return
        count, arguments = debt.arguments(self._remote.now())
        try:
            keys = keyed(*counts.names) + SERVER_TIME
            await link.call(Prepared(OWE, keys, 3 + count), arguments)
        except Away:
            if counts.debt is None:
                counts.debt = debt
            self._owing.add(counts)
            raise

    def _under(self, ctx: RequestContext) -> Under:
        """Return what such a request counts against; found once while nothing of it changes."""
        key = ctx.key
        under = self._unders.get((key.id, ctx.model.name))
        if (
            under is None
            or under.key is not key
            or under.account is not ctx.account
            or under.plan is not ctx.plan
        ):
            if len(self._unders) >= MOST_COUNTED:
                self._unders.clear()
            found = [
                (scope, self._quota(scope.limits, 1))
                for scope in scopes(ctx.plan, ctx.account, key, ctx.model)
                if scope.limits
            ]
            under = self._unders[key.id, ctx.model.name] = Under(ctx, found, self._hold)
        if under.found != self._forgotten:
            id_ = ctx.account.id
            under.counted = [(self._counts(id_, scope), quota) for scope, quota in under.scopes]
            under.found = self._forgotten
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

    def _forget(self) -> None:
        """Make room for one more: look at two, so that what is idle shrinks over time."""
        now = self._remote.now()
        for _ in range(2 if len(self._counted) > FEW else 0):
            id_, counts = next(iter(self._counted.items()))
            full = len(self._counted) >= MOST_COUNTED
            if counts.idle(now) or (full and not counts.running and counts.debt is None):
                del self._counted[id_]
                self._forgotten += 1
            else:
                self._counted.move_to_end(id_)
