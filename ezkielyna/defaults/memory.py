"""The rate limiter `memory`: counts in this process, by account, key and model.

Requests a minute are a GCRA whose burst is a sixth of the limit; tokens a minute and a day are
sliding windows, charged with an estimate and corrected by the usage; concurrency is slots. With
several workers each takes its share of a limit, so that together they hold it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.limits import Limits, scopes
from ezkielyna.contract.usage import Usage
from ezkielyna.defaults.counts import Counts, Quota

MILLISECOND = 1_000_000

FIRST_OUTPUT = 1000
"""Output tokens charged at first: agents ask for 32,000 and need a few hundred."""

MOST_COUNTED = 50_000
"""Accounts, keys and models remembered at most; beyond it one that was idle for long is forgotten.
"""

MOST_QUOTAS = 10_000
FEW = 9
"""So many are kept in any case: a request has three, and makes two others older for each."""


class Under(NamedTuple):
    """What requests with one key to one model count against, and whose each count is."""

    account: Account
    key: Key
    plan: Plan
    counts: list[tuple[str, Quota]]
    whom: list[str]


class MemoryLimiter(RateLimiter):
    """Admits under all limits or none, without a lock: nothing here waits."""

    kind = "memory"

    def __init__(self, workers: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(workers)
        self._clock = clock
        self._plans: dict[str, tuple[Plan, Quota]] = {}
        self._unders: dict[tuple[str, str], Under] = {}
        self._quotas: dict[Limits, Quota] = {}
        self._counts: OrderedDict[str, Counts] = OrderedDict()

    async def admit(self, ctx: RequestContext) -> Permit:
        """Return a permit; raises RateLimited with the time after which the retry passes."""
        now = self._clock()
        output = ctx.output_bound
        tokens = ctx.input_estimate + (output if output < FIRST_OUTPUT else FIRST_OUTPUT)
        account, key, plan = ctx.account, ctx.key, ctx.plan
        if plan.scoped or account.limits is not None or key.limits is not None:
            return self._admit_all(account, key, plan, ctx.model, now, tokens)
        known = self._plans.get(plan.name)
        quota = known[1] if known is not None and known[0] is plan else self._of_plan(plan)
        counts = self._of(account.id, quota, now)
        if not counts.admits(now, tokens):
            raise _refusal([counts], [""], now, tokens)
        return MemoryPermit(self._clock, counts, now, tokens)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left in this process; counts nothing."""
        now, found = self._clock(), []
        for scope in scopes(plan, account, key):
            quota, counts = self._quota(scope.limits), self._counts.get(scope.id)
            if counts is None:
                counts = Counts(quota, now)
            elif counts.quota is not quota:
                counts.change(quota, now)
            counts.idle(now)
            found.append(counts)
        return _standing(found, now)

    def _admit_all(
        self, account: Account, key: Key, plan: Plan, model: Model, now: int, tokens: int
    ) -> Permit:
        """Count against all limits of a request, or against none."""
        under = self._under(account, key, plan, model)
        counted = [self._of(id_, quota, now) for id_, quota in under.counts]
        for counts in counted:
            if not counts.admits(now, tokens):
                raise _refusal(counted, under.whom, now, tokens)
        return MemoryPermits(self._clock, counted, now, tokens)

    def _under(self, account: Account, key: Key, plan: Plan, model: Model) -> Under:
        """Return what such a request counts against; found once while nothing of it changes."""
        pair = (key.id, model.name)
        under = self._unders.get(pair)
        if (
            under is None
            or under.key is not key
            or under.account is not account
            or under.plan is not plan
        ):
            if len(self._unders) >= MOST_COUNTED:
                self._unders.clear()
            found = scopes(plan, account, key, model)
            counts = [(scope.id, self._quota(scope.limits)) for scope in found]
            under = Under(account, key, plan, counts, [scope.whom for scope in found])
            self._unders[pair] = under
        return under

    def _of(self, id_: str, quota: Quota, now: int) -> Counts:
        counts = self._counts.get(id_)
        if counts is None:
            self._forget(now)
            counts = self._counts[id_] = Counts(quota, now)
            return counts
        self._counts.move_to_end(id_)
        if counts.quota is not quota:
            counts.change(quota, now)
        return counts

    def _of_plan(self, plan: Plan) -> Quota:
        """Return the quota of an account under a plan, and remember it."""
        quota = self._quota(Limits(plan.rpm, plan.tpm, plan.tpd, plan.concurrency))
        self._plans[plan.name] = (plan, quota)
        return quota

    def _quota(self, limits: Limits) -> Quota:
        """Return the one quota of these limits, so that a change shows in its identity."""
        quota = self._quotas.get(limits)
        if quota is None:
            if len(self._quotas) >= MOST_QUOTAS:
                self._quotas.clear()
                self._plans.clear()
                self._unders.clear()
            quota = self._quotas[limits] = Quota(limits, self.workers)
        return quota

    def _forget(self, now: int) -> None:
        """Make room for one more: look at two, so that what is idle shrinks over time.

        The latest are let be: they are those of the request that needs the room.
        """
        for _ in range(2 if len(self._counts) > FEW else 0):
            id_, counts = next(iter(self._counts.items()))
            full = len(self._counts) >= MOST_COUNTED
            if counts.running == 0 and (full or counts.idle(now)):
                del self._counts[id_]
            else:
                self._counts.move_to_end(id_)


