"""What one account used, as far as this process knows, and the arithmetic of limits.

Every limit is a moment: the time at which it will be whole again, in microseconds of Redis's
clock. A request moves it on by what it costs. The scripts in `lua/` do the same sums on the
moments in Redis; here they refuse what is known to be over, and admit while Redis is away.
"""

from __future__ import annotations

from collections.abc import Iterable

from ezkielyna import Plan, Standing
from ezkielyna_redis.scripts import packed

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND

BURST_PART = 6
"""The burst of requests is the limit divided by this, at least one request."""

SLOT_RETRY = SECOND
"""When to try again for a slot: nobody knows when a running request ends."""


class Quota:
    """A plan's limits as one of `parts` equal processes holds them; 0: no limit.

    `interval` and `burst` are microseconds.
    """

    def __init__(self, plan: Plan, parts: int, hold: int) -> None:
        self.plan = plan
        self.parts = parts
        self.interval = -(-MINUTE // plan.rpm) * parts if plan.rpm else 0
        self.burst = (max(1, plan.rpm // (BURST_PART * parts)) - 1) * self.interval
        self.tpm = plan.tpm
        self.tpd = plan.tpd
        self.slots = max(1, plan.concurrency // parts) if plan.concurrency else 0
        self.unlimited = not (plan.rpm or plan.tpm or plan.tpd or plan.concurrency)
        self.arguments = packed(
            b"%d" % self.interval, b"%d" % self.burst, b"%d" % self.slots, b"%d" % hold
        )

    def minute(self, tokens: int) -> int:
        """Return what tokens cost of the whole plan's minute; -1 without a limit."""
        return -(-tokens * MINUTE // self.tpm) if self.tpm else -1

    def day(self, tokens: int) -> int:
        """Return what tokens cost of the whole plan's day; -1 without a limit."""
        return -(-tokens * DAY // self.tpd) if self.tpd else -1


class Debt:
    """What was admitted without Redis since a moment, and slots to free there."""

    __slots__ = ("day", "gone", "minute", "requests", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.requests = self.minute = self.day = 0
        self.gone: list[bytes] = []

    def arguments(self, now: int) -> tuple[int, bytes]:
        """Return the arguments of the script `correct`, and how many they are."""
        numbers = (max(0, now - self.since), self.requests, self.minute, self.day)
        parts: Iterable[bytes] = [*(b"%d" % number for number in numbers), *self.gone]
        return 4 + len(self.gone), packed(*parts)


class Counts:
    """One account: moments as Redis last told them at `seen`, and ids of requests running here.
    `corrections` is how often tokens were given back or charged on.

    While Redis is away the moments go on from there, so that an outage brings no second burst;
    `debt` is what Redis will be told afterwards.
    """

    __slots__ = (
        "corrections",
        "day",
        "debt",
        "keys",
        "minute",
        "requests",
        "running",
        "seen",
        "slots_key",
    )

    def __init__(self, account: str) -> None:
        tag = account.encode()
        slots = b"ezkielyna:{%b}:slots" % tag
        self.keys = packed(b"ezkielyna:{%b}:counts" % tag, slots)
        self.slots_key = packed(slots)
        self.requests = self.minute = self.day = self.seen = self.corrections = 0
        self.running: set[bytes] = set()
        self.debt: Debt | None = None

    def wait(self, now: int, quota: Quota, minute: int, day: int, running: int) -> tuple[int, str]:
        """Return the microseconds until such a request passes, 0 for now, and the limit's name.

        `minute` and `day` are costs, -1 for what is not to be looked at. A whole bucket takes a
        request of any size: else the largest would wait for ever.
        """
        longest, limit = 0, ""
        if quota.interval and self._ahead(now, quota) > quota.burst:
            longest = self._ahead(now, quota) - quota.burst
            limit = f"{quota.plan.rpm} requests a minute"
        if minute >= 0:
            wait = min(self.minute - now, self.minute - now + minute * quota.parts - MINUTE)
            if wait > longest:
                longest, limit = wait, f"{quota.tpm} tokens a minute"
        if day >= 0:
            wait = min(self.day - now, self.day - now + day * quota.parts - DAY)
            if wait > longest:
                longest, limit = wait, f"{quota.tpd} tokens a day"
        if quota.slots and running >= quota.slots and longest < SLOT_RETRY:
            longest, limit = SLOT_RETRY, f"{quota.plan.concurrency} requests at once"
        return longest, limit

    def take(self, now: int, quota: Quota, minute: int, day: int) -> None:
        """Count a request without Redis."""
        debt = self.owing(now)
        if quota.interval:
            self.requests = now + self._ahead(now, quota) + quota.interval
            debt.requests += quota.interval // quota.parts
        if minute > 0:
            self.minute = max(self.minute, now) + minute * quota.parts
            debt.minute += minute
        if day > 0:
            self.day = max(self.day, now) + day * quota.parts
            debt.day += day

    def shift(self, now: int, quota: Quota, minute: int, day: int) -> None:
        """Correct what was charged; what flowed over the brim until now is lost."""
        if minute:
            base = max(self.minute, now) if minute > 0 else self.minute
            self.minute = base + minute * quota.parts
        if day:
            base = max(self.day, now) if day > 0 else self.day
            self.day = base + day * quota.parts

    def owing(self, now: int) -> Debt:
        """Return the debt to add to."""
        if self.debt is None:
            self.debt = Debt(now)
        return self.debt

    def idle(self, now: int) -> bool:
        """True when forgetting this account changes nothing for it."""
        return (
            not self.running
            and self.debt is None
            and max(self.requests, self.minute, self.day) <= now
        )

    def standing(self, now: int, quota: Quota) -> Standing:
        """Return what is left."""
        plan = quota.plan
        ahead = self._ahead(now, quota)
        left = None
        if quota.interval:
            left = max(0, (quota.burst - ahead) // quota.interval + 1)
        if not quota.tpm:
            return Standing(plan.rpm or None, left, ahead / SECOND)
        used = max(0, self.minute - now)
        return Standing(
            plan.rpm or None,
            left,
            ahead / SECOND,
            quota.tpm,
            max(0, MINUTE - used) * quota.tpm // (MINUTE * quota.parts),
            used / SECOND,
        )

    def _ahead(self, now: int, quota: Quota) -> int:
        """Return how far requests are ahead; never further than one request can bring it."""
        return max(0, min(self.requests - now, quota.burst + quota.interval))
