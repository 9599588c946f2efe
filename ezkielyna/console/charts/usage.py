"""What a series of usage looks like as a chart: its words, and its one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate

from ezkielyna.console.charts.chart import Chart, Plot
from ezkielyna.console.formats import count, money
from ezkielyna.contract.money import usd
from ezkielyna.ledger.periods import Bucket, Period, Unit
from ezkielyna.ledger.series import MEASURES, MOST_LINES, OTHER, Line, Metric, Series, top
from ezkielyna.storage.usage import Dimension

NONE = "\N{EN DASH}"
"""What stands where nothing was measured."""

METRIC_NAMES: dict[Metric, str] = {
    "cost": "Cost",
    "tokens": "Tokens",
    "requests": "Requests",
    "errors": "Errors",
    "latency": "Time to first byte",
}
SELLERS_NAMES: dict[Metric, str] = {**METRIC_NAMES, "cost": "Revenue"}
"""The metrics as who sells calls them."""

GROUP_NAMES: dict[Dimension, str] = {
    "model": "Model",
    "key": "Key",
    "endpoint": "Endpoint",
    "outcome": "Status",
}
OUTCOME_NAMES = {
    "ok": "ok",
    "client_gone": "client left",
    "upstream_failed": "provider failed",
    "upstream_timeout": "provider too slow",
    "money_ended": "balance ended",
    "refused": "refused by provider",
    "failed": "failed",
    "crashed": "interrupted",
}


@dataclass(frozen=True, slots=True)
class View:
    """A series as somebody wants to see it. `names` say what values of the dimension are called.

    With `seller` the cost is revenue: what was billed to all accounts, not spent by one.
    """

    series: Series
    by: Dimension
    metric: Metric
    now: datetime
    log: bool = False
    cumulative: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    sample: bool = False
    seller: bool = False

    @property
    def lines(self) -> list[Line]:
        """The lines that are drawn: the largest, and all others as one."""
        return top(self.series, self.metric)

    @property
    def stacked(self) -> bool:
        """False for means: they do not add up."""
        return self.metric != "latency"

    def name(self, line: Line) -> str:
        """Return what a line is called."""
        if line.value == OTHER:
            return f"other ({len(self.series.lines) - len(self.lines) + 1})"
        return self.names.get(line.value) or line.value

    def values(self, line: Line) -> list[int | None]:
        """Return a line's number in every bar; running sums where those are wanted."""
        measure = MEASURES[self.metric]
        values = [measure(sums) for sums in line.buckets]
        if not self.cumulative or not self.stacked:
            return values
        return list(accumulate(value or 0 for value in values))

    def written(self, number: int | None) -> str:
        """Return a number of the metric in full."""
        return NONE if number is None else WRITTEN[self.metric](number)


def chart(view: View, identity: str = "usage-chart") -> Chart:
    """Return the chart of a view."""
    buckets = view.series.buckets
    plots = [
        Plot(
            name=view.name(line),
            colour="other" if position >= MOST_LINES else str(position + 1),
            values=view.values(line),
            total=MEASURES[view.metric](line.total),
        )
        for position, line in enumerate(view.lines)
    ]
    running = [n for n, bucket in enumerate(buckets) if bucket.start <= view.now < bucket.end]
    return Chart(
        identity=identity,
        title=title(view),
        summary=summary(view),
        labels=[label(bucket, view.series.period.unit) for bucket in buckets],
        names=[long_label(bucket, view.series.period.unit) for bucket in buckets],
        plots=plots,
        written=WRITTEN[view.metric],
        short=SHORT[view.metric],
        running=running[0] if running else None,
        stacked=view.stacked,
        log=view.log,
        sample=view.sample,
    )


def title(view: View) -> str:
    """Return the heading: what is shown, by what."""
    how = {"hour": "by hour", "day": "by day", "week": "by week"}[view.series.period.unit]
    name = (SELLERS_NAMES if view.seller else METRIC_NAMES)[view.metric]
    name = f"{name} so far" if view.cumulative and view.stacked else name
    return f"{name} {how} and {GROUP_NAMES[view.by].lower()}"


