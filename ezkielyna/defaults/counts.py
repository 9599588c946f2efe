"""What one account, key or model used in this process, and the arithmetic of its limits.

Time is whole nanoseconds, so that what a Retry-After promises is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ezkielyna.contract.limiter import Standing
from ezkielyna.contract.limits import Limits
from ezkielyna.contract.window import SLOTS, Window

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
MINUTE_SLOT = MINUTE // SLOTS
DAY_SLOT = DAY // SLOTS

BURST_PART = 6
"""The burst of requests is the limit divided by this, at least one request."""

SLOT_RETRY = SECOND
"""When to try again for a slot: nobody knows when a running request ends."""

Entry: TypeAlias = "list[int] | None"


class Quota:
    """Limits as one of several workers holds them: its share, at least one; 0: no limit.

    `interval` and `burst` are nanoseconds between requests.
    """

    __slots__ = ("burst", "interval", "limits", "slots", "tpd", "tpm")

    def __init__(self, limits: Limits, workers: int) -> None:
        self.limits = limits
        rpm = limits.rpm
        self.interval = -(-MINUTE * workers // rpm) if rpm else 0
        self.burst = (max(1, rpm // (BURST_PART * workers)) - 1) * self.interval
        self.tpm = max(1, limits.tpm // workers) if limits.tpm else 0
        self.tpd = max(1, limits.tpd // workers) if limits.tpd else 0
        self.slots = max(1, limits.concurrency // workers) if limits.concurrency else 0


class Counts:
    """`arrival` is GCRA's theoretical arrival time: the next request at an even pace; `minute` and
    `day` are the tokens of the last minute and day; `running` is how many requests run.
    """

    __slots__ = ("arrival", "day", "minute", "quota", "running")

    def __init__(self, quota: Quota, now: int) -> None:
        self.quota = quota
        self.arrival = now
        self.minute = Window()
        self.day = Window()
        self.running = 0

    def admits(self, now: int, tokens: int) -> bool:
        """True when there is room for a request. Counts nothing.

        An empty window takes a request of any size: else the largest would wait for ever.
        """
        quota = self.quota
        if self.arrival - now > quota.burst or (quota.slots and self.running >= quota.slots):
            return False
        if quota.tpm:
            minute = self.minute
            entries, slot = minute.entries, now // MINUTE_SLOT
            if entries and entries[0][0] < slot - SLOTS:  # `expire` asks the same, for a call
                minute.expire(slot)
            used = minute.used
            if used and used + tokens > quota.tpm:
                return False
        if quota.tpd:
            day = self.day
            day.expire(now // DAY_SLOT)
            used = day.used
            if used and used + tokens > quota.tpd:
                return False
        return True

    def take(self, now: int, tokens: int) -> tuple[Entry, Entry]:
        """Count a request that was admitted; returns where its tokens are, to be corrected."""
        quota = self.quota
        self.running += 1
        interval = quota.interval
        if interval:
            arrival = self.arrival
            self.arrival = (arrival if arrival > now else now) + interval
        minute = None
        if quota.tpm:
            window, slot = self.minute, now // MINUTE_SLOT
            entries = window.entries
            if entries and entries[-1][0] == slot:  # `add` does the same, for a call
                window.used += tokens
                minute = entries[-1]
                minute[1] += tokens
            else:
                minute = window.add(slot, tokens)
        return minute, self.day.add(now // DAY_SLOT, tokens) if quota.tpd else None

    def give_back(
        self, clock: Callable[[], int], entries: tuple[Entry, Entry], charged: int, used: int
    ) -> None:
        """Free the slot, and count what was used instead of what was charged."""
        self.running -= 1
        assert self.running >= 0
        minute, day = entries
        if used == charged:
            return
        now = clock() if used > charged else 0
        if minute is not None:
            self.minute.correct(minute, now // MINUTE_SLOT, used - charged)
        if day is not None:
            self.day.correct(day, now // DAY_SLOT, used - charged)

    def wait(self, now: int, tokens: int) -> tuple[int, str]:
        """Return the nanoseconds until such a request passes, and the limit that takes longest."""
        quota, limits = self.quota, self.quota.limits
        waits = [(self.arrival - now - quota.burst, f"{limits.rpm} requests a minute")]
        if quota.tpm:
            slot = self.minute.falls(max(0, quota.tpm - tokens))
            waits.append((slot * MINUTE_SLOT - now, f"{limits.tpm} tokens a minute"))
        if quota.tpd:
            slot = self.day.falls(max(0, quota.tpd - tokens))
            waits.append((slot * DAY_SLOT - now, f"{limits.tpd} tokens a day"))
        if quota.slots and self.running >= quota.slots:
            waits.append((SLOT_RETRY, f"{limits.concurrency} requests at once"))
        return max(waits)

    def left(self, now: int) -> Standing:
        """Return what is left at the moment of `admits` or `idle`."""
        quota = self.quota
        limits, interval, tpm = quota.limits, quota.interval, quota.tpm
        rpm, requests, ahead = None, None, 0
        if interval:
            ahead = self.arrival - now
            if ahead < 0:
                ahead = 0
            rpm, requests = limits.rpm, (quota.burst - ahead) // interval + 1
        if not tpm:
            return Standing(rpm, requests, ahead / SECOND)
        minute = self.minute
        used, whole = minute.used, 0
        if used:
            whole = (minute.entries[-1][0] + SLOTS + 1) * MINUTE_SLOT - now
        tokens = tpm - used if used < tpm else 0
        return Standing(rpm, requests, ahead / SECOND, limits.tpm, tokens, whole / SECOND)

    def idle(self, now: int) -> bool:
        """True when forgetting this changes nothing."""
        self.minute.expire(now // MINUTE_SLOT)
        self.day.expire(now // DAY_SLOT)
        unused = not (self.running or self.minute.used or self.day.used)
        return unused and self.arrival <= now

    def change(self, quota: Quota, now: int) -> None:
        """Go on under other limits: what was used of the old ones counts against the new."""
        old, self.quota = self.quota, quota
        ahead = max(0, self.arrival - now)
        used = -(-ahead // old.interval) if old.interval else 0
        self.arrival = now + min(used * quota.interval, quota.burst + quota.interval)
