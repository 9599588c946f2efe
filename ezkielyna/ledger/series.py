"""Series: usage over a period, a line for each value of a dimension, zeros filled in. Pure.

The totals are the sums of the lines, which are the sums of what the roll-ups hold: every number of
a page, its chart, its table and its total, comes out of one of these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.periods import Bucket, Period
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import Sums

Metric = Literal["cost", "tokens", "requests", "errors", "latency"]
METRICS: tuple[Metric, ...] = get_args(Metric)

OTHER = "\0other"
"""The value of the line that stands for all that are not shown one by one."""

MOST_LINES = 8


@dataclass(slots=True)
class Line:
    """One value of the dimension: its sums in every bucket, and in all."""

    value: str
    buckets: list[Sums]
    total: Sums = field(default_factory=Sums)

    def add(self, other: Line) -> None:
        """Add another line's buckets and total."""
        for mine, sums in zip(self.buckets, other.buckets, strict=True):
            mine.add(sums)
        self.total.add(other.total)


@dataclass(slots=True)
class Series:
    """Usage over a period; `whole` is the line over all values."""

    period: Period
    buckets: list[Bucket]
    lines: list[Line]
    whole: Line


def series(period: Period, cells: Iterable[Cell]) -> Series:
    """Return the series of cells within a period, the costliest line first."""
    buckets = period.buckets()
    starts = [bucket.start for bucket in buckets]
    lines: dict[str, Line] = {}
    for cell in cells:
        position = bisect_right(starts, cell.start) - 1
        assert position >= 0, cell
        line = lines.get(cell.value)
        if line is None:
            line = lines[cell.value] = _empty(cell.value, len(buckets))
        line.buckets[position].add(cell.sums)
        line.total.add(cell.sums)
    whole = _empty("", len(buckets))
    for line in lines.values():
        whole.add(line)
    ordered = sorted(lines.values(), key=_weight)
    return Series(period, buckets, ordered, whole)


def top(series: Series, metric: Metric, most: int = MOST_LINES) -> list[Line]:
    """Return the largest lines by a metric; those beyond `most` come together as OTHER, last."""
    measure = MEASURES[metric]
    ordered = sorted(series.lines, key=lambda line: (-(measure(line.total) or 0), line.value))
    if len(ordered) <= most + 1:
        return ordered
    other = _empty(OTHER, len(series.buckets))
    for line in ordered[most:]:
        other.add(line)
    return [*ordered[:most], other]


def tokens(sums: Sums) -> int:
    """Return all tokens, in and out; images are no tokens."""
    return sum(sums.tokens.get(bucket, 0) for bucket in TOKEN_BUCKETS)


def latency(sums: Sums) -> int | None:
    """Return the mean time to the first byte in ms; None where no request had one."""
    return round(sums.first_byte_ms / sums.first_bytes) if sums.first_bytes else None


def output_speed(sums: Sums) -> float | None:
    """Return output tokens a second of the requests' whole time; None where there are none."""
    out = sum(sums.tokens.get(bucket, 0) for bucket in ("output", "reasoning", "audio_out"))
    return out * 1000 / sums.duration_ms if out and sums.duration_ms else None


TOKEN_BUCKETS = tuple(bucket for bucket in BUCKETS if bucket != "images")

MEASURES: dict[Metric, Callable[[Sums], int | None]] = {
    "cost": lambda sums: sums.cost,
    "tokens": tokens,
    "requests": lambda sums: sums.requests,
    "errors": lambda sums: sums.errors,
    "latency": latency,
}
"""What each metric is of some sums: whole nano-dollars, counts, or ms; None: nothing to measure."""


def _empty(value: str, buckets: int) -> Line:
    return Line(value, [Sums() for _ in range(buckets)])


def _weight(line: Line) -> tuple[int, int, str]:
    return -line.total.cost, -line.total.requests, line.value