def summary(view: View) -> str:
    """Return the one sentence that says what the chart shows."""
    whole = MEASURES[view.metric](view.series.whole.total)
    said = f"{span(view.series.period)} (UTC): "
    if view.metric == "latency":
        said += f"{view.written(whole)} on average" if whole is not None else "nothing measured"
        extreme = _slowest(view)
    else:
        noun = "billed" if view.seller and view.metric == "cost" else NOUNS[view.metric]
        said += f"{view.written(whole or 0)} {noun}"
        extreme = _largest(view, whole or 0)
    scale = " The scale is logarithmic: each step up is ten times as much." if view.log else ""
    return f"{said}{extreme}.{scale}"


def _largest(view: View, whole: int) -> str:
    lines = [line for line in view.lines if line.value != OTHER]
    if not lines or not whole:
        return ""
    most = MEASURES[view.metric](lines[0].total) or 0
    share = round(100 * most / whole)
    return f", {share} % of it {PREPOSITIONS[view.by]} {view.name(lines[0])}"


def _slowest(view: View) -> str:
    measure = MEASURES[view.metric]
    known = [(found, view.name(line)) for line in view.lines if (found := measure(line.total))]
    if len(known) < 2:
        return ""
    slowest, name = max(known)
    return f", longest {PREPOSITIONS[view.by]} {name} with {view.written(slowest)}"


def label(bucket: Bucket, unit: Unit) -> str:
    """Return what stands under a bar."""
    if unit == "hour" and bucket.start.hour:
        return f"{bucket.start:%H:%M}"
    return f"{bucket.start:%-d %b}"


def long_label(bucket: Bucket, unit: Unit) -> str:
    """Return what a bar is, in full; in UTC."""
    start, last = bucket.start, bucket.end - timedelta(seconds=1)
    if unit == "hour":
        return f"{start:%-d %b %Y, %H:%M}"
    if unit == "day":
        whole = bucket.end - start == timedelta(days=1)
        return f"{start:%a %-d %b %Y}" + ("" if whole else f", {start:%H:%M} to {bucket.end:%H:%M}")
    return f"{start:%-d %b} to {last:%-d %b %Y}"


def span(period: Period) -> str:
    """Return a period in words."""
    last = period.until - timedelta(seconds=1)
    if period.until - period.since <= timedelta(days=1) and period.since.date() == last.date():
        return f"{period.since:%-d %b %Y}"
    if period.unit == "hour":
        return f"{period.since:%-d %b, %H:%M} to {period.until:%-d %b %Y, %H:%M}"
    return f"{period.since:%-d %b %Y} to {last:%-d %b %Y}"


def milliseconds(number: int) -> str:
    """Return a time as people read it."""
    return f"{number:,} ms" if number < 10_000 else f"{number / 1000:,.1f} s"


def short_money(amount: int) -> str:
    """Return an amount as it stands on an axis, exactly."""
    return f"${compact(amount // 10**9)}" if amount >= 10_000 * 10**9 else f"${usd(amount, 2)}"


def compact(number: int) -> str:
    """Return a round number in few letters, exactly: 2,500, 20k, 1.5M."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= max(size, 10_000) and number * 10 % size == 0:
            return f"{number / size:g}{letter}"
    return f"{number:,}"


WRITTEN: dict[Metric, Callable[[int], str]] = {
    "cost": money,
    "tokens": count,
    "requests": count,
    "errors": count,
    "latency": milliseconds,
}
SHORT: dict[Metric, Callable[[int], str]] = {
    "cost": short_money,
    "tokens": compact,
    "requests": compact,
    "errors": compact,
    "latency": milliseconds,
}
NOUNS: dict[Metric, str] = {
    "cost": "spent",
    "tokens": "tokens",
    "requests": "requests",
    "errors": "errors",
}
PREPOSITIONS: dict[Dimension, str] = {
    "model": "with",
    "key": "with the key",
    "endpoint": "at",
    "outcome": "ended:",
}
