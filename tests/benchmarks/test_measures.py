"""The further measures: other dialects, large bodies, waits, fairness; and the table of goals."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from benchmarks.__main__ import Session
from benchmarks.calls import Request
from benchmarks.dialects import ANTHROPIC, GEMINI, dialect_of
from benchmarks.gateways import Subject
from benchmarks.load import Run, closed, fair
from benchmarks.measures import Measure, command, figures, measures
from benchmarks.probe import INTERVAL_S, Probe
from benchmarks.processes import NotStarted, seconds_to_line
from benchmarks.scripts import MARK, answer_of
from benchmarks.standing import (
    GOALS,
    README,
    Goal,
    measured,
    reference,
    standing,
    updated,
    verdict,
)
from ezkielyna import ChatRequest, Provider
from ezkielyna_anthropic import AnthropicProvider
from ezkielyna_gemini import GeminiProvider

Serving = Callable[..., AbstractAsyncContextManager[str]]

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ALL = {one.name: one for one in measures(1, streams=5, idle_streams=5, group=4)}


@pytest.mark.parametrize(
    ("provider", "dialect", "path"),
    [
        (AnthropicProvider("a", AnthropicProvider.Settings(api_key="k")), ANTHROPIC, "/messages"),
        (GeminiProvider("g", GeminiProvider.Settings(api_key="k")), GEMINI, "/models/m:stream"),
    ],
)
def test_every_chunk_of_another_dialect_comes_through_its_translator(
    provider: Provider, dialect: Any, path: str
) -> None:
    exchange = provider.exchange(ChatRequest.parse(orjson.dumps(ASKED)), "m")
    target = exchange.request.url.partition("://")[2]
    target = target[target.index("/") :]
    assert path in target
    found, model = dialect_of(f"POST {target} HTTP/1.1\r\n\r\n".encode())
    assert found is dialect
    assert model in (None, b"m")
    stream = b"".join([*dialect.opening, *[dialect.chunk] * 7, *dialect.ending])
    translated = exchange.feed(stream) + exchange.close()
    assert translated.count(MARK) == 7
    assert translated.endswith(b"data: [DONE]\n\n")
    answer = answer_of("bench-x-burst-7-by-3", usage_asked=False, dialect=dialect)
    assert sum(group.count(MARK) for group in answer.groups) == 7


async def test_a_large_body_is_answered_as_quickly_as_it_comes(serving: Serving) -> None:
    async with serving() as url:
        run = Run(Request(url, "bench-plain", image_kib=2048), [])
        assert len(run.request.data) > 2 << 20
        seen = await closed(run, 2, 0.2, 0.0)
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["requests"] > 0


class Slow(asyncio.Protocol):
    """Answers after a tenth of a second, and a little: uvloop's clock counts milliseconds."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        asyncio.get_running_loop().call_later(0.102, self.transport.write, answer)  # type: ignore[attr-defined]


async def test_a_wait_counts_once_for_everybody_who_would_have_waited(serving: Serving) -> None:
    async with serving(Slow) as url, Probe(url) as probe:
        probe.open = True
        until = time.monotonic() + 20
        quick = 0
        while (quick < 8 or len(probe.waits) < 12) and time.monotonic() < until:
            await asyncio.sleep(0.02)
            quick = len([one for one in probe.waits if one < 0.1 - INTERVAL_S])
    assert max(probe.waits) >= 0.1
    assert quick >= 8


async def test_slow_streams_are_timed_alone_and_beside_a_fast_one(serving: Serving) -> None:
    async with serving() as url:
        run = Run(Request(url, "bench-paced-20x60"), [], read_gaps=True)
        fire = Run(Request(url, "bench-burst-200"), [])
        seen = await fair(run, fire, 5, 1, 2.0)
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["fire_chunks"] > 0
    assert seen["quiet_gap_ms"]["p50"] > 0
    assert seen["gap_ms"]["p50"] > 0
    found = figures(ALL["fair"], seen, Subject("x", ""))
    assert found["fair_quiet_p99_ms"] == seen["quiet_gap_ms"]["p99"]
    assert found["fair_p99_ms"] == seen["gap_ms"]["p99"]


def test_measures_are_taken_of_those_they_apply_to() -> None:
    plain, whole = Subject("nginx", "u"), Subject("ours", "u", translates=True, probe="p")
    assert not ALL["anthropic"].applies(plain)
    assert ALL["anthropic"].applies(whole)
    assert not ALL["lag"].applies(plain)
    assert not ALL["burst"].applies(Subject("two", "u", only=("plain",)))
    line = command(ALL["large"], whole, 1.0)
    assert line[line.index("--probe") + 1] == "p"
    assert line[line.index("--image-kib") + 1] == "10240"
    assert "bench-burst-2000-by-4" in command(ALL["fair"], plain, 1.0)


def test_workers_that_carry_uneven_loads_are_noticed() -> None:
    raw = {
        "errors": 0, "seconds": 2.0, "requests": 100, "cpu_s": 3.0, "duration_ms": {},
        "cpu_each_s": [0.01, 1.2, 1.8],
    }  # fmt: skip
    found = figures(ALL["balance"], raw, Subject("two", "u", pids=[1, 2, 3]))
    assert found["balance"] == pytest.approx(20)
    assert not ALL["balance"].applies(Subject("one", "u"))


