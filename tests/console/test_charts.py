"""Charts and scales: whole numbers in, honest heights out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.console.application import HERE
from ezkielyna.console.charts.chart import PLOT, TOP, Chart, Plot, figure
from ezkielyna.console.charts.sample import sample
from ezkielyna.console.charts.scale import MOST_TICKS, linear, logarithmic
from ezkielyna.console.charts.table import table
from ezkielyna.console.charts.usage import View, chart, compact, short_money, summary
from ezkielyna.ledger.periods import DAY, Period, Unit
from ezkielyna.ledger.series import METRICS, Metric, series
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import Sums

MIDNIGHT = datetime(2026, 11, 16, tzinfo=UTC)
NOW = MIDNIGHT + timedelta(days=6, hours=13)
VOID = ("rect", "line", "circle")


class Strict(HTMLParser):
    """Parses markup that must be well-formed; keeps elements and visible text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(markup)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert "style" not in found, "the policy forbids inline styles"
        assert not [name for name in found if name.startswith("on")]
        self.elements.append((tag, found))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        return [
            found for name, found in self.elements if name == tag and kind in found.get("class", "")
        ]


def two(values: list[list[int | None]], **more: object) -> Chart:
    plots = [Plot(f"plot {n}", str(n + 1), column, None) for n, column in enumerate(values)]
    names = [f"bar {n}" for n in range(len(values[0]))]
    return Chart("c", "Title", "Summary", names, names, plots, str, str, **more)  # type: ignore[arg-type]


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=3, max_size=3), min_size=1, max_size=4))
def test_stacks_are_as_high_as_their_numbers(values: list[list[int]]) -> None:
    seen = Strict(figure(two([list(column) for column in values])))
    scale = linear(max(sum(column[n] for column in values) for n in range(3)))
    heights = [float(bar["height"]) for bar in seen.all("rect", "series-") if "y" in bar]
    expected = [value for n in range(3) for value in (column[n] for column in values) if value]
    assert len(heights) == len(expected)
    for height, value in zip(heights, expected, strict=True):
        assert height == pytest.approx(max(PLOT * value / scale.top, 0.5), abs=0.11)
    for bar in seen.all("rect", "series-"):
        assert float(bar.get("y", TOP)) >= TOP - 0.6


@given(st.integers(0, 10**18))
def test_ticks_are_whole_and_few(most: int) -> None:
    scale = linear(most)
    assert scale.ticks[0] == 0
    assert scale.top >= most
    assert scale.top <= max(5, 2.5 * most)
    assert 2 <= len(scale.ticks) <= MOST_TICKS + 1
    assert all(isinstance(tick, int) for tick in scale.ticks)
    assert len({b - a for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)}) == 1


@given(st.integers(1, 10**15), st.integers(0, 10**6))
def test_powers_of_ten_hold_all(least: int, factor: int) -> None:
    most = least * (factor + 1)
    scale = logarithmic(least, most)
    assert scale.ticks[0] <= least
    assert scale.top >= most
    assert len(scale.ticks) <= MOST_TICKS + 2
    assert 0 <= scale.share(least) <= scale.share(most) <= 1.000001
    assert scale.share(0) == 0


def test_what_is_not_measured_is_a_gap() -> None:
    seen = Strict(figure(two([[5, None, 7, 8]], stacked=False)))
    assert len(seen.all("circle", "series-")) == 3
    assert len(seen.all("line", "line-")) == 1, "no line across the gap"


def test_names_cannot_be_markup() -> None:
    evil = '"><script>alert(1)</script>'
    plot = Plot(evil, "1", [1], 1)
    markup = figure(Chart("c", evil, evil, [evil], [evil], [plot], str, lambda _: evil))
    assert "<script" not in markup
    Strict(markup)


def view(metric: Metric, unit: Unit = "day", **more: object) -> View:
    period = Period(MIDNIGHT, MIDNIGHT + 7 * DAY, unit)
    cells = [
        Cell(
            MIDNIGHT + n * DAY,
            f"model-{m}",
            Sums(requests=1, cost=m * 10**7 + n, first_bytes=1, first_byte_ms=9),
        )
        for n in range(7)
        for m in range(12)
        if (n + m) % 3
    ]
    return View(series(period, cells), "model", metric, NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("log", [False, True])
def test_a_chart_says_what_it_shows(metric: Metric, log: bool) -> None:
    shown = view(metric, log=log)
    seen = Strict(figure(chart(shown), table=table(shown)))
    assert seen.elements[0][0] == "figure"
    assert len(seen.all("th")) == 1 + 1 + 9 + 7 + 1, "corner, total, lines, days, all"
    assert "16 Nov 2026 to 22 Nov 2026 (UTC)" in summary(shown)
    assert ("logarithmic" in summary(shown)) is log
    assert "other (4)" in seen.texts
    assert "in progress" in seen.texts
    assert seen.all("pattern")


@pytest.mark.parametrize("number", [1, 8, 9, 10, 30])
def test_every_line_has_a_colour_of_the_stylesheet(number: int) -> None:
    styles = (HERE / "static" / "charts.css").read_text()
    period = Period(MIDNIGHT, MIDNIGHT + DAY, "day")
    cells = [Cell(MIDNIGHT, f"model-{n}", Sums(requests=1, cost=n + 1)) for n in range(number)]
    drawn = chart(View(series(period, cells), "model", "cost", NOW)).plots
    assert len(drawn) == min(number, 9)
    assert all(f".series-{plot.colour} " in styles for plot in drawn)


def test_the_table_is_exact_and_adds_up() -> None:
    shown = view("cost")
    markup = table(shown)
    amounts = [
        int(text.replace(".", "")) for text in re.findall(r'title="(\d+\.\d{9}) USD"', markup)
    ]
    assert amounts, "nano-dollars"
    whole = sum(line.total.cost for line in shown.series.lines)
    assert f'title="{whole / 10**9:.9f} USD"' in markup
    assert shown.series.whole.total.cost == whole


def test_running_totals_end_at_the_total() -> None:
    shown = view("cost", cumulative=True)
    for line in shown.lines:
        assert shown.values(line)[-1] == line.total.cost
        assert shown.values(line) == sorted(shown.values(line), key=lambda value: value or 0)


def test_a_sample_says_so() -> None:
    period = Period(MIDNIGHT, MIDNIGHT + 30 * DAY, "day")
    markup = figure(chart(View(sample(period), "model", "cost", NOW, sample=True)))
    assert ">Sample</span>" in markup
    assert 'class="chart sample"' in markup


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (2500, "2,500"), (20_000, "20k"), (1_500_000, "1.5M"), (12_345_678, "12,345,678")],
)
def test_axis_numbers_are_exact(number: int, text: str) -> None:
    assert compact(number) == text


def test_axis_money_is_exact() -> None:
    assert short_money(0) == "$0.00"
    assert short_money(2_000_000) == "$0.002"
    assert short_money(500_000_000) == "$0.50"
    assert short_money(20_000 * 10**9) == "$20k"
