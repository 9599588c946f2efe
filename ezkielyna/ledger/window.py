"""The last quarter of an hour of one account: sums by second, and the newest requests. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.settlement import NO_ERRORS

QUARTER_S = 15 * 60
MINUTE_S = 60
NEWEST = 50
REMEMBERED = 2 * 5000
"""Ids that are known, so that a request that comes twice counts once."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that has ended; times in Unix seconds, None for what did not happen."""

    id: str
    ended_at: float
    model: str
    key: str
    outcome: str
    status: int
    tokens: int
    cost: Nano
    first_byte_ms: int | None
    duration_ms: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Finished:
        """Return what a usage document tells."""
        started, first, ended = (
            document[name] for name in ("started_at", "first_byte_at", "ended_at")
        )
        tokens = document["tokens"]
        return cls(
            id=document["_id"],
            ended_at=ended.timestamp(),
            model=document["model"],
            key=document["key"],
            outcome=document["outcome"],
            status=int(document["status"]),
            tokens=sum(int(tokens.get(b, 0)) for b in BUCKETS if b != "images"),
            cost=int(document["cost"]),
            first_byte_ms=None if first is None else round((first - started).total_seconds() * 1e3),
            duration_ms=round((ended - started).total_seconds() * 1e3),
        )

    @property
    def error(self) -> bool:
        """True when it ended by a fault of the gateway or of an upstream."""
        return self.outcome not in NO_ERRORS


@dataclass(slots=True)
class Rates:
    """What ended in a span of time."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0
    cost: Nano = 0
    first_bytes: int = 0
    first_byte_ms: int = 0

    def add(self, other: Rates) -> None:
        """Add what ended in another span."""
        self.requests += other.requests
        self.errors += other.errors
        self.tokens += other.tokens
        self.cost += other.cost
        self.first_bytes += other.first_bytes
        self.first_byte_ms += other.first_byte_ms

    @property
    def mean_first_byte_ms(self) -> int | None:
        """The mean time to the first byte; None where there was none."""
        return round(self.first_byte_ms / self.first_bytes) if self.first_bytes else None


class Window:
    """What ended in the last quarter of an hour; every request counts once, in its second."""

    def __init__(self) -> None:
        self.newest: deque[Finished] = deque(maxlen=NEWEST)
        self.total = 0
        """How many requests were ever added; tells who looks again what is new."""
        self._seconds: dict[int, Rates] = {}
        self._known: dict[str, None] = {}

    def add(self, request: Finished) -> bool:
        """Add a request; False for one that was added before."""
        if request.id in self._known:
            return False
        self._known[request.id] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        self.newest.append(request)
        self.total += 1
        second = self._seconds.setdefault(int(request.ended_at), Rates())
        timed = request.first_byte_ms is not None
        second.add(
            Rates(
                1,
                int(request.error),
                request.tokens,
                request.cost,
                int(timed),
                request.first_byte_ms or 0,
            )
        )
        return True

    def last(self, seconds: int, now: float) -> Rates:
        """Return what ended in so many seconds before now."""
        found = Rates()
        for second, rates in self._seconds.items():
            if now - seconds < second + 1 and second <= now:
                found.add(rates)
        return found

    def forget(self, now: float) -> None:
        """Drop what is older than the longest span."""
        for second in [second for second in self._seconds if second < now - QUARTER_S - 1]:
            del self._seconds[second]
