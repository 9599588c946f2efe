"""`python -m benchmarks.standing`: write a run's figures beside the targets into the README.

The run is the one that is kept in the repository, `benchmarks/results/reference.json`; the table
stands between two comments in `benchmarks/README.md`. `make docs` calls this.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import LOAD_LIMITED, MONEYLESS, OURS, RELAY

FOLDER = Path(__file__).parent
REFERENCE = FOLDER / "results" / "reference.json"
README = FOLDER / "README.md"
BEGIN = "<!-- made by `make docs` from results/reference.json: begin -->"
END = "<!-- made by `make docs`: end -->"
ALONE = "ours, llhttp"

Spread = Mapping[str, float]
"""`median`, `min` and `max` of a figure over the rounds."""

Figures = Mapping[str, Mapping[str, Spread]]
"""By subject and figure."""


def quotient(one: float, other: float) -> float:
    """Return one by the other; infinite by nothing, as in a round in which nothing came."""
    return one / other if other else math.inf


@dataclass(frozen=True, slots=True)
class Goal:
    """A row: a figure of ours, alone or beside another subject's, and what it should reach."""

    title: str
    figure: str
    target: float
    stretch: float
    most: bool = True  # the figure should be at most the target, else at least
    unit: str = ""
    digits: int = 2
    subject: str = OURS
    beside: str = ""
    way: Callable[[float, float], float] = quotient  # how it stands beside the other
    per: float = 0.0  # show this many by the figure: chunks a second of CPU time by µs a chunk


GOALS = (
    Goal("plain requests/s", "plain_requests_s", 0.45, 0.6, False, " times nginx", beside="nginx"),
    Goal(
        "plain requests/s, the relay with its key look-up",
        "plain_requests_s", 0.45, 0.6, False, " times nginx", subject=RELAY, beside="nginx",
    ),
    Goal("plain requests a second of CPU", "plain_cpu_ms", 0, 0, False, "/s", 0, per=1e3),
    Goal("CPU a plain request", "plain_cpu_ms", 0.25, 0.17, unit=" ms", digits=3),
    Goal(
        "plain requests/s with money", "plain_requests_s", 0.85, 0.95, False, " times without",
        beside=MONEYLESS,
    ),
    Goal(
        "CPU a plain request with money", "plain_cpu_ms", 1.176, 1.05, unit=" times without",
        beside=MONEYLESS, digits=3,
    ),
    Goal("burst chunks/s", "burst_chunks_s", 0.5, 0.8, False, " times nginx", beside="nginx"),
    Goal("CPU a paced chunk", "paced_cpu_us", 2.5, 1.8, unit=" times nginx", beside="nginx"),
    Goal(
        "translated from Anthropic, chunks a second of CPU",
        "anthropic_cpu_us", 60_000, 120_000, False, "/s", 0, per=1e6,
    ),
    Goal(
        "translated from Gemini, chunks a second of CPU",
        "gemini_cpu_us", 60_000, 120_000, False, "/s", 0, per=1e6,
    ),
    Goal(
        "added to the first byte, p50, at 30 % load",
        "first_p50_ms", 1, 0.4, unit=" ms", beside="direct", way=operator.sub,
    ),
    Goal(
        "added to the first byte, p99, at 30 % load",
        "first_p99_ms", 5, 2, unit=" ms", beside="direct", way=operator.sub,
    ),
    Goal("open streams in one process", "memory_streams", 5_000, 10_000, False, "", 0),
    Goal("memory an open stream", "memory_kib_stream", 30, 15, unit=" KiB", digits=1),
    Goal("worker, idle", "memory_idle_mib", 90, 70, unit=" MiB", digits=1, subject=ALONE),
    Goal(
        "two workers, plain requests/s",
        "plain_requests_s", 1.7, 1.7, False, " times one", 2, "ours, llhttp, 2 workers", ALONE,
    ),
    Goal(
        "uneven load of two workers, the busier over the mean", "balance", 20, 10, unit=" %",
        digits=1, subject="ours, llhttp, 2 workers",
    ),
    Goal(
        "plain requests/s", "plain_requests_s", 50, 100, False, " times LiteLLM", 0,
        beside="LiteLLM proxy",
    ),
    Goal(
        "burst chunks/s", "burst_chunks_s", 50, 100, False, " times LiteLLM", 0,
        beside="LiteLLM proxy",
    ),
    Goal("start to listening, database running", "start_s", 1.0, 0.5, unit=" s", subject=ALONE),
    Goal("a small page beside 32 requests at once, p99", "lag_wait_p99_ms", 20, 5, unit=" ms"),
    Goal("a small page beside 10 MiB bodies, p99", "large_wait_p99_ms", 20, 20, unit=" ms"),
    Goal(
        "gap p99 of 500 slow streams beside a fast one",
        "fair_p99_ms", 2, 1, unit=" times alone", beside=OURS,
    ),
)  # fmt: skip


