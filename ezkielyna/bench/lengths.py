"""How long prompts and answers are: a number, or a distribution that a seed makes repeatable."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

_NUMBER = r"(\d+(?:\.\d+)?)"
_EXACT = re.compile(r"\d+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_NAMED = re.compile(rf"(normal|lognormal|exponential):{_NUMBER}(?:,{_NUMBER})?")
LONGEST = 1_000_000
HELP = "write 64, 50-200, normal:MEAN,DEVIATION, lognormal:MEDIAN,SIGMA or exponential:MEAN"

Length = Callable[[Random], int]
"""Draws one length, at least 1 and at most LONGEST."""


def length(text: str) -> Length:
    """Return what draws the lengths that a text describes; raises ValueError saying what to write.

    `64` is always 64, `50-200` any whole number of these with equal chance; `normal`, `lognormal`
    and `exponential` are rounded, and what falls below 1 is 1.
    """
    if _EXACT.fullmatch(text) and 1 <= int(text) <= LONGEST:
        return lambda random: int(text)
    if found := _RANGE.fullmatch(text):
        least, most = int(found[1]), int(found[2])
        if 1 <= least <= most <= LONGEST:
            return lambda random: random.randint(least, most)
    if found := _NAMED.fullmatch(text):
        draw = _named(found[1], float(found[2]), float(found[3]) if found[3] else None)
        if draw is not None:
            return lambda random: max(1, min(LONGEST, round(draw(random))))
    raise ValueError(f"{text!r} is no length: {HELP}")


def _named(name: str, first: float, second: float | None) -> Callable[[Random], float] | None:
    """Return a distribution; None where a parameter is missing, too many, or impossible."""
    if (second is None) != (name == "exponential") or first < 1:
        return None
    if second is None:
        return lambda random: random.expovariate(1 / first)
    if name == "normal":
        return lambda random: random.normalvariate(first, second)
    return lambda random: first * random.lognormvariate(0, second)
