"""What one account, key or model used, as far as this process knows, and the sums of its limits.

Times are microseconds of Redis's clock. The scripts in `lua/` do the same sums in Redis; here they
refuse what is known to be over, and admit while Redis is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ezkielyna import Limits, Standing, Window
from ezkielyna_redis.scripts import packed

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
SLOTS = Window.SLOTS
MINUTE_SLOT = MINUTE // SLOTS
DAY_SLOT = DAY // SLOTS

BURST_PART = 6
"""The burst of requests is the limit divided by this, at least one request."""

ANY = 2**62
"""More than is left under any limit."""

SLOT_RETRY = SECOND
"""When to try again for a slot: nobody knows when a running request ends."""


class Quota:
    """Limits as one of `parts` equal processes holds them; 0: no limit.

    `interval` and `burst` are microseconds. Of tokens the whole limit is kept, and `parts` times
    what is used here is held against it. `windows` says where tokens count: 1 the minute, 2 the
    day, 3 both.
    """

    __slots__ = (
        "arguments",
        "burst",
        "interval",
        "limits",
        "parts",
        "slots",
        "tpd",
        "tpm",
        "windows",
    )

    def __init__(self, limits: Limits, parts: int) -> None:
        self.limits = limits
        self.parts = parts
        rpm = limits.rpm
        self.interval = -(-MINUTE // rpm) * parts if rpm else 0
        self.burst = (max(1, rpm // (BURST_PART * parts)) - 1) * self.interval
        self.tpm, self.tpd = limits.tpm, limits.tpd
        self.windows = (1 if self.tpm else 0) + (2 if self.tpd else 0)
        self.slots = max(1, limits.concurrency // parts) if limits.concurrency else 0
        numbers = (self.interval, self.burst, self.tpm, self.tpd, self.slots)
        self.arguments = packed(*(b"%d" % number for number in numbers))

    def name(self, which: int) -> str:
        """Return the limit of this number, for people: requests, the minute, the day, slots."""
        limits = self.limits
        return (
            f"{limits.rpm} requests a minute",
            f"{limits.tpm} tokens a minute",
            f"{limits.tpd} tokens a day",
            f"{limits.concurrency} requests at once",
        )[which]


class Refused(NamedTuple):
    """What Redis refused at `seen` for so many tokens, and until when, and for which limit."""

    seen: int
    until: int
    tokens: int
    which: int


class Debt:
    """What was admitted without Redis since a moment, and slots to free there.

    `requests` are microseconds, `minute` and `day` tokens by slot, `gone` packed ids.
    """

    __slots__ = ("day", "gone", "minute", "requests", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.requests = 0
        self.minute: dict[int, int] = {}
        self.day: dict[int, int] = {}
        self.gone: list[bytes] = []

    def add(self, at: int, minute: int, day: int) -> None:
        """Owe tokens, or be owed them below zero, for a request of this time."""
        for owed, slot, tokens in (
            (self.minute, at // MINUTE_SLOT, minute),
            (self.day, at // DAY_SLOT, day),
        ):
            if tokens:
                owed[slot] = owed.get(slot, 0) + tokens

    def arguments(self, now: int) -> tuple[int, bytes]:
        """Return the arguments of the script `owe`, and how many they are."""
        entries = [*self.minute.items(), *self.day.items()]
        numbers = [max(0, now - self.since), self.requests, len(self.minute), len(self.day)]
        numbers += [number for entry in entries for number in entry]
        told = packed(*(b"%d" % number for number in numbers))
        return len(numbers) + len(self.gone), told + b"".join(self.gone)


class Counts:
    """`requests` is the moment at which requests are whole again; `minute` and `day` are what was
    used, as Redis told it last: the sum, in the slot used last. `running` is how many requests hold
    slots here, `elsewhere` how many did in other processes at the moment `heard`, and `corrected`
    the number of the latest permit when tokens were last given back or charged on.

    While Redis is away all goes on from there, so that an outage brings no second burst; `debt` is
    what Redis will be told afterwards.
    """

    __slots__ = (
        "corrected",
        "day",
        "debt",
        "elsewhere",
        "heard",
        "minute",
        "names",
        "refused",
        "requests",
        "running",
    )

    def __init__(self, account: str, id_: str) -> None:
        own = "" if id_ == account else f"{id_}:"
        self.names = tuple(
            f"ezkielyna:{{{account}}}:{own}{what}".encode() for what in ("counts", "slots")
        )
        self.requests = self.running = self.corrected = self.elsewhere = self.heard = 0
        self.minute = Window()
        self.day = Window()
        self.refused: Refused | None = None
        self.debt: Debt | None = None

    def wait(self, now: int, quota: Quota, tokens: int, slots: int) -> tuple[int, int]:
        """Return the microseconds until such a request passes, 0 for now, and the limit's number.

        Of requests at once, so many `slots` are for this process. An empty window takes a request
        of any size: else the largest would wait for ever.
        """
        longest, which = 0, 0
        limits = quota.limits
        if quota.interval and self.ahead(now, quota) > quota.burst:
            longest = self.ahead(now, quota) - quota.burst
        windows = (
            (1, limits.tpm, self.minute, MINUTE_SLOT),
            (2, limits.tpd, self.day, DAY_SLOT),
        )
        for number, limit, window, width in windows:
            if not limit:
                continue
            window.expire(now // width)
            free = max(0, limit - tokens * quota.parts)
            wait = window.falls(free) * width - now if window.used > free else 0
            if wait > longest:
                longest, which = wait, number
        if quota.slots and self.running >= slots and longest < SLOT_RETRY:
            longest, which = SLOT_RETRY, 3
        return longest, which

    def slots(self, now: int, quota: Quota, fresh: int) -> int:
        """Return how many slots this process may take without Redis: its share, and no more than
        others left when Redis was heard last, as long as that is fresh.
        """
        left = quota.slots
        if now - self.heard < fresh:
            left = min(left, quota.limits.concurrency - self.elsewhere)
        return left

    def known(self, now: int, quota: Quota, tokens: int, fresh: int) -> tuple[int, int]:
        """Return what `wait` does, by what Redis is known to refuse."""
        longest, which = 0, 0
        if quota.interval and self.requests - now > quota.burst:
            longest = self.ahead(now, quota) - quota.burst
        refused = self.refused
        if refused is not None and tokens >= refused.tokens and now - refused.seen < fresh:
            wait = refused.until - now
            if wait > longest:
                longest, which = wait, refused.which
        if quota.slots and self.running >= quota.slots and longest < SLOT_RETRY:
            longest, which = SLOT_RETRY, 3
        return longest, which

    def take(self, now: int, quota: Quota, tokens: int) -> None:
        """Count a request without Redis."""
        debt = self.owing(now)
        if quota.interval:
            self.requests = now + self.ahead(now, quota) + quota.interval
            debt.requests += quota.interval // quota.parts
        limits = quota.limits
        if limits.tpm:
            self.minute.add(now // MINUTE_SLOT, tokens * quota.parts)
        if limits.tpd:
            self.day.add(now // DAY_SLOT, tokens * quota.parts)
        debt.add(now, tokens if limits.tpm else 0, tokens if limits.tpd else 0)

    def shift(self, now: int, quota: Quota, more: int, number: int) -> None:
        """Count more, or less, than was charged; `number` is that of the latest permit."""
        self.corrected = number
        self.refused = None
        if quota.tpm:
            self.minute.shift(now // MINUTE_SLOT, more * quota.parts)
        if quota.tpd:
            self.day.shift(now // DAY_SLOT, more * quota.parts)

    def owing(self, now: int) -> Debt:
        """Return the debt to add to."""
        if self.debt is None:
            self.debt = Debt(now)
        return self.debt

    def idle(self, now: int) -> bool:
        """True when forgetting this changes nothing."""
        self.minute.expire(now // MINUTE_SLOT)
        self.day.expire(now // DAY_SLOT)
        used = self.running or self.debt is not None or self.minute.used or self.day.used
        return not used and self.requests <= now

    def ahead(self, now: int, quota: Quota) -> int:
        """Return how far requests are ahead; never further than one request can bring it."""
        return max(0, min(self.requests - now, quota.burst + quota.interval))


def learn(
    counted: Sequence[tuple[Counts, Quota]], now: int, granted: int, told: Sequence[int]
) -> None:
    """Know what Redis said at `now` to a request: six numbers of each count.

    Of `running`, the last of them, are those here, and this one where it was granted.
    """
    numbers = zip(counted, *[iter(told)] * 6, strict=True)
    for (counts, quota), requests, minute, minute_slot, day, day_slot, running in numbers:
        counts.requests = requests
        counts.heard = now
        counts.elsewhere = running - counts.running - granted
        if quota.tpm:
            counts.minute.restart(minute_slot, minute)
        if quota.tpd:
            counts.day.restart(day_slot, day)


def standing_of(counted: Iterable[tuple[Counts, Quota]], now: int) -> Standing:
    """Return what is left: of each kind, by the limit that leaves less."""
    fewest = least = ANY
    requests = tokens = None
    requests_s = tokens_s = 0.0
    slot = now // MINUTE_SLOT
    for counts, quota in counted:
        interval = quota.interval
        if interval:
            ahead = counts.requests - now
            if ahead < 0:
                ahead = 0
            elif ahead > quota.burst + interval:
                ahead = quota.burst + interval
            left = (quota.burst - ahead) // interval + 1
            if left < fewest:
                fewest, requests, requests_s = left, quota.limits.rpm, ahead / SECOND
        if quota.tpm:
            minute = counts.minute
            minute.expire(slot)
            left = (quota.tpm - minute.used) // quota.parts
            if left < least:
                least, tokens = left, quota.tpm
                tokens_s = (minute.whole() * MINUTE_SLOT - now) / SECOND if minute.used else 0.0
    # As `Standing(…)`, in half the time.
    return tuple.__new__(
        Standing,
        (
            requests,
            None if requests is None else max(0, fewest),
            requests_s,
            tokens,
            None if tokens is None else max(0, least),
            tokens_s,
        ),
    )
