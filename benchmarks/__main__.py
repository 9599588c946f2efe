"""`python -m benchmarks`: measure a direct line, nginx and this gateway; print one table.

A benchmark is not a test: it never fails on time. It ends with 1 only when nothing was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import limiters
from benchmarks.gateways import Absent, Stage, Subject, direct, given, nginx, ours
from benchmarks.interpreter import calls_s
from benchmarks.load import raise_file_limit
from benchmarks.measures import Measure, command, figures, measures, steady_rate, take
from benchmarks.peers import peers
from benchmarks.processes import NotStarted, free_port, memory_kib, shown, wait_calm
from benchmarks.table import render, spread

_FORMAT = 1
_UNTOLD = ("key", "output", "peers_folder")
_PACKAGES = ("ezkielyna", "tornado", "uvloop", "httptools", "orjson", "pydantic", "motor")


class Session:
    """One run of everything: subjects that came up, values by subject and figure, raw reports."""

    def __init__(self, options: argparse.Namespace, stage: Stage, chosen: list[Measure]) -> None:
        self.options = options
        self.stage = stage
        self.measures = chosen
        self.subjects: list[Subject] = []
        self.absent: dict[str, str] = {}
        self.failing: set[tuple[str, str]] = set()  # subjects and measures that they do not bear
        self.commands: list[str] = []
        self.raw: list[dict[str, Any]] = []
        self.rounds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def open(self, name: str, start: Callable[[Stage], list[Subject]]) -> None:
        """Start a gateway and try it; what does not come up, or answers wrongly, is left out."""
        say(f"starting {name}")
        try:
            found = start(self.stage)
        except (Absent, NotStarted) as reason:
            self.leave_out(name, str(reason))
            return
        for subject in found:
            if not self._warm(subject):
                continue
            self.subjects.append(subject)

    def leave_out(self, name: str, reason: str) -> None:
        """Say why a column is missing."""
        self.absent[name] = reason
        say(f"left out: {name}: {reason}")

    def measure(self, number: int) -> None:
        """Take every measure of every subject; subjects alternate within a measure."""
        for measure in self.measures:
            if measure.once and number > 1:
                continue
            for _ in range(measure.takes):
                for subject in filter(measure.applies, self.subjects):
                    if (subject.name, measure.name) not in self.failing:
                        self._note(number, measure, subject)

    def _note(self, number: int, measure: Measure, subject: Subject) -> None:
        """Take a measure of a subject, and keep what came out."""
        raw = self._take(measure, subject, self.options.seconds)
        wait_calm(subject.pids)  # what it still has to write is not the next one's load
        self.raw.append({"round": number, "subject": subject.name, "measure": measure.name, **raw})
        for figure, value in figures(measure, raw, subject).items():
            self.rounds[subject.name][figure].append(value)
        if raw.get("streams", self.options.streams) < self.options.streams / 2:
            self.leave_out(f"{subject.name}: {measure.name}, later rounds", raw["error"])
            self.failing.add((subject.name, measure.name))
        note = f" ERRORS {raw['errors']}: {raw['error'][:200]}" if raw["errors"] else ""
        say(f"round {number}: {measure.name}: {subject.name}{note}")

    def _take(self, measure: Measure, subject: Subject, seconds: float) -> dict[str, Any]:
        plain = self.rounds[subject.name].get("plain_requests_s")
        line = command(measure, subject, seconds, steady_rate(plain[-1] if plain else None))
        if shown(line) not in self.commands:
            self.commands.append(shown(line))
        return take(line, subject.key, seconds, self.stage.other_cores)

    def _warm(self, subject: Subject) -> bool:
        """Try every closed loop; a subject that manages none of them is left out altogether.

        Not those beside a probe: their large bodies leave memory behind, and memory is measured
        next.
        """
        loops = [one for one in self.measures if one.way == "closed" and one.needs != "probe"]
        tried = [one for one in loops if one.applies(subject)]
        for measure in tried:
            raw = take(command(measure, subject, 0.3), subject.key, 0.3, self.stage.other_cores)
            if raw["errors"]:
                self.leave_out(f"{subject.name}: {measure.name}", raw["error"])
                self.failing.add((subject.name, measure.name))
        if tried and all((subject.name, one.name) in self.failing for one in tried):
            return False
        if subject.pids:
            subject.idle_kib = memory_kib(subject.pids)
            self.rounds[subject.name]["memory_idle_mib"].append(subject.idle_kib / 1024)
        for figure, values in subject.once.items():
            self.rounds[subject.name][figure].extend(values)
        return True

    def write(self) -> None:
        """Write the report."""
        path: Path = self.options.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.report(), indent=1, default=str) + "\n")

    def report(self) -> dict[str, Any]:
        """Return all that was seen, to be written as JSON."""
        return {
            "format": _FORMAT,
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "cores": {"gateway": self.stage.gateway_cores, "load": self.stage.other_cores},
            "versions": versions(self.subjects),
            "settings": {k: v for k, v in vars(self.options).items() if k not in _UNTOLD},
            "commands": {
                "run": shown([sys.executable, "-m", "benchmarks", *sys.argv[1:]]),
                "gateways": {one.name: one.command for one in self.subjects},
                "load": self.commands,
            },
            "absent": self.absent,
            "figures": spread(self.rounds),
            "rounds": self.raw,
        }


def say(text: str) -> None:
    """Tell the progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str | int]:
    """Return what the figures depend on and no version says."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "system": platform.platform(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "interpreter_calls_per_s": calls_s(),
        "load_average": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def versions(subjects: Sequence[Subject]) -> dict[str, str]:
    """Return the versions of everything that took part."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    found |= {one.name: one.version for one in subjects if one.version}
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    found["commit"] = commit.stdout.strip() or "unknown"
    return found


