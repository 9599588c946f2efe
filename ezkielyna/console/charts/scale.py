"""Scales: from whole numbers to heights, with ticks that people count in. Pure, no floats kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log10

STEPS = (1, 2, 5)
MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """A way from numbers to shares of a height; `ticks` are whole numbers, `top` the last one."""

    ticks: tuple[int, ...]
    share: Callable[[int], float]

    @property
    def top(self) -> int:
        """The number at full height."""
        return self.ticks[-1]


def linear(most: int) -> Scale:
    """Return a scale from 0 to a round number that is at least `most`."""
    step = _step(max(1, most))
    top = -(-max(1, most) // step) * step
    return Scale(tuple(range(0, top + 1, step)), lambda number: number / top)


def logarithmic(least: int, most: int) -> Scale:
    """Return a scale by powers of ten from at most `least` to at least `most`; 0 is at the bottom.

    `least` is the smallest number above 0 that must be told from 0.
    """
    low = len(str(max(1, least))) - 1
    high = max(low + 1, len(str(max(1, most) - 1)))
    decades = high - low
    stride = -(-decades // MOST_TICKS)
    powers = list(range(low, high + 1, stride))
    if powers[-1] < high:
        powers.append(powers[-1] + stride)
    top = powers[-1]

    def share(number: int) -> float:
        return 0.0 if number <= 0 else max(0.0, (log10(number) - low) / (top - low))

    return Scale(tuple(10**power for power in powers), share)


def _step(most: int) -> int:
    """Return the smallest round step that needs no more than `MOST_TICKS` steps; at least 1."""
    unit = 1
    while True:
        for step in STEPS:
            if most <= step * unit * MOST_TICKS:
                return step * unit
        unit *= 10
