"""Hours of work in short: at 70 % load nothing grows, nothing fails, nothing is left behind.

In the suite a few seconds; ten minutes with `EZKIELYNA_SOAK=1` (`make soak`), and only these can
say something about memory. `EZKIELYNA_SOAK_S` sets another time, in seconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, linear_regression, median

import pytest

from benchmarks.inside import scripted_upstream
from ezkielyna.bench.plan import Limits, Load, Target
from ezkielyna.bench.report import Run, Step
from ezkielyna.bench.running import perform
from ezkielyna.server import quieten_collector
from ezkielyna.testing.gateway import Gateways, RunningGateway

LONG = bool(os.environ.get("EZKIELYNA_SOAK"))
SECONDS = float(os.environ.get("EZKIELYNA_SOAK_S") or (600 if LONG else 3))
WARM_UP_S = SECONDS / 5
SHARE = 0.7
MODELS = ("bench-plain", "bench-burst-64-by-4")
PRICED = {"provider": "lab", "input": "2.50", "output": "10", "context": 9000, "max_output": 4096}
TABLES = {
    "models": dict.fromkeys(MODELS, PRICED),
    "plans": {"default": {"rpm": 100_000_000, "tpm": 10_000_000_000, "concurrency": 100_000}},
}
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024
GROWTH = 0.01
"""Of memory, from the end of the warm-up to the end, by the line through all samples."""


@pytest.fixture
def as_served() -> Iterator[None]:
    """Collect garbage as the server does: with all that pytest keeps, it would take 0.2 s else."""
    before = gc.get_threshold()
    quieten_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def loaded(gateway: RunningGateway, model: str, load: Load) -> Step:
    """Put a load on one model; return what came of it."""
    target = Target(gateway.api, model, streamed="burst" in model, output_tokens="100")
    run = Run(target, Limits(), model, 1, "", [Step(load)])
    await perform(run, gateway.headers, 1, lambda *_: None)
    return run.steps[0]


def memory_kib() -> float:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def files() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def tasks() -> int:
    return len(asyncio.all_tasks())


async def sampled(every_s: float, samples: list[tuple[float, float, int, int]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        samples.append((time.monotonic(), memory_kib(), files(), tasks()))


async def at_most(count: Callable[[], int], most: int, within_s: float) -> int:
    """Wait until the count has come down to this; return what it is."""
    end = time.monotonic() + within_s
    while count() > most and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return count()


@pytest.mark.usefixtures("as_served")
async def test_nothing_grows_and_nothing_fails_at_seventy_per_cent(gateways: Gateways) -> None:
    samples: list[tuple[float, float, int, int]] = []
    async with (
        scripted_upstream() as upstream,
        gateways(upstream, tables=TABLES, credit="1000000") as gateway,
    ):
        alone = Load("closed", 16, duration_s=max(0.5, SECONDS / 60), warm_up_s=0.3)
        steps = [await loaded(gateway, model, alone) for model in MODELS]
        rates = [SHARE / 2 * step.rounds[0]["requests_s"] for step in steps]
        files_before, tasks_before = files(), tasks()
        sampling = asyncio.create_task(sampled(SECONDS / 60, samples))
        both = (
            loaded(gateway, model, Load("open", rate, SECONDS, warm_up_s=WARM_UP_S))
            for model, rate in zip(MODELS, rates, strict=True)
        )
        steps += await asyncio.gather(*both)
        sampling.cancel()
        errors = [step.rounds[0]["error_kinds"] for step in steps]
        tasks_after = await at_most(tasks, tasks_before, 30)
        files_after = await at_most(files, files_before, 60 if LONG else 0)
    told = report(samples, rates, (files_before, files_after), (tasks_before, tasks_after))
    print(told)
    assert errors == [{}] * 4
    assert all(step.rounds[0]["requests_s"] > 0 for step in steps)
    assert tasks_after <= tasks_before
    if LONG:
        assert files_after <= files_before + 4, told
        assert growth(samples) < GROWTH, told


def growth(samples: list[tuple[float, float, int, int]]) -> float:
    """Return by which share memory grew in the window, by the line through all samples."""
    since = samples[0][0] + WARM_UP_S
    window = [(at, kib) for at, kib, _, _ in samples if at >= since]
    times, kib = zip(*window, strict=True)
    return linear_regression(times, kib).slope * (times[-1] - times[0]) / fmean(kib)


def report(
    samples: list[tuple[float, float, int, int]],
    rates: list[float],
    open_files: tuple[int, int],
    running: tuple[int, int],
) -> str:
    rows = [
        f"  {at - samples[0][0]:6.1f} s  {kib / 1024:7.1f} MiB  {opened:5} files  {count:5} tasks"
        for at, kib, opened, count in samples[:: max(1, len(samples) // 20)]
    ]
    return "\n".join(
        [
            f"\n{rates[0]:.0f} plain and {rates[1]:.0f} streamed requests/s for {SECONDS:g} s;",
            f"memory grew by {100 * growth(samples):.2f} %; files {open_files[0]} before, "
            f"{median(one[2] for one in samples):.0f} meanwhile, {open_files[1]} after;",
            f"tasks {running[0]} before, {running[1]} after",
            *rows,
        ]
    )
