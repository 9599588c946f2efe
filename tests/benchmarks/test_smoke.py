"""The benchmark measures what it says: small loads, counted exactly; nothing here is timed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from benchmarks.calls import Request
from benchmarks.gateways import Subject
from benchmarks.load import Run, closed, paced, percentiles, steady
from benchmarks.measures import command, figures, measures, steady_rate, take
from benchmarks.processes import NotStarted, Started, cpu_s, family, free_port, memory_kib
from benchmarks.scripts import MARK, answer_of, event, script_of
from benchmarks.table import render, spread
from benchmarks.upstream import Connection, Upstream, Wheel

Serving = Callable[..., AbstractAsyncContextManager[str]]


def a_run(url: str, model: str, *, usage: bool = False, read_gaps: bool = False) -> Run:
    return Run(Request(url, model, usage=usage), [], read_gaps=read_gaps)


async def test_plain_answers_are_counted_one_by_one(serving: Serving) -> None:
    async with serving() as url:
        seen = await closed(a_run(url, "bench-plain"), 4, 0.1, 0.02)
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["requests"] == seen["chunks"] > 0
    assert 0 < seen["duration_ms"]["p50"] <= seen["duration_ms"]["p99"]


@pytest.mark.parametrize(
    "model", ["bench-burst-100", "bench-burst-70-by-1", "bench-burst-50-nulls"]
)
@pytest.mark.parametrize("usage", [False, True])
async def test_every_chunk_of_a_burst_is_counted(model: str, usage: bool, serving: Serving) -> None:
    async with serving() as url:
        seen = await closed(a_run(url, model, usage=usage), 3, 0.05, 0.01)
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["requests"] > 0
    assert seen["chunks"] >= script_of(model).chunks


async def test_a_burst_larger_than_every_buffer_comes_whole(serving: Serving) -> None:
    async with serving() as url:
        seen = await closed(a_run(url, "bench-burst-20000"), 2, 0.2, 0.0)
    assert (seen["errors"], seen["error"]) == (0, "")


async def test_paced_streams_keep_their_pace(serving: Serving) -> None:
    async with serving() as url:
        run = a_run(url, "bench-paced-50x9", read_gaps=True)
        seen = await paced(run, 20, 0.2)
    assert (seen["errors"], seen["streams"]) == (0, 20)
    assert 0 < seen["chunks"] <= 2 * 20 * 50 * 0.2
    assert seen["gap_ms"]["p50"] > 0


async def test_pacing_leaves_the_core_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    def counted(wheel: Wheel) -> None:
        nonlocal turns
        turns += 1
        turn(wheel)

    turn = Wheel._turn
    monkeypatch.setattr(Wheel, "_turn", counted)
    loop = asyncio.get_running_loop()
    wheel, stream = Wheel(loop, 1.0), Connection(Upstream(loop))
    slot = wheel.add(stream)
    await asyncio.sleep(0.05)  # less than a turn: the stream is not beaten
    wheel.remove(stream, slot)
    await asyncio.sleep(0.01)
    assert 5 <= turns <= 70, "a turn a millisecond at most"


async def test_a_paced_stream_ends_with_its_last_chunk(serving: Serving) -> None:
    async with serving() as url:
        seen = await closed(a_run(url, "bench-paced-200x0.1"), 2, 0.4, 0.0)
    assert (seen["errors"], seen["error"]) == (0, "")
    assert seen["requests"] >= 2


async def test_a_steady_rate_is_kept(serving: Serving) -> None:
    async with serving() as url:
        began = time.monotonic()
        seen = await steady(a_run(url, "bench-burst-16"), 200, 0.2, 0.02)
        took_s = time.monotonic() - began
    assert seen["errors"] == 0
    assert 0 < seen["requests"] <= 200 * took_s  # 40 expected; a busy machine catches up afterwards
    assert seen["first_byte_ms"]["p50"] > 0


class Short(asyncio.Protocol):
    """Answers a plain question with one stream chunk, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answer = answer_of("bench-burst-2", usage_asked=False)
        self.transport.write(answer.opening + answer.groups[0][:100])  # type: ignore[attr-defined]
        self.transport.close()


