"""Plots as SVG text, small enough to write by hand. Pure; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 64
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a6d00", "#555555")
"""Okabe and Ito's colours, which people who see red and green alike can tell apart."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points in order of x, joined by a line, or drawn as bars down to zero."""

    name: str
    points: Sequence[tuple[float, float]]
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its label, and the ends of its scale."""

    label: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, label: str, values: Sequence[float], *, log: bool = False) -> Axis:
        """Return an axis that shows all values; zero, too, unless it is logarithmic."""
        if log:
            positive = [value for value in values if value > 0] or [1.0]
            low = 10.0 ** math.floor(math.log10(min(positive)))
            high = 10.0 ** math.ceil(math.log10(max(positive)))
            return cls(label, low, high if high > low else low * 10, log=True)
        return cls(label, 0.0, max([*values, 0.0]) * 1.05 or 1.0)

    def at(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one."""
        if self.log:
            value = max(value, self.low)
            return math.log10(value / self.low) / math.log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round values to mark: about five, or the powers of ten."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        return [step * number for number in range(int(self.high / step) + 1)]


def plot(title: str, x: str, y: str, series: Sequence[Series], *, log_x: bool = False) -> str:
    """Return an SVG figure; without any points, a sentence that says so."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return f"<p>{escape(title)}: nothing was measured for this plot.</p>"
    across = Axis.over(x, [point[0] for one in drawn for point in one.points], log=log_x)
    up = Axis.over(y, [point[1] for one in drawn for point in one.points])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
        *_grid(across, up),
        *(_drawing(one, across, up, _colour(number)) for number, one in enumerate(drawn)),
        "</svg>",
    ]
    keys = "".join(
        f'<li><span style="background:{_colour(number)}"></span>{escape(one.name)}</li>'
        for number, one in enumerate(drawn)
    )
    caption = f"<figcaption>{escape(title)}</figcaption>"
    return f"<figure>{caption}{''.join(parts)}<ul>{keys}</ul></figure>"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _place(across: Axis, up: Axis, x: float, y: float) -> tuple[float, float]:
    left = _LEFT + across.at(x) * (WIDTH - _LEFT - _RIGHT)
    top = HEIGHT - _BOTTOM - up.at(y) * (HEIGHT - _TOP - _BOTTOM)
    return round(left, 1), round(top, 1)


def _drawing(series: Series, across: Axis, up: Axis, colour: str) -> str:
    places = [_place(across, up, x, y) for x, y in series.points]
    if series.bars:
        floor = HEIGHT - _BOTTOM
        lines = "".join(f"M{x} {floor}V{y}" for x, y in places)
        return f'<path d="{lines}" stroke="{colour}" stroke-width="4"/>'
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    few = len(places) <= 20
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
    return f'<path d="{path}" stroke="{colour}" fill="none" stroke-width="2"/>{dots if few else ""}'


def _grid(across: Axis, up: Axis) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for value in up.ticks():
        _, top = _place(across, up, across.low, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {top}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 4}" text-anchor="end">{value:,g}</text>')
    for value in across.ticks():
        left, _ = _place(across, up, value, up.low)
        parts.append(f'<path class="grid" d="M{left} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{left}" y="{bottom + 18}" text-anchor="middle">{value:,g}</text>')
    middle = (bottom + _TOP) / 2
    parts.append(
        f'<text x="{(right + _LEFT) / 2}" y="{bottom + 42}" text-anchor="middle">'
        f"{escape(across.label)}</text>"
    )
    parts.append(
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(up.label)}</text>"
    )
    return parts
