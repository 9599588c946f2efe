"""The report of a run: one JSON document with a version, and its CSV and JSONL. Pure but for files.

`benchmarks/README.md` describes the document field by field.
"""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Any

import orjson

from ezkielyna.bench.figures import LATENCIES, RATES, Figures, figures
from ezkielyna.bench.plan import Limits, Load, Target
from ezkielyna.bench.tally import Record

FORMAT = "ezkielyna-bench"
VERSION = 1
SPREAD_POINTS = ("mean", "p50", "p90", "p95", "p99", "max")

Document = dict[str, Any]


class NoReport(ValueError):
    """A file is no report of this program, or of a version that it does not know."""


@dataclass(slots=True)
class Step:
    """One step: its load, and what the processes saw in every round."""

    load: Load
    rounds: list[Figures] = field(default_factory=list)
    records: list[list[Record]] = field(default_factory=list)

    def add(self, limits: Limits, seen: Sequence[dict[str, Any]]) -> Figures:
        """Add a round; return its figures."""
        found = figures(self.load, limits, seen)
        self.rounds.append(found)
        every = (Record(*one) for part in seen for one in part["records"])
        self.records.append(sorted(every, key=lambda one: one.start))
        return found


@dataclass(slots=True)
class Run:
    """A whole run. `command` must not hold a key."""

    target: Target
    limits: Limits
    seed: str
    processes: int
    command: str
    steps: list[Step]

    def document(self) -> Document:
        """Return the report as JSON takes it."""
        target = asdict(self.target)
        target["prompts"] = len(self.target.prompts)
        return {
            "format": FORMAT,
            "version": VERSION,
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            "machine": machine(),
            "versions": {"ezkielyna": version("ezkielyna"), "python": platform.python_version()},
            "target": target,
            "limits_s": self.limits.stated,
            "seed": self.seed,
            "processes": self.processes,
            "steps": [
                {"load": asdict(step.load), "figures": spread(step.rounds), "rounds": step.rounds}
                for step in self.steps
            ],
        }

    def jsonl(self) -> Iterator[bytes]:
        """Yield one line a request, in order of step, round and start."""
        for number, step in enumerate(self.steps):
            for turn, records in enumerate(step.records):
                for record in records:
                    line = {"step": number, "round": turn, **record._asdict()}
                    yield orjson.dumps(line) + b"\n"


def machine() -> Document:
    """Return what the load generator ran on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "load_average": [round(one, 1) for one in os.getloadavg()],
    }


def flat(found: Figures) -> dict[str, float]:
    """Return the figures of a round that can be compared, by names such as `first_byte_ms.p50`."""
    named = {name: found[name] for name in (*RATES, "good_share", "error_share")}
    for name in LATENCIES:
        values = found[name]
        named |= {f"{name}.{point}": values[point] for point in SPREAD_POINTS if point in values}
    return named


def spread(rounds: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Return median, minimum and maximum over the rounds of every figure they all have."""
    flats = [flat(one) for one in rounds]
    names = [name for name in flats[0] if all(name in one for one in flats)] if flats else []
    return {
        name: {
            "median": median(one[name] for one in flats),
            "min": min(one[name] for one in flats),
            "max": max(one[name] for one in flats),
        }
        for name in names
    }


def csv_text(document: Document) -> str:
    """Return one line a step and round, with every comparable figure as a column."""
    rows = [
        {
            "way": step["load"]["way"],
            "amount": step["load"]["amount"],
            "round": number,
            "requests": found["requests"],
            "errors": found["errors"],
            **flat(found),
        }
        for step in document["steps"]
        for number, found in enumerate(step["rounds"])
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read(data: bytes, name: str) -> Document:
    """Return the report in a file; raises NoReport, naming the file."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise NoReport(f"{name} is not JSON; give the report.json that --out wrote") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NoReport(f"{name} is not a report of `ezkielyna bench`")
    if document.get("version") != VERSION:
        told = document.get("version")
        raise NoReport(f"{name} has version {told}, this program reads version {VERSION}")
    return document
