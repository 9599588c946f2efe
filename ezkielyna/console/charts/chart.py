"""A chart: a figure with a heading, one sentence, the drawing, a legend, and a table.

Bars are stacked where the numbers add up. Where they do not (means), and on a logarithmic scale,
every line is drawn by itself. Widths are per cent and heights are pixels, so a chart is as wide as
its place and its letters keep their size. Colours come from the stylesheet, by class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tornado.escape import xhtml_escape as escape

from ezkielyna.console.charts.scale import Scale, linear, logarithmic

HEIGHT = 260
TOP = 14
BOTTOM = 30
PLOT = HEIGHT - TOP - BOTTOM
AXIS = 60
BAR = 0.74
"""The share of its place that a bar takes."""

MOST_LABELS = 8
FEW_LABELS = 4


@dataclass(frozen=True, slots=True)
class Plot:
    """One line or one colour of the stacks; `colour` is 1 to 8, or `other`."""

    name: str
    colour: str
    values: Sequence[int | None]
    total: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. `labels` stand under the bars, `names` say in full what a bar is.

    `running` is the position of the bar that is still in progress, None without one. `written`
    says a number in full, `short` on the axis.
    """

    identity: str
    title: str
    summary: str
    labels: Sequence[str]
    names: Sequence[str]
    plots: Sequence[Plot]
    written: Callable[[int], str]
    short: Callable[[int], str]
    running: int | None = None
    stacked: bool = True
    log: bool = False
    sample: bool = False


def figure(chart: Chart, *, level: int = 2, table: str = "") -> str:
    """Return the figure; `table` is markup with the same numbers."""
    heading = f"{chart.identity}-title"
    sample = '<span class="badge note">Sample</span>' if chart.sample else ""
    kind = " sample" if chart.sample else ""
    return (
        f'<figure class="chart{kind}" id="{chart.identity}" aria-labelledby="{heading}">'
        f'<figcaption><h{level} id="{heading}">{escape(chart.title)} {sample}</h{level}>'
        f"<p>{escape(chart.summary)}</p></figcaption>"
        f'<div class="plot">{drawing(chart)}</div>{legend(chart)}{table}</figure>'
    )


