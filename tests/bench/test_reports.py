"""From records to figures, to files, to ratios. Pure: nothing is sent."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest

from ezkielyna.bench.compare import ratios, unmatched
from ezkielyna.bench.figures import figures, meets, summary
from ezkielyna.bench.page import page
from ezkielyna.bench.plan import Limits, Load, Target
from ezkielyna.bench.plots import Axis, Series, plot
from ezkielyna.bench.report import NoReport, Run, Step, csv_text, read
from ezkielyna.bench.tally import Histogram, Record, Tally


def record(start: float, total: float = 0.1, **more: Any) -> Record:
    usual: dict[str, Any] = {
        "sent": start,
        "first_byte": start + total / 2,
        "first_token": start + total / 2,
        "end": start + total,
        "status": 200,
        "input_tokens": 5,
        "output_tokens": 11,
        "chunks": 11,
        "longest_gap": 0.01,
        "last_token": start + total,
        "error": "",
    }
    return Record(start, **{**usual, **more})


def part(*records: Record, seconds: float = 10.0, busy: float = 0.1) -> dict[str, Any]:
    tally = Tally(0.0, seconds)
    for one in records:
        tally.request(one)
        tally.chunk(one.end, one.chunks, 0.01)
    return {**tally.document(), "busy": busy}


def a_run(*totals: float, rounds: int = 1) -> Run:
    step = Step(Load("closed", 8, duration_s=10))
    for number in range(rounds):
        step.add(Limits(), [part(*(record(0.5, total + number / 100) for total in totals))])
    return Run(Target("http://h/v1", "<m>"), Limits(), "1", 1, "ezkielyna bench", [step])


def test_latencies_are_of_what_began_in_the_window_and_rates_of_what_came_in_it() -> None:
    inside, straddling, before = record(1.0), record(9.9, 5.0), record(-1.0, 2.0)
    found = figures(
        Load("open", 1, duration_s=10), Limits(), [part(inside, before), part(straddling)]
    )
    assert found["requests"] == 2
    assert found["total_ms"]["max"] == 5000  # waited for, though the window had closed
    assert found["requests_s"] == 2 / 10  # `inside` and `before` ended in it
    assert found["tokens_s"] == 22 / 10
    assert found["chunks_s"] == 22 / 10
    assert [row["answered"] for row in found["timeline"]] == [0, 1, *[0] * 8]


def test_a_window_of_so_many_requests_is_the_time_they_took() -> None:
    """What came before the first of them, for example the rest of a warm-up, is not theirs."""
    found = figures(
        Load("closed", 2, requests=2), Limits(), [part(record(2.5, 1.0), record(3.0, 1.5))]
    )
    assert found["seconds"] == pytest.approx(2.0)
    assert found["requests_s"] == pytest.approx(1.0)
    assert [(row["second"], row["answered"]) for row in found["timeline"]] == [
        (2, 0), (3, 1), (4, 1),
    ]  # fmt: skip


def test_limits_are_met_all_or_not_at_all() -> None:
    one = record(0.0, 1.0)
    assert meets(one, Limits())
    assert meets(one, Limits(first_byte=0.5, total=1.0, gap=0.01, token=0.05))
    assert not meets(one, Limits(first_byte=0.49, total=1.0))
    assert not meets(one, Limits(gap=0.009))
    assert not meets(one, Limits(token=0.049))
    assert not meets(record(0.0, first_token=None), Limits(first_token=9))


def test_percentiles_of_known_numbers() -> None:
    found = summary([number / 1000 for number in range(1, 101)])
    assert (found["count"], found["min"], found["max"]) == (100, 1, 100)
    assert found["mean"] == 50.5
    assert found["p50"] == pytest.approx(50.5, abs=0.51)
    assert found["p99"] == pytest.approx(99, abs=1)


def test_a_histogram_is_within_half_a_per_cent_wherever_it_was_merged() -> None:
    whole, first, second = Histogram(), Histogram(), Histogram()
    times = [0.0001 * 1.01**number for number in range(1000)]
    for number, time in enumerate(times):
        whole.add(time)
        (first if number % 3 else second).add(time)
    first.merge(orjson.loads(orjson.dumps(second.document())))
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        assert whole.quantile(share) == first.quantile(share)
        assert whole.quantile(share) == pytest.approx(times[round(share * 999)], rel=0.016)
    assert first.count == 1000
    assert first.longest == max(times)


def test_what_makes_figures_doubtful_is_said() -> None:
    late = record(1.0, sent=1.2)
    found = figures(Load("open", 1), Limits(), [part(late, busy=0.97)])
    assert any("97 % of its core" in text for text in found["warnings"])
    assert any("200.0 ms" in text for text in found["warnings"])
    assert figures(Load("open", 1), Limits(), [part()])["warnings"] == [
        "no request began in the window"
    ]


def test_the_json_is_whole_and_known_again() -> None:
    document = orjson.loads(orjson.dumps(a_run(0.1, 0.3, rounds=3).document()))
    assert read(orjson.dumps(document), "x") == document
    assert document["steps"][0]["figures"]["total_ms.max"] == {
        "median": pytest.approx(310), "min": pytest.approx(300), "max": pytest.approx(320),
    }  # fmt: skip
    for text, told in (
        (b"{", "is not JSON"),
        (b"[]", "is not a report"),
        (orjson.dumps({**document, "version": 2}), "has version 2, this program reads version 1"),
    ):
        with pytest.raises(NoReport, match=f"x.json {told}"):
            read(text, "x.json")


def test_csv_and_jsonl_have_a_line_for_each() -> None:
    run = a_run(0.1, 0.3, rounds=2)
    rows = list(csv.DictReader(io.StringIO(csv_text(run.document()))))
    assert [(row["amount"], row["round"], row["requests"]) for row in rows] == [
        ("8", "0", "2"),
        ("8", "1", "2"),
    ]
    assert float(rows[0]["total_ms.max"]) == pytest.approx(300)
    lines = [orjson.loads(line) for line in run.jsonl()]
    assert len(lines) == 4
    assert {"step", "round", *Record._fields} == set(lines[0])


class Elements(HTMLParser):
    """Notes every tag and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_no_other_file_and_holds_the_plots() -> None:
    run = a_run(0.1, 0.2, 0.3)
    rate = Step(Load("open", 5, duration_s=10))
    rate.add(run.limits, [part(record(0.2), record(2.5, error="503 overloaded"))])
    run.steps.append(rate)
    html = page(run.document())
    elements = Elements(html).found
    tags = {tag for tag, _ in elements}
    assert not tags & {"script", "link", "img", "iframe"}
    assert not any(key in attributes for _, attributes in elements for key in ("src", "href"))
    assert "url(" not in html
    assert "@import" not in html
    labels = [attributes["aria-label"] for tag, attributes in elements if tag == "svg"]
    assert labels == [
        "Whole answer: share within a time",
        "Throughput over requests at once",
        "First byte over requests at once",
        "Throughput over requests due a second",
        "First byte over requests due a second",
        "Time line: 8 at once",
        "Time line: 5 requests/s",
    ]
    assert "<m>" not in html
    assert "&lt;m&gt;" in html
    for start in (at for at in range(len(html)) if html.startswith("<svg", at)):
        ET.fromstring(html[start : html.index("</svg>", start) + 6])