def standing(document: Mapping[str, Any]) -> str:
    """Return the table of goals, and what it was measured on, as Markdown."""
    figures, machine = document["figures"], document["machine"]
    settings, versions = document["settings"], document["versions"]
    busy = float(machine["load_average"].split()[-1]) > 2 * machine["cores"]
    lines = [
        f"{document['taken'][:10]} · {machine['cpu']}, {machine['cores']} cores · load average "
        f"{machine['load_average']} · Python {versions['python']} that makes "
        f"{machine['interpreter_calls_per_s'] / 1e6:.1f} million calls a second · nginx "
        f"{versions.get('nginx', 'absent')} · commit {versions['commit']} · "
        f"{settings['rounds']} rounds of {settings['seconds']:g} s",
        "",
        "| what | target | stretch | measured | |",
        "|---|---|---|---|---|",
        *(row for goal in GOALS if (row := _row(goal, figures, busy))),
    ]
    if limited := [name for goal in GOALS if (name := _limited(goal, figures))]:
        lines += ["", f"† {', '.join(dict.fromkeys(limited))}: load-limited, see above."]
    errors = {name: total for name in figures if (total := _errors(figures[name]))}
    told = ", ".join(f"{name} {total:,.0f}" for name, total in errors.items())
    absent = "; ".join(
        f"{name} ({' '.join(why.split())[:100]})" for name, why in document["absent"].items()
    )
    if note := document.get("note"):
        lines += ["", str(note)]
    lines += ["", f"Errors: {told or 'none'}. Left out: {absent or 'nothing'}."]
    return "\n".join(lines)


def _row(goal: Goal, figures: Figures, busy: bool) -> str:
    found = measured(goal, figures)
    aims = [
        f"{'≤' if goal.most else '≥'} {_shown(goal, aim)}" for aim in (goal.target, goal.stretch)
    ]
    if not goal.target:
        aims = ["", ""]
    if found is None:
        return f"| {goal.title} | {aims[0]} | {aims[1]} | not measured | |"
    middle, low, high = found
    text = f"{middle:,.{goal.digits}f}"
    if low != high:
        text += f" ({low:,.{goal.digits}f}…{high:,.{goal.digits}f})"
    unit = f"{goal.unit} †" if _limited(goal, figures) else goal.unit
    judged = "busy machine" if busy and goal.target and not steady(goal) else verdict(goal, middle)
    return f"| {goal.title} | {aims[0]} | {aims[1]} | {text}{unit} | {judged} |"


def _limited(goal: Goal, figures: Figures) -> str:
    """Return whom a rate is compared with where that one did not use its core; else nothing."""
    busy = figures.get(goal.beside, {}).get(f"{goal.figure.partition('_')[0]}_busy")
    rate = goal.figure.endswith(("requests_s", "chunks_s"))
    return goal.beside if rate and busy and busy["median"] < LOAD_LIMITED else ""


def steady(goal: Goal) -> bool:
    """Whether a figure is CPU time or memory: what others do at the time changes it little.

    Rates and waits of a busy machine are those others', and no goal is met or missed by them.
    """
    return "_cpu_" in goal.figure or goal.figure.startswith("memory")


def _shown(goal: Goal, aim: float) -> str:
    return f"{aim:,g}{goal.unit}"


def verdict(goal: Goal, value: float) -> str:
    """Return in words whether a value meets the goal; nothing for a row without one."""
    meets = operator.le if goal.most else operator.ge
    if not goal.target:
        return ""
    if meets(value, goal.stretch):
        return "stretch"
    return "met" if meets(value, goal.target) else "**missed**"


def measured(goal: Goal, figures: Figures) -> tuple[float, float, float] | None:
    """Return median, least and most of a goal's figure; None where it was not measured.

    Beside another subject, least and most are those of any two rounds.
    """
    own = figures.get(goal.subject, {}).get(goal.figure)
    if own is None:
        return None
    if goal.per:
        return goal.per / own["median"], goal.per / own["max"], goal.per / own["min"]
    if not goal.beside:
        return own["median"], own["min"], own["max"]
    other = figures.get(goal.beside, {}).get(goal.figure.replace("fair_", "fair_quiet_"))
    if other is None or not other["median"]:
        return None
    pairs = (("median", "median"), ("min", "max"), ("max", "min"))
    middle, low, high = (goal.way(own[one], other[another]) for one, another in pairs)
    return middle, low, high


def _errors(figures: Mapping[str, Spread]) -> float:
    return sum(found["max"] for name, found in figures.items() if name.endswith("_errors"))


def updated(readme: str, document: Mapping[str, Any]) -> str:
    """Return the README with the table of a run; raises ValueError without the two comments."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the README has lost the comments between which the table stands")
    return f"{before}{BEGIN}\n{standing(document)}\n{END}{after}"


def reference() -> Mapping[str, Any]:
    """Return the run that is kept."""
    document: Mapping[str, Any] = json.loads(REFERENCE.read_text())
    return document


if __name__ == "__main__":
    README.write_text(updated(README.read_text(), reference()))
    print(f"written: {README}")