def drawing(chart: Chart) -> str:
    """Return the two drawings: the axis with its ticks, and the plot beside it."""
    scale = _scale(chart)
    single = not chart.stacked or chart.log
    marks = _lines(chart, scale) if single else _stacks(chart, scale)
    ticks = [(round(_y(scale, tick), 1), chart.short(tick)) for tick in scale.ticks]
    axis = "".join(
        f'<text x="{AXIS - 8}" y="{y + 4}" text-anchor="end">{escape(text)}</text>'
        for y, text in ticks
    )
    grid = "".join(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>' for y, _ in ticks)
    return (
        f'<svg class="axis" width="{AXIS}" height="{HEIGHT}" aria-hidden="true">{axis}</svg>'
        f'<svg class="field" width="100%" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title)}. {escape(chart.summary)}">{_hatch(chart)}{grid}{marks}'
        f"{_labels(chart)}{_hovers(chart)}</svg>"
    )


def legend(chart: Chart) -> str:
    """Return the names of the colours, and of the hatching where there is some."""
    entries = [
        f"<li>{_swatch(f'series-{plot.colour}')}{escape(plot.name)}</li>" for plot in chart.plots
    ]
    if chart.running is not None:
        entries.append(f"<li>{_swatch('', chart)}in progress</li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _swatch(kind: str, hatched: Chart | None = None) -> str:
    fill = f' fill="url(#{hatched.identity}-hatch)"' if hatched else ""
    return (
        '<svg class="swatch" width="12" height="12" aria-hidden="true">'
        f'<rect class="{kind or "empty"}" width="12" height="12" rx="3"/>'
        + (f'<rect width="12" height="12" rx="3"{fill}/>' if hatched else "")
        + "</svg>"
    )


def _scale(chart: Chart) -> Scale:
    values = [value for plot in chart.plots for value in plot.values if value is not None]
    if chart.log:
        return logarithmic(min((v for v in values if v > 0), default=1), max(values, default=1))
    if chart.stacked:
        return linear(max(_heights(chart), default=1))
    return linear(max(values, default=1))


def _heights(chart: Chart) -> list[int]:
    columns = range(len(chart.labels))
    return [sum(plot.values[column] or 0 for plot in chart.plots) for column in columns]


def _y(scale: Scale, number: int) -> float:
    return TOP + PLOT * (1 - scale.share(number))


def _stacks(chart: Chart, scale: Scale) -> str:
    marks: list[str] = []
    for column in range(len(chart.labels)):
        below = 0
        x, width = _place(chart, column)
        for plot in chart.plots:
            value = plot.values[column] or 0
            if value <= 0:
                continue
            low, high = _y(scale, below), _y(scale, below + value)
            below += value
            marks.append(
                f'<rect class="series-{plot.colour}" x="{x}%" width="{width}%" '
                f'y="{high:.1f}" height="{max(low - high, 0.5):.1f}"/>'
            )
        if column == chart.running and below:
            top = _y(scale, below)
            marks.append(
                f'<rect class="hatched" x="{x}%" width="{width}%" y="{top:.1f}" '
                f'height="{_y(scale, 0) - top:.1f}" fill="url(#{chart.identity}-hatch)"/>'
            )
    return "".join(marks)


def _lines(chart: Chart, scale: Scale) -> str:
    marks: list[str] = []
    if chart.running is not None:
        x, width = _place(chart, chart.running)
        marks.append(
            f'<rect class="band" x="{x}%" width="{width}%" y="{TOP}" height="{PLOT}" '
            f'fill="url(#{chart.identity}-hatch)"/>'
        )
    for plot in chart.plots:
        points = [
            (column, _y(scale, value))
            for column, value in enumerate(plot.values)
            if value is not None and (value > 0 or not chart.log)
        ]
        for (before, y1), (after, y2) in pairwise(points):
            if after == before + 1:
                marks.append(
                    f'<line class="line-{plot.colour}" x1="{_middle(chart, before)}%" '
                    f'y1="{y1:.1f}" x2="{_middle(chart, after)}%" y2="{y2:.1f}"/>'
                )
        marks += [
            f'<circle class="series-{plot.colour}" cx="{_middle(chart, column)}%" '
            f'cy="{y:.1f}" r="3"/>'
            for column, y in points
        ]
    return "".join(marks)


def _hatch(chart: Chart) -> str:
    if chart.running is None:
        return ""
    return (
        f'<defs><pattern id="{chart.identity}-hatch" width="6" height="6" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch" width="2.5" height="6"/></pattern></defs>'
    )


def _labels(chart: Chart) -> str:
    """Return what stands under the bars: as many as have room, fewer where it is narrow."""
    count = len(chart.labels)
    often = -(-count // MOST_LABELS)
    seldom = -(-count // FEW_LABELS)
    seldom = -(-seldom // often) * often
    return "".join(
        f'<text class="{"label" if column % seldom == 0 else "label roomy"}" '
        f'x="{_middle(chart, column)}%" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(chart.labels[column])}</text>"
        for column in range(0, count, often)
    )


def _hovers(chart: Chart) -> str:
    """Return what tells the numbers of a bar to who points at it."""
    found: list[str] = []
    heights = _heights(chart)
    for column, name in enumerate(chart.names):
        lines = [name + (", in progress" if column == chart.running else "")]
        if chart.stacked and len(chart.plots) > 1:
            lines[0] += f": {chart.written(heights[column])}"
        lines += [
            f"{plot.name}: {chart.written(value)}"
            for plot in chart.plots
            if (value := plot.values[column])
        ]
        x = round(column * 100 / len(chart.names), 3)
        width = round(100 / len(chart.names), 3)
        title = escape("\n".join(lines))
        found.append(
            f'<rect class="hover" x="{x}%" width="{width}%" y="{TOP}" height="{PLOT}">'
            f"<title>{title}</title></rect>"
        )
    return "".join(found)


def _place(chart: Chart, column: int) -> tuple[float, float]:
    share = 100 / len(chart.labels)
    return round((column + (1 - BAR) / 2) * share, 3), round(BAR * share, 3)


def _middle(chart: Chart, column: int) -> float:
    return round((column + 0.5) * 100 / len(chart.labels), 3)
