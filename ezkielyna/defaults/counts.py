"""What one account, key or model used in this process, and the arithmetic of its limits.

Time is whole nanoseconds, so that what a Retry-After promises is kept.
"""

from __future__ import annotations

from typing import TypeAlias

from ezkielyna.contract.limiter import Standing
from ezkielyna.contract.limits import NO_LIMITS, Limits
from ezkielyna.contract.window import SLOTS, Window

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
MINUTE_SLOT = MINUTE // SLOTS
DAY_SLOT = DAY // SLOTS
DAY_SLOTS = DAY_SLOT // MINUTE_SLOT
"""So many slots of the minute are one of the day."""

BURST_PART = 6
"""The burst of requests is the limit divided by this, at least one request."""

SLOT_RETRY = SECOND
"""When to try again for a slot: nobody knows when a running request ends."""

NO_SLOTS = 2**62
"""Instead of how many requests may run at once, where any number may."""

Entry: TypeAlias = "list[int] | None"


class Quota:
    """Limits as one of several workers holds them: its share, at least one; 0: no limit.

    `interval` and `burst` are nanoseconds between requests. `slots` is NO_SLOTS for no limit.
    """

    __slots__ = ("burst", "interval", "limits", "slots", "tpd", "tpm")

    def __init__(self, limits: Limits, workers: int) -> None:
        self.limits = limits
        rpm = limits.rpm
        self.interval = -(-MINUTE * workers // rpm) if rpm else 0
        self.burst = (max(1, rpm // (BURST_PART * workers)) - 1) * self.interval
        self.tpm = max(1, limits.tpm // workers) if limits.tpm else 0
        self.tpd = max(1, limits.tpd // workers) if limits.tpd else 0
        self.slots = max(1, limits.concurrency // workers) if limits.concurrency else NO_SLOTS


Left: TypeAlias = "tuple[Quota | None, int, int]"
"""A limit, what is left under it, below zero for nothing, and the moment when it is whole again.

None: there is no limit; what is said of it does not matter, but that the moment is now.
"""

FORGOTTEN = Quota(NO_LIMITS, 1)
"""The quota of counts that were forgotten: whoever still has them looks for new ones."""


class Counts:
    """`free_at` is from when on the next request keeps the pace: GCRA's theoretical arrival time
    less the burst. `minute` and `day` are the tokens of the last minute and day, and `entry` those
    of `slot`, the slot of the minute in which a request was counted last, where it used any;
    `running` is how many requests run.

    The limiter reads and writes these itself, without a call, because it does so for each limit of
    each request.
    """

    __slots__ = ("day", "entry", "free_at", "id", "minute", "quota", "running", "slot")

    def __init__(self, id_: str, quota: Quota, now: int) -> None:
        self.id = id_
        self.quota = quota
        self.free_at = now - quota.burst
        self.minute = Window()
        self.day = Window()
        self.running = self.slot = 0
        self.entry: Entry = None

    def turn(self, slot: int) -> None:
        """Go on in another slot of the minute, and forget what is over by then."""
        self.slot = slot
        self.entry = None
        self.minute.expire(slot)
        self.day.expire(slot // DAY_SLOTS)

    def correct(self, now: int, minute: Entry, day: Entry, more: int) -> None:
        """Count more tokens than were charged, as used now, or less, as never used.

        The time of what was never used does not matter.
        """
        slot = now // MINUTE_SLOT
        if more > 0:
            self.turn(slot)
        if minute is not None:
            self.minute.correct(minute, slot, more)
        if day is not None:
            self.day.correct(day, slot // DAY_SLOTS, more)

    def wait(self, now: int, tokens: int) -> tuple[int, str]:
        """Return the nanoseconds until such a request passes, and the limit that takes longest."""
        quota, limits = self.quota, self.quota.limits
        waits = [(self.free_at - now, f"{limits.rpm} requests a minute")]
        if quota.tpm:
            slot = self.minute.falls(max(0, quota.tpm - tokens))
            waits.append((slot * MINUTE_SLOT - now, f"{limits.tpm} tokens a minute"))
        if quota.tpd:
            slot = self.day.falls(max(0, quota.tpd - tokens))
            waits.append((slot * DAY_SLOT - now, f"{limits.tpd} tokens a day"))
        if self.running >= quota.slots:
            waits.append((SLOT_RETRY, f"{limits.concurrency} requests at once"))
        return max(waits)

    def requests_left(self, now: int) -> Left:
        """Return how many requests pass at once, where there is a limit of them."""
        quota = self.quota
        whole = max(now, self.free_at + quota.burst)
        return quota, (now + quota.burst - whole) // quota.interval + 1, whole

    def tokens_left(self, now: int) -> Left:
        """Return how many tokens are left since the last turn, where there is a limit of them."""
        quota, minute = self.quota, self.minute
        return quota, quota.tpm - minute.used, minute.whole() * MINUTE_SLOT if minute.used else now

    def idle(self, now: int) -> bool:
        """True when forgetting this changes nothing. Turns it."""
        self.turn(now // MINUTE_SLOT)
        unused = not (self.running or self.minute.used or self.day.used)
        return unused and self.free_at + self.quota.burst <= now

    def change(self, quota: Quota, now: int) -> None:
        """Go on under other limits: what was used of the old ones counts against the new."""
        old, self.quota = self.quota, quota
        ahead = max(0, self.free_at + old.burst - now)
        used = -(-ahead // old.interval) if old.interval else 0
        self.free_at = now + min(used * quota.interval, quota.burst + quota.interval) - quota.burst


def standing_of(
    requests: Quota | None,
    requests_left: int,
    requests_whole: int,
    tokens: Quota | None,
    tokens_left: int,
    tokens_whole: int,
    now: int,
) -> Standing:
    """Return what is left under the limits that leave fewest requests and tokens.

    It is two of `Left`, one after the other: a tuple of each is dear where requests are counted.
    """
    # As `Standing(…)`, which costs twice as much as all the sums of a limit.
    return tuple.__new__(
        Standing,
        (
            None if requests is None else requests.limits.rpm,
            None if requests is None else requests_left if requests_left > 0 else 0,
            (requests_whole - now) / SECOND,
            None if tokens is None else tokens.limits.tpm,
            None if tokens is None else tokens_left if tokens_left > 0 else 0,
            (tokens_whole - now) / SECOND,
        ),
    )