class MemoryPermit(Permit):
    """A slot, and tokens charged on an estimate. Closing it again changes nothing."""

    __slots__ = ("_charged", "_clock", "_counts", "_entries", "standing")

    def __init__(self, clock: Callable[[], int], counts: Counts, now: int, tokens: int) -> None:
        self._clock = clock
        self._counts: Counts | None = counts
        self._charged = tokens
        self._entries = counts.take(now, tokens)
        self.standing = counts.left(now)

    async def close(self, usage: Usage | None) -> None:
        """Return the slot; charge what was used instead of the estimate."""
        counts, self._counts = self._counts, None
        if counts is not None:
            used = 0 if usage is None else usage.total
            counts.give_back(self._clock, self._entries, self._charged, used)


class MemoryPermits(Permit):
    """Slots and tokens under several limits that were granted together."""

    __slots__ = ("_charged", "_clock", "_taken", "standing")

    def __init__(
        self, clock: Callable[[], int], counted: list[Counts], now: int, tokens: int
    ) -> None:
        self._clock = clock
        self._charged = tokens
        self._taken = [(counts, counts.take(now, tokens)) for counts in counted]
        self.standing = _standing(counted, now)

    async def close(self, usage: Usage | None) -> None:
        """Return all slots; charge what was used instead of the estimate."""
        taken, self._taken = self._taken, []
        used = 0 if usage is None else usage.total
        for counts, entries in taken:
            counts.give_back(self._clock, entries, self._charged, used)


def _standing(counted: list[Counts], now: int) -> Standing:
    """Return what is left under all of these."""
    standing = counted[0].left(now)
    for counts in counted[1:]:
        standing = standing.tightest(counts.left(now))
    return standing


def _refusal(counted: list[Counts], whom: list[str], now: int, tokens: int) -> RateLimited:
    """Return the error; it names the limit to wait for longest."""
    waits = zip((counts.wait(now, tokens) for counts in counted), whom, strict=True)
    (wait, limit), whose = max(waits)
    # Whole milliseconds, rounded up: a float of seconds may be a nanosecond short.
    retry_after_s = -(-wait // MILLISECOND) / 1000
    return RateLimited(
        f"Rate limit reached{whose}: {limit}. Try again in {retry_after_s:g} seconds.",
        retry_after_s=retry_after_s,
        standing=_standing(counted, now),
    )
