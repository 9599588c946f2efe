"""The measures, and the figures that one run of the load generator gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.gateways import Subject
from benchmarks.processes import on_cores, shown
from benchmarks.scripts import script_of

_STEADY_RATE = 1000.0
_LOAD_SHARE = 0.3
_SPARE_S = 120
_WORKING = 0.05  # a process that used less of a core only watches the others
_IMAGE = ("--image-kib", "10240")


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of load: a way of `load.py`, the script it asks for, and its options.

    `needs` names what a subject must have to be measured so: "translates", "probe", "alone",
    "several" (workers), or "". One that is taken `once` is taken in the first round, before its
    processes did anything else; others are taken `takes` times a round, the subjects in turns.
    """

    name: str
    way: str
    script: str
    options: tuple[str, ...] = ()
    needs: Literal["", "translates", "probe", "alone", "several"] = ""
    fire: str = ""
    once: bool = False
    takes: int = 1

    def applies(self, subject: Subject) -> bool:
        """Whether the subject is measured this way."""
        if subject.only and self.name not in subject.only:
            return False
        return not self.needs or bool(getattr(subject, self.needs))

    @property
    def scripts(self) -> tuple[str, ...]:
        """The model names, without prefix, that it asks for."""
        return (self.script, self.fire) if self.fire else (self.script,)


def measures(seconds: float, *, streams: int, idle_streams: int, group: int) -> list[Measure]:
    """Return all measures; paced scripts outlive their window by enough to open the streams."""
    long = round(2 * seconds) + _SPARE_S
    burst = f"burst-2000-by-{group}"
    many, few = ("--connections", "32"), ("--connections", "16")
    idle = ("--streams", str(idle_streams))
    return [
        Measure("memory", "paced", f"paced-1x{long}", idle, "alone", once=True),
        # Most is compared with this one, and a machine that stalls for a second spoils two.
        Measure("plain", "closed", "plain", many, takes=3),
        Measure("balance", "closed", "plain", ("--connections", "256"), "several"),
        Measure("burst", "closed", burst, few),
        Measure("nulls", "closed", f"{burst}-nulls", few),
        Measure("anthropic", "closed", f"anthropic-{burst}", few, "translates"),
        Measure("gemini", "closed", f"gemini-{burst}", few, "translates"),
        Measure("paced", "paced", f"paced-50x{long}", ("--streams", str(streams))),
        Measure("first", "steady", "burst-16"),
        Measure("lag", "closed", "plain", many, "probe"),
        Measure("large", "closed", "plain", ("--connections", "2", *_IMAGE), "probe"),
        Measure(
            "fair",
            "fair",
            f"paced-10x{long}",
            ("--streams", str(streams), "--connections", "1"),
            fire=burst,
        ),
    ]


def command(
    measure: Measure, subject: Subject, seconds: float, rate: float | None = None
) -> list[str]:
    """Return the command that takes one measure of one subject."""
    line = [sys.executable, "-m", "benchmarks.load", measure.way, "--url", subject.url]
    line += ["--model", f"{subject.prefix}-{measure.script}", "--seconds", str(seconds)]
    line += measure.options
    if measure.way == "steady":
        line += ["--rate", str(rate or _STEADY_RATE)]
    if measure.fire:
        line += ["--fire", f"{subject.prefix}-{measure.fire}"]
    if measure.needs == "probe":
        line += ["--probe", subject.probe]
    for header in subject.headers:
        line += ["--header", header]
    if subject.pids:
        line += ["--watch", ",".join(map(str, subject.pids))]
    return line


def steady_rate(plain_requests_s: float | None) -> float:
    """Return the rate for first bytes: the same for all, less where it were over 30 % load."""
    if plain_requests_s is None:
        return _STEADY_RATE
    return max(1.0, min(_STEADY_RATE, round(_LOAD_SHARE * plain_requests_s)))


