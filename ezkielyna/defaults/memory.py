"""The rate limiter `memory`: counts in this process, by account.

Requests a minute are a GCRA whose burst is a sixth of the limit; tokens a minute and a day are
buckets that hold the whole limit, charged with an estimate and corrected by the usage; concurrency
is slots. With several workers each takes its share of a limit, so that together they hold it.

Time is whole nanoseconds and a bucket's level whole token-nanoseconds, so that nothing is rounded:
what a Retry-After promises is kept to the nanosecond.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ezkielyna.contract.context import Account, Key, Plan, RequestContext
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.usage import Usage

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
MILLISECOND = 1_000_000

BURST_PART = 6
"""The burst of requests is the limit divided by this, at least one request."""

FIRST_OUTPUT = 1000
"""Output tokens charged at first: agents ask for 32,000 and need a few hundred."""

SLOT_RETRY = SECOND
"""When to try again for a slot: nobody knows when a running request ends."""

MOST_ACCOUNTS = 50_000
"""Accounts remembered at most; beyond it one that was idle for long is forgotten."""


class MemoryLimiter(RateLimiter):
    """Admits by account, all limits or none, without a lock: nothing here waits."""

    kind = "memory"

    def __init__(self, workers: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(workers)
        self._clock = clock
        self._quotas: dict[str, Quota] = {}
        self._accounts: OrderedDict[str, Counts] = OrderedDict()

    async def admit(self, ctx: RequestContext) -> Permit:
        """Return a permit; raises RateLimited with the time after which the retry passes."""
        now = self._clock()
        counts = self._counts(ctx.account.id, ctx.plan, now)
        output = ctx.output_bound
        charge = ctx.input_estimate + (output if output < FIRST_OUTPUT else FIRST_OUTPUT)
        standing = counts.take(now, charge)
        if standing is None:
            raise counts.refusal(now, charge)
        return MemoryPermit(self._clock, counts, charge, standing)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left of the limits in this process; counts nothing."""
        now, quota = self._clock(), self._quota(plan)
        counts = self._accounts.get(account.id)
        if counts is None:
            return Counts(quota, now).standing(now)
        counts.refill(now)
        return counts.standing(now)

    def _counts(self, account: str, plan: Plan, now: int) -> Counts:
        quota = self._quota(plan)
        counts = self._accounts.get(account)
        if counts is None:
            self._forget(now)
            counts = self._accounts[account] = Counts(quota, now)
            return counts
        self._accounts.move_to_end(account)
        if counts.quota is not quota:
            counts.change(quota, now)
        return counts

    def _quota(self, plan: Plan) -> Quota:
        quota = self._quotas.get(plan.name)
        if quota is None or (quota.plan is not plan and quota.plan != plan):
            quota = self._quotas[plan.name] = Quota(plan, self.workers)
        return quota

    def _forget(self, now: int) -> None:
        """Make room for one more account: look at two, so that what is idle shrinks over time."""
        for _ in range(min(2, len(self._accounts))):
            account, counts = next(iter(self._accounts.items()))
            full = len(self._accounts) >= MOST_ACCOUNTS
            if counts.running == 0 and (full or counts.whole(now)):
                del self._accounts[account]
            else:
                self._accounts.move_to_end(account)


class MemoryPermit(Permit):
    """A slot, and tokens charged on an estimate. Closing it again changes nothing."""

    __slots__ = ("_charge", "_clock", "_counts", "standing")

    def __init__(
        self, clock: Callable[[], int], counts: Counts, charge: int, standing: Standing
    ) -> None:
        self._clock = clock
        self._counts: Counts | None = counts
        self._charge = charge
        self.standing = standing

    async def close(self, usage: Usage | None) -> None:
        """Return the slot; charge what was used instead of the estimate."""
        counts, self._counts = self._counts, None
        if counts is None:
            return
        counts.give_back(self._clock, self._charge, usage.total if usage is not None else 0)