class Refusing(Short):
    """Refuses everything."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("server", "told"), [(Short, "connection lost"), (Refusing, "503 No")])
async def test_what_falls_short_is_an_error(
    server: type[asyncio.Protocol], told: str, serving: Serving
) -> None:
    async with serving(server) as url:
        seen = await closed(a_run(url, "bench-burst-2"), 1, 0.05, 0.0)
    assert seen["errors"] > 0
    assert seen["requests"] == 0
    assert told in seen["error"]


def test_a_chunk_has_the_size_of_a_real_one_and_one_mark() -> None:
    chunk = event(b'{"content":" tok~"}', b"null", nulls=False)
    assert 160 <= len(chunk) <= 200
    answer = answer_of("bench-burst-2000", usage_asked=True)
    assert sum(group.count(MARK) for group in answer.groups) == 2000
    assert MARK not in answer.opening
    assert len(answer_of("bench-plain", usage_asked=False).opening) in range(550, 800)


def test_a_name_without_a_script_is_refused() -> None:
    with pytest.raises(ValueError, match="no script"):
        script_of("gpt-4o")


def test_processes_are_started_watched_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    cores = os.sched_getaffinity(0)
    line = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    upstream = Started(line, cores, tmp_path / "log")
    try:
        upstream.wait_listening(port)
        measure = measures(0.1, streams=5, idle_streams=5, group=8)[1]
        subject = Subject("direct", f"http://127.0.0.1:{port}/v1", pids=family(upstream.pid))
        raw = take(command(measure, subject, 0.1), "", 0.1, sorted(cores))
        assert memory_kib(subject.pids) > 0
    finally:
        upstream.stop()
    assert raw["errors"] == 0
    assert figures(measure, raw, subject)["plain_requests_s"] > 0
    assert cpu_s([upstream.pid]) == 0.0


def test_a_process_that_ends_at_once_says_why(tmp_path: Path) -> None:
    failing = Started([sys.executable, "-c", "raise SystemExit('no way')"], {0}, tmp_path / "log")
    with pytest.raises(NotStarted, match="no way"):
        failing.wait_listening(free_port())
    failing.stop()


def test_the_table_shows_medians_ratios_and_the_limit_of_the_load() -> None:
    rounds = {
        "direct": {"first_p50_ms": [0.2]},
        "nginx": {"plain_requests_s": [9000.0, 10000.0, 12000.0], "plain_busy": [0.5, 0.5, 0.5]},
        "ours": {"plain_requests_s": [5000.0], "plain_busy": [1.0], "first_p50_ms": [0.6]},
    }
    lines = render(list(rounds), rounds).splitlines()
    assert next(line for line in lines if "requests/s" in line).split()[-6:] == [
        "requests/s", "-", "10,000", "(9,000..12,000)", "†", "5,000",
    ]  # fmt: skip
    assert next(line for line in lines if "times nginx" in line).split()[-1] == "0.50"
    assert next(line for line in lines if "added" in line).split()[-1] == "+0.40"
    assert spread(rounds)["nginx"]["plain_requests_s"] == {
        "median": 10000.0, "min": 9000.0, "max": 12000.0,
    }  # fmt: skip


def test_what_money_costs_is_shown_for_the_gateway_that_has_it() -> None:
    rounds = {
        "ours, llhttp": {"plain_requests_s": [960.0], "plain_cpu_ms": [0.52]},
        "ours, llhttp, money": {"plain_requests_s": [900.0], "plain_cpu_ms": [0.55]},
        "ours, llhttp, no money": {"plain_requests_s": [1000.0], "plain_cpu_ms": [0.5]},
    }
    lines = render(list(rounds), rounds).splitlines()
    shown = [line.split()[-3:] for line in lines if "without money" in line]
    assert shown == [["-", "0.90", "-"], ["-", "1.10", "-"]]


def test_figures_of_a_failed_run_are_its_errors_only() -> None:
    measure = measures(1, streams=1, idle_streams=1, group=1)[1]
    assert figures(measure, {"errors": 1, "error": "x"}, Subject("a", "")) == {"plain_errors": 1.0}


def test_rates_and_percentiles() -> None:
    assert steady_rate(None) == steady_rate(1e6) == 1000
    assert steady_rate(50) == 15
    assert percentiles([]) == {}
    assert percentiles([0.001, 0.002, 0.003])["p50"] == 2.0