def layout() -> tuple[list[int], list[int], list[int]]:
    """Return the cores of the gateway, the upstream and the load; they share what there is not."""
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        return [first], [first], [first]
    return [first], rest[:1], rest[1:] or rest


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second a measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="counted, a measure and round")
    parser.add_argument("--only", default="", help="measures or gateways (direct,nginx,ours)")
    parser.add_argument("--streams", type=int, default=500, help="paced streams at once")
    parser.add_argument("--idle-streams", type=int, default=5000, help="streams for the memory")
    parser.add_argument("--group", type=int, default=4, help="chunks the upstream writes at once")
    parser.add_argument(
        "--peers", action="store_true", default=bool(os.environ.get("PEERS")),
        help="install LiteLLM's proxy and Portkey's gateway and measure them, too; also PEERS=1",
    )  # fmt: skip
    parser.add_argument(
        "--peers-folder", type=Path, default=Path(tempfile.gettempdir()) / "ezkielyna-peers",
        help="where they are installed, once",
    )  # fmt: skip
    parser.add_argument("--url", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--key", default="", help="the key for every --url")
    parser.add_argument("--upstream-port", type=int, default=0, help="fixed, for --url gateways")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest.json"))
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 1.0)
    return options


def _gateways(options: argparse.Namespace) -> dict[str, Callable[[Stage], list[Subject]]]:
    known: dict[str, Callable[[Stage], list[Subject]]] = {
        "direct": direct,
        "nginx": nginx,
        "ours, llhttp": ours("llhttp", priced=True),
        "ours, llhttp, no money": ours("llhttp", priced=False, moneyless="usage", only=("plain",)),
        "ours, llhttp, relay": ours("llhttp", priced=False, moneyless="relay", only=("plain",)),
        "ours, tornado": ours("tornado", priced=False),
        "ours, llhttp, 2 workers": ours(
            "llhttp", priced=False, workers=2, only=("plain", "balance")
        ),
    }
    if options.peers:
        known |= peers(options.peers_folder)
    chosen = [part for part in options.only.split(",") if part]
    if any(name.startswith(part) for name in known for part in chosen):
        known = {n: s for n, s in known.items() if any(n.startswith(part) for part in chosen)}
    for one in options.url:
        name, _, url = one.partition("=")
        known[name] = given(name, url, options.key)
    return known


def _measures(options: argparse.Namespace) -> list[Measure]:
    every = measures(
        options.seconds,
        streams=options.streams,
        idle_streams=options.idle_streams,
        group=options.group,
    )
    chosen = set(options.only.split(","))
    wanted = [one for one in every if one.name in chosen]
    return wanted or [one for one in every if one.name != "nulls"]


def run(options: argparse.Namespace) -> Session:
    """Start everything, measure in rounds, stop everything."""
    raise_file_limit()  # the processes started from here inherit it
    gateway, upstream, load = layout()
    chosen = _measures(options)
    with tempfile.TemporaryDirectory(prefix="ezkielyna-bench-") as folder, ExitStack() as running:
        port = options.upstream_port or free_port()
        scripts = list(dict.fromkeys(script for one in chosen for script in one.scripts))
        stage = Stage(Path(folder), port, gateway, load, scripts, running)
        line = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
        stage.start("upstream", line, port, upstream)
        session = Session(options, stage, chosen)
        for name, start in _gateways(options).items():
            session.open(name, start)
        for number in range(1, options.rounds + 1):
            session.measure(number)
            session.write()  # a run that is stopped has told what it knew
        return session


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    if not options.only or "limiters" in options.only.split(","):
        limiters.main()
    if options.only == "limiters":
        return 0
    session = run(options)
    print(render([one.name for one in session.subjects], session.rounds))
    for name, reason in session.absent.items():
        print(f"absent: {name}: {reason}")
    session.write()
    print(f"\nthis Python makes {calls_s() / 1e6:.1f} million calls a second")
    print(f"written: {options.output}")
    return 0 if session.subjects else 1


if __name__ == "__main__":
    sys.exit(main())