def test_a_plot_stays_inside_of_its_frame() -> None:
    points = [(0.001, 0.0), (1.0, 3.0), (900.0, 1e6)]
    svg = plot("t", "x", "y", [Series("a", points), Series("b", points, bars=True)], log_x=True)
    root = ET.fromstring(svg[svg.index("<svg") : svg.index("</svg>") + 6])
    for dot in root.iter("circle"):
        assert 0 <= float(dot.attrib["cx"]) <= 640
        assert 0 <= float(dot.attrib["cy"]) <= 320
    assert "nothing was measured" in plot("t", "x", "y", [Series("a", [])])
    assert Axis.over("x", [0.0, 47.0]).ticks() == [0, 10, 20, 30, 40]
    assert Axis.over("x", [0.02, 40.0], log=True).ticks() == pytest.approx([0.01, 0.1, 1, 10, 100])


def test_ratios_come_with_their_spread() -> None:
    slow, fast = a_run(0.4, rounds=3).document(), a_run(0.2, rounds=3).document()
    by_name = {one.figure: one for one in ratios(slow, fast)}
    total = by_name["total_ms.p50"]
    assert total.ratio == pytest.approx(210 / 410)
    assert (total.least, total.most) == (pytest.approx(200 / 420), pytest.approx(220 / 400))
    assert total.certain
    assert not by_name["requests_s"].certain
    assert not next(iter(ratios(slow, slow))).certain
    single = next(ratios(a_run(0.4).document(), a_run(0.2).document()))
    assert (single.rounds, single.certain) == (1, False)
    other = a_run(0.1).document()
    other["steps"][0]["load"]["amount"] = 9
    assert list(ratios(slow, other)) == []
    assert unmatched(slow, other) == ["8 at once", "9 at once"]
