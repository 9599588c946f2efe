"""The rate limiter `memory`: counts in this process, by account, key and model.

Requests a minute are a GCRA whose burst is a sixth of the limit; tokens a minute and a day are
sliding windows, charged with an estimate and corrected by the usage; concurrency is slots. With
several workers each takes its share of a limit, so that together they hold it.

What a request counts against is found once for a key and a model. After that a request costs one
reading of the clock and, for each of its limits, some sums: the loops here make no call for them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import itemgetter

from ezkielyna.contract.context import Account, Key, Plan, RequestContext
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.limits import Limits, Scope, scopes
from ezkielyna.contract.usage import Usage
from ezkielyna.contract.window import SLOTS
from ezkielyna.defaults.counts import (
    DAY_SLOTS,
    FORGOTTEN,
    MINUTE_SLOT,
    NO_SLOTS,
    Counts,
    Entry,
    Left,
    Quota,
    standing_of,
)

MILLISECOND = 1_000_000

FIRST_OUTPUT = 1000
"""Output tokens charged at first: agents ask for 32,000 and need a few hundred."""

MOST_COUNTED = 50_000
"""Accounts, keys and models remembered at most; beyond it one that was idle for long is forgotten.
"""

MOST_QUOTAS = 10_000
FEW = 9
"""So many are kept in any case: a request has three, and makes two others older for each."""


class Under:
    """What requests with one key to one model count against, as long as these stay the same."""

    __slots__ = ("account", "counted", "key", "plan", "scopes", "slot")

    def __init__(self, ctx: RequestContext) -> None:
        self.account, self.key, self.plan = ctx.account, ctx.key, ctx.plan
        self.scopes: list[Scope] = scopes(ctx.plan, ctx.account, ctx.key, ctx.model)
        self.counted: list[tuple[Counts, Quota]] = []
        self.slot = -1

    def holds(self) -> bool:
        """False once a request under other limits has changed the counts, or forgotten them."""
        return all(counts.quota is quota for counts, quota in self.counted)


class MemoryLimiter(RateLimiter):
    """Admits under all limits or none, without a lock: nothing here waits."""

    kind = "memory"

    def __init__(self, workers: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(workers)
        self._clock = clock
        self._unders: dict[tuple[str, str], Under] = {}
        self._quotas: dict[Limits, Quota] = {}
        self._counts: OrderedDict[str, Counts] = OrderedDict()

    async def admit(self, ctx: RequestContext) -> Permit:
        """Return a permit; raises RateLimited with the time after which the retry passes."""
        key = ctx.key
        under = self._unders.get((key.id, ctx.model.name))
        if (
            under is None
            or under.key is not key
            or under.account is not ctx.account
            or under.plan is not ctx.plan
        ):
            under = self._under(ctx)
        output = ctx.output_bound
        tokens = ctx.input_estimate + (output if output < FIRST_OUTPUT else FIRST_OUTPUT)
        now = self._clock()
        slot = now // MINUTE_SLOT
        if under.slot != slot:
            self._turn(under, slot)
        for counts, quota in under.counted:
            tpm, used = quota.tpm, counts.minute.used
            if (
                now < counts.free_at
                or counts.running >= quota.slots
                or (used and used + tokens > tpm > 0)
                or (quota.tpd and (used := counts.day.used) and used + tokens > quota.tpd)
                or counts.quota is not quota
            ):
                if under.holds():
                    raise _refusal(under, now, tokens)
                self._look_up(under, now)
                return await self.admit(ctx)
        return MemoryPermit(self._clock, under.counted, tokens, now, slot)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        """Return what is left in this process; counts nothing."""
        now, found = self._clock(), []
        for scope in scopes(plan, account, key):
            quota, counts = self._quota(scope.limits), self._counts.get(scope.id)
            if counts is None:
                counts = Counts(scope.id, quota, now)
            elif counts.quota is not quota:
                counts.change(quota, now)
            counts.idle(now)
            found.append(counts)
        return _standing(found, now)

    def _under(self, ctx: RequestContext) -> Under:
        """Find out what such a request counts against, and remember it."""
        if len(self._unders) >= MOST_COUNTED:
            self._unders.clear()
        under = self._unders[ctx.key.id, ctx.model.name] = Under(ctx)
        self._look_up(under, self._clock())
        return under

    def _turn(self, under: Under, slot: int) -> None:
        """Go on in another slot of the minute; who does so is not idle. The forgotten stay so."""
        under.slot = slot
        for counts, _ in under.counted:
            if counts.slot != slot and counts.quota is not FORGOTTEN:
                counts.turn(slot)
                self._counts.move_to_end(counts.id)

    def _look_up(self, under: Under, now: int) -> None:
        """Find the counts of every scope, and have them counted under its limits."""
        found = [(scope.id, self._quota(scope.limits)) for scope in under.scopes]
        under.slot = -1
        under.counted = [(self._of(id_, quota, now), quota) for id_, quota in found]

    def _of(self, id_: str, quota: Quota, now: int) -> Counts:
        counts = self._counts.get(id_)
        if counts is None:
            self._forget(now)
            counts = self._counts[id_] = Counts(id_, quota, now)
            return counts
        self._counts.move_to_end(id_)
        if counts.quota is not quota:
            counts.change(quota, now)
        return counts

    def _quota(self, limits: Limits) -> Quota:
        """Return the one quota of these limits, so that a change shows in its identity."""
        quota = self._quotas.get(limits)
        if quota is None:
            if len(self._quotas) >= MOST_QUOTAS:
                self._quotas.clear()
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
                counts.quota = FORGOTTEN
            else:
                self._counts.move_to_end(id_)


class MemoryPermit(Permit):
    """Slots, and tokens charged on an estimate, under all limits of a request.

    Closing it again changes nothing.
    """

    __slots__ = ("_charged", "_clock", "_held", "standing")

    def __init__(
        self,
        clock: Callable[[], int],
        counted: list[tuple[Counts, Quota]],
        tokens: int,
        now: int,
        slot: int,
    ) -> None:
        self._clock = clock
        self._charged = tokens
        held: list[tuple[Counts, Entry, Entry]] = []
        self._held: Sequence[tuple[Counts, Entry, Entry]] = held
        fewest = least = NO_SLOTS
        requests = used_up = None
        requests_whole = minute_whole = now
        for counts, quota in counted:
            counts.running += 1
            interval = quota.interval
            if interval:
                free_at, earliest = counts.free_at, now - quota.burst
                counts.free_at = free_at = (free_at if free_at > earliest else earliest) + interval
                left = (now - free_at) // interval
                if left < fewest:
                    fewest, requests, requests_whole = left, quota, free_at + quota.burst
            minute = day = None
            tpm = quota.tpm
            if tpm:
                window, minute = counts.minute, counts.entry
                if minute is None:
                    minute = counts.entry = window.add(slot, 0)
                minute[1] += tokens
                window.used = used = window.used + tokens
                left = tpm - used
                if left < least:
                    least, used_up = left, quota
                    if used:
                        minute_whole = (slot + SLOTS + 1) * MINUTE_SLOT
            if quota.tpd:
                day = counts.day.add(slot // DAY_SLOTS, tokens)
            held.append((counts, minute, day))
        self.standing = standing_of(
            requests, fewest + 1, requests_whole, used_up, least, minute_whole, now
        )

    async def close(self, usage: Usage | None) -> None:
        """Return all slots; charge what was used instead of the estimate."""
        held, self._held = self._held, ()
        more = (0 if usage is None else usage.total) - self._charged
        now = self._clock() if more > 0 and held else 0
        for counts, minute, day in held:
            counts.running -= 1
            if more > 0 or day is not None:
                counts.correct(now, minute, day, more)
            elif minute is not None and minute[0] >= counts.slot - SLOTS:
                minute[1] += more
                counts.minute.used += more


def _refusal(under: Under, now: int, tokens: int) -> RateLimited:
    """Return the error; it names the limit to wait for longest."""
    slot = now // MINUTE_SLOT
    for counts, _ in under.counted:
        counts.turn(slot)
    waits = (
        (counts.wait(now, tokens), scope.whom)
        for (counts, _), scope in zip(under.counted, under.scopes, strict=True)
    )
    (wait, limit), whose = max(waits)
    # Whole milliseconds, rounded up: a float of seconds may be a nanosecond short.
    retry_after_s = -(-wait // MILLISECOND) / 1000
    return RateLimited(
        f"Rate limit reached{whose}: {limit}. Try again in {retry_after_s:g} seconds.",
        retry_after_s=retry_after_s,
        standing=_standing([counts for counts, _ in under.counted], now),
    )


def _standing(counted: list[Counts], now: int) -> Standing:
    """Return what is left under all of these."""
    requests = [counts.requests_left(now) for counts in counted if counts.quota.interval]
    tokens = [counts.tokens_left(now) for counts in counted if counts.quota.tpm]
    return standing_of(*_tightest(requests, now), *_tightest(tokens, now), now)


def _tightest(lefts: list[Left], now: int) -> Left:
    return min(lefts, key=itemgetter(1), default=(None, 0, now))