def test_a_start_is_timed_to_its_line() -> None:
    program = "import time; print('not yet', flush=True); time.sleep(0.2); print('listening on x')"
    assert seconds_to_line([sys.executable, "-c", program], "listening on", {0}) >= 0.2
    with pytest.raises(NotStarted):
        seconds_to_line([sys.executable, "-c", "print('no')"], "listening on", {0})


def spread(low: float, middle: float, high: float) -> dict[str, float]:
    return {"median": middle, "min": low, "max": high}


def test_goals_are_judged_by_medians_and_shown_with_their_spread() -> None:
    found = {
        "ours, llhttp, money": {
            "plain_requests_s": spread(3000, 4500, 5000),
            "first_p50_ms": spread(1.0, 1.3, 1.9),
            "gemini_cpu_us": spread(8, 10, 16),
        },
        "nginx": {"plain_requests_s": spread(9000, 10000, 12000)},
        "direct": {"first_p50_ms": spread(0.1, 0.2, 0.4)},
    }
    by_figure: dict[str, Goal] = {goal.figure: goal for goal in reversed(GOALS)}
    beside = by_figure["plain_requests_s"]
    assert measured(beside, found) == (0.45, 0.25, pytest.approx(5 / 9))
    assert (verdict(beside, 0.45), verdict(beside, 0.44), verdict(beside, 0.6)) == (
        "met", "**missed**", "stretch",
    )  # fmt: skip
    added = by_figure["first_p50_ms"]
    assert measured(added, found) == (pytest.approx(1.1), pytest.approx(0.6), pytest.approx(1.8))
    assert measured(by_figure["gemini_cpu_us"], found) == (100_000, 62_500, 125_000)
    assert measured(by_figure["start_s"], found) is None


def test_a_busy_machine_judges_cpu_time_and_memory_only() -> None:
    document: Any = {
        "taken": "2026-11-22T00:00:00", "settings": {"rounds": 1, "seconds": 1.0}, "absent": {},
        "versions": {"python": "3", "commit": "c"},
        "machine": {"cpu": "c", "cores": 2, "interpreter_calls_per_s": 1, "load_average": "9 9 9"},
        "figures": {
            "ours, llhttp, money": {
                "plain_cpu_ms": spread(0.3, 0.3, 0.3), "lag_wait_p99_ms": spread(1, 1, 1),
            }
        },
    }  # fmt: skip

    def judged() -> dict[str, str]:
        rows = [line.split(" | ") for line in standing(document).splitlines() if "|" in line]
        return {row[0][2:]: row[-1].rstrip(" |") for row in rows if len(row) == 5}

    lag = "a small page beside 32 requests at once, p99"
    assert judged()["CPU a plain request"] == "**missed**"
    assert judged()[lag] == "busy machine"
    document["machine"]["load_average"] = "2 2 2"
    assert judged()[lag] == "stretch"


def test_a_rate_beside_one_that_did_not_use_its_core_is_marked() -> None:
    document: Any = json.loads(json.dumps(reference()))
    document["figures"]["nginx"]["plain_busy"] = spread(0.4, 0.5, 0.6)
    rows = standing(document).splitlines()
    assert any(row.startswith("| plain requests/s | ≥ 0.45") and "nginx † |" in row for row in rows)
    assert any(row.startswith("† nginx") for row in rows)
    document["figures"]["nginx"]["plain_busy"] = spread(0.9, 0.95, 1.0)
    document["figures"]["nginx"]["burst_busy"] = spread(0.9, 0.95, 1.0)
    assert "† nginx" not in standing(document)


def test_memory_of_streams_is_taken_of_one_of_the_columns_that_share_processes() -> None:
    assert ALL["memory"].applies(Subject("money", "u"))
    assert not ALL["memory"].applies(Subject("without", "u", alone=False))
    assert [one.name for one in ALL.values() if one.once] == ["memory"]
    assert next(iter(ALL)) == "memory"


def test_the_readme_shows_the_kept_run() -> None:
    text = README.read_text()
    assert updated(text, reference()) == text, "run `make docs`"
    assert standing(json.loads(json.dumps(reference()))) in text
    with pytest.raises(ValueError, match="lost the comments"):
        updated("# No table", reference())


def test_what_is_taken_twice_a_round_is_taken_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(Session, "_note", lambda _, n, m, s: taken.append(f"{n}{m.name}{s.name}"))
    session: Any = Session.__new__(Session)
    first = Measure("f", "closed", "plain", once=True)
    session.measures = [first, Measure("p", "closed", "plain", takes=2)]
    session.subjects = [Subject(name, "http://127.0.0.1", "key") for name in "XY"]
    session.failing = set()
    session.measure(1)
    session.measure(2)
    assert taken == [*("1fX", "1fY"), *("1pX", "1pY") * 2, *("2pX", "2pY") * 2]