def take(line: Sequence[str], key: str, seconds: float, cores: Sequence[int]) -> dict[str, Any]:
    """Run the load generator on the cores; return its report, in which a failure is an error."""
    whole = [*line, "--key", key] if key else list(line)
    try:
        with on_cores(cores):
            done = subprocess.run(
                whole, capture_output=True, text=True, timeout=seconds + 2 * _SPARE_S, check=False
            )
    except subprocess.TimeoutExpired:
        return {"errors": 1, "error": f"took too long: {shown(line)}"}
    if done.returncode:
        return {"errors": 1, "error": done.stderr.strip()[-500:]}
    found: dict[str, Any] = json.loads(done.stdout)
    if done.stderr.strip():
        found["stderr"] = done.stderr[-500:]
    return found


def figures(measure: Measure, raw: dict[str, Any], subject: Subject) -> dict[str, float]:
    """Return the figures of one run by name; none when it failed altogether."""
    found = {f"{measure.name}_errors": float(raw["errors"])}
    seconds = raw.get("seconds")
    if not seconds:
        return found
    spent = raw["cpu_s"] if subject.pids else None
    if measure.name in ("plain", "burst", "nulls", "anthropic", "gemini"):
        found |= _closed(measure.name, raw, seconds, spent)
    elif measure.name == "balance":
        found |= _balance(raw, seconds)
    elif measure.name == "paced":
        found |= _paced(measure, raw, seconds, spent)
    elif measure.name == "first":
        found |= _points("first", raw["first_byte_ms"])
    elif measure.name == "fair":
        found |= _points("fair_quiet", raw["quiet_gap_ms"]) | _points("fair", raw["gap_ms"])
    elif measure.needs == "probe":
        found |= _points(f"{measure.name}_wait", raw["probe_ms"])
        found[f"{measure.name}_requests_s"] = raw["requests"] / seconds
    elif measure.name == "memory":
        found["memory_streams"] = raw["streams"]
        if subject.pids and raw["streams"]:
            grown = raw["memory_kib"] - subject.idle_kib
            found["memory_kib_stream"] = grown / raw["streams"]
    return found


def _points(name: str, times: dict[str, float]) -> dict[str, float]:
    return {f"{name}_{point}_ms": time for point, time in times.items()}


def _closed(
    name: str, raw: dict[str, Any], seconds: float, spent: float | None
) -> dict[str, float]:
    unit, count = ("requests", raw["requests"]) if name == "plain" else ("chunks", raw["chunks"])
    found = {f"{name}_{unit}_s": count / seconds}
    if spent is not None and count:
        found[f"{name}_busy"] = spent / seconds
        scale = 1e3 if name == "plain" else 1e6
        found[f"{name}_cpu_{'ms' if name == 'plain' else 'us'}"] = scale * spent / count
    if name == "plain" and raw["duration_ms"]:
        found["plain_p99_ms"] = raw["duration_ms"]["p99"]
    return found


def _balance(raw: dict[str, Any], seconds: float) -> dict[str, float]:
    """Return by how many per cent the busiest worker's CPU time exceeds the mean."""
    working = [one for one in raw.get("cpu_each_s", ()) if one > _WORKING * seconds]
    if len(working) < 2:
        return {}
    return {"balance": 100 * (max(working) / (sum(working) / len(working)) - 1)}


def _paced(
    measure: Measure, raw: dict[str, Any], seconds: float, spent: float | None
) -> dict[str, float]:
    wanted = int(measure.options[1]) * script_of(measure.script).rate * seconds
    found = {"paced_delivered": 100 * raw["chunks"] / wanted}
    if raw["gap_ms"]:
        found["paced_gap_p99_ms"] = raw["gap_ms"]["p99"]
    if spent is not None and raw["chunks"]:
        found["paced_cpu"] = 100 * spent / seconds
        found["paced_cpu_us"] = 1e6 * spent / raw["chunks"]
    return found