class Rate:
    """`limit` tokens in `period` nanoseconds, as one of several workers holds it.

    A token weighs `weight`, a nanosecond brings `limit`, and a full bucket weighs `full`: in these
    units the share of a worker is a whole number.
    """

    __slots__ = ("full", "limit", "weight")

    def __init__(self, limit: int, period: int, workers: int) -> None:
        self.limit = limit
        self.weight = period * workers
        self.full = limit * period

    def wait(self, level: int, tokens: int) -> int:
        """Return the nanoseconds until it holds these tokens or is full; 0 or less when it does."""
        return -((level - min(tokens * self.weight, self.full)) // self.limit)


class Quota:
    """A plan's limits as one of several workers holds them; 0 or None: no limit."""

    __slots__ = ("burst", "day", "interval", "minute", "plan", "slots")

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan = plan
        self.interval = -(-MINUTE * workers // plan.rpm) if plan.rpm else 0
        self.burst = (max(1, plan.rpm // (BURST_PART * workers)) - 1) * self.interval
        self.minute = Rate(plan.tpm, MINUTE, workers) if plan.tpm else None
        self.day = Rate(plan.tpd, DAY, workers) if plan.tpd else None
        self.slots = max(1, plan.concurrency // workers) if plan.concurrency else 0


class Counts:
    """What one account used. `arrival` is GCRA's theoretical arrival time: the next request at an
    even pace; `minute` and `day` are the levels of the buckets at the time `at`.
    """

    __slots__ = ("arrival", "at", "day", "minute", "quota", "running")

    def __init__(self, quota: Quota, now: int) -> None:
        self.quota = quota
        self.arrival = self.at = now
        self.minute = quota.minute.full if quota.minute else 0
        self.day = quota.day.full if quota.day else 0
        self.running = 0

    def take(self, now: int, tokens: int) -> Standing | None:
        """Count a request and return what is left; None, and nothing counted, where a limit is
        reached. A full bucket takes a request of any size: else the largest would wait for ever.
        """
        self.refill(now)
        quota = self.quota
        minute, day = quota.minute, quota.day
        arrival = self.arrival if self.arrival > now else now
        if (
            arrival - now > quota.burst
            or (quota.slots and self.running >= quota.slots)
            or (minute and self.minute < minute.full and self.minute < tokens * minute.weight)
            or (day and self.day < day.full and self.day < tokens * day.weight)
        ):
            return None
        self.arrival = arrival + quota.interval
        if minute:
            self.minute -= tokens * minute.weight
        if day:
            self.day -= tokens * day.weight
        self.running += 1
        return self.standing(now)

    def give_back(self, clock: Callable[[], int], charged: int, used: int) -> None:
        """Free the slot, and correct the tokens that were charged."""
        self.running -= 1
        assert self.running >= 0
        if used == charged:
            return
        if used > charged:
            # What flowed over the brim until now is lost; a refund needs no such care.
            self.refill(clock())
        minute, day = self.quota.minute, self.quota.day
        if minute:
            level = self.minute + (charged - used) * minute.weight
            self.minute = level if level < minute.full else minute.full
        if day:
            level = self.day + (charged - used) * day.weight
            self.day = level if level < day.full else day.full

    def refusal(self, now: int, tokens: int) -> RateLimited:
        """Return the error for what `take` refused; it names the limit to wait for longest."""
        quota = self.quota
        waits = [(self.arrival - now - quota.burst, f"{quota.plan.rpm} requests a minute")]
        if quota.minute:
            wait = quota.minute.wait(self.minute, tokens)
            waits.append((wait, f"{quota.plan.tpm} tokens a minute"))
        if quota.day:
            waits.append((quota.day.wait(self.day, tokens), f"{quota.plan.tpd} tokens a day"))
        if quota.slots and self.running >= quota.slots:
            waits.append((SLOT_RETRY, f"{quota.plan.concurrency} requests at once"))
        wait, limit = max(waits)
        # Whole milliseconds, rounded up: a float of seconds may be a nanosecond short.
        retry_after_s = -(-wait // MILLISECOND) / 1000
        return RateLimited(
            f"Rate limit reached: {limit}. Try again in {retry_after_s:g} seconds.",
            retry_after_s=retry_after_s,
            standing=self.standing(now),
        )

    def standing(self, now: int) -> Standing:
        """Return what is left at the moment of the last refill."""
        quota = self.quota
        plan, interval, minute = quota.plan, quota.interval, quota.minute
        ahead = self.arrival - now if self.arrival > now else 0
        left = (quota.burst - ahead) // interval + 1 if interval else None
        if minute is None:
            return Standing(plan.rpm or None, left, ahead / SECOND)
        level = self.minute if self.minute > 0 else 0
        return Standing(
            plan.rpm or None,
            left,
            ahead / SECOND,
            plan.tpm,
            level // minute.weight,
            (minute.full - self.minute) // minute.limit / SECOND,
        )

    def whole(self, now: int) -> bool:
        """True when forgetting this account changes nothing for it."""
        self.refill(now)
        quota = self.quota
        return (
            self.running == 0
            and self.arrival <= now
            and (quota.minute is None or self.minute == quota.minute.full)
            and (quota.day is None or self.day == quota.day.full)
        )

    def change(self, quota: Quota, now: int) -> None:
        """Go on under other limits: what was used of the old ones counts against the new."""
        self.refill(now)
        old, self.quota = self.quota, quota
        ahead = max(0, self.arrival - now)
        used = -(-ahead // old.interval) if old.interval else 0
        self.arrival = now + min(used * quota.interval, quota.burst + quota.interval)
        self.minute = _moved(self.minute, old.minute, quota.minute)
        self.day = _moved(self.day, old.day, quota.day)

    def refill(self, now: int) -> None:
        """Bring the buckets up to this moment."""
        elapsed, self.at = now - self.at, now
        minute, day = self.quota.minute, self.quota.day
        if minute:
            level = self.minute + elapsed * minute.limit
            self.minute = level if level < minute.full else minute.full
        if day:
            level = self.day + elapsed * day.limit
            self.day = level if level < day.full else day.full


def _moved(level: int, old: Rate | None, new: Rate | None) -> int:
    """Return the level of the new bucket after what was used of the old one."""
    if new is None:
        return 0
    used = -((level - old.full) // old.weight) if old else 0
    return new.full - used * new.weight
