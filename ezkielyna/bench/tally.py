"""What one process has seen. Times are seconds on the monotonic clock, which processes share."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

_FINENESS = 200
"""Steps of a histogram to a factor of e: half a per cent each."""


class Record(NamedTuple):
    """One request. Times are seconds after the window opened; a time that never came is None."""

    start: float
    """When it was due: the wait for a generator that is late is the request's, too."""
    sent: float
    first_byte: float | None
    first_token: float | None
    end: float
    status: int
    input_tokens: int
    output_tokens: int
    chunks: int
    longest_gap: float
    last_token: float | None
    error: str


class Histogram:
    """Counts times in steps of half a per cent; sum and maximum are exact. Seconds."""

    __slots__ = ("counts", "longest", "total")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.total = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one time."""
        self.counts[round(math.log(max(seconds, 1e-7)) * _FINENESS)] += 1
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds

    def merge(self, document: dict[str, Any]) -> None:
        """Add what another histogram's `document` holds."""
        self.counts.update({int(step): count for step, count in document["counts"].items()})
        self.total += document["total"]
        self.longest = max(self.longest, document["longest"])

    def document(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        counts = {str(step): count for step, count in self.counts.items()}
        return {"counts": counts, "total": self.total, "longest": self.longest}

    @property
    def count(self) -> int:
        """How many times were counted."""
        return self.counts.total()

    def quantile(self, share: float) -> float:
        """Return the time that this share of all does not exceed, within half a per cent."""
        left = share * (self.count - 1)
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left < 0:
                return min(math.exp(step / _FINENESS), self.longest)
        return self.longest


class Tally:
    """Counts what happens inside of a window; `opens` and `closes` on the monotonic clock."""

    def __init__(self, opens: float, closes: float) -> None:
        self.opens = opens
        self.closes = closes
        self.records: list[Record] = []
        self.gaps = Histogram()
        self.chunks = 0
        self.seconds: Counter[int] = Counter()  # chunks, by whole second of the window
        self.answered = self.failed = self.tokens = 0  # ended in the window, whenever begun
        self.ended = self.errors = 0  # ever, for the progress

    def chunk(self, now: float, count: int, gap: float | None) -> None:
        """Count the chunks of one read, and the pause before it; None before the first."""
        if self.opens <= now < self.closes:
            self.chunks += count
            self.seconds[int(now - self.opens)] += count
            if gap is not None:
                self.gaps.add(gap)

    def request(self, record: Record) -> None:
        """Count a request that has ended, well or not."""
        self.ended += 1
        self.errors += bool(record.error)
        length = self.closes - self.opens
        if 0 <= record.start < length:
            self.records.append(record)
        if 0 <= record.end < length:
            self.answered += not record.error
            self.failed += bool(record.error)
            self.tokens += record.output_tokens

    def document(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "records": [list(record) for record in self.records],
            "gaps": self.gaps.document(),
            "chunks": self.chunks,
            "seconds": {str(second): count for second, count in self.seconds.items()},
            "answered": self.answered,
            "failed": self.failed,
            "tokens": self.tokens,
        }
