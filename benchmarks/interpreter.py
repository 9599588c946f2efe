"""`python3 benchmarks/interpreter.py`: print the Python on the PATH that `.venv` is made with.

It is the first `python3` that is new enough and can make environments, unless another one is much
faster: builds of one version differ. One without profile-guided optimization, as pyenv makes them
when not told otherwise, makes two thirds of the calls of a distribution's, and the gateway with it
answers four requests where that one answers five. Why another one was taken goes to standard error.

It runs before anything is installed, so it needs nothing but a Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OLDEST = (3, 11)
CALLS = 100_000
TRIES = 5
ROUNDS = 5
"""Several Pythons are timed in turns: a machine that others use, too, can be slow for a while."""

MUCH_FASTER = 1.2
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments can be made with, and its method calls a second."""

    path: str
    version: str
    calls_s: int

    def __str__(self) -> str:
        return f"{self.path} ({self.version}, {self.calls_s / 1e6:.1f} million calls a second)"


def calls_s() -> int:
    """Return how many method calls a second this Python makes, at its best of several tries."""

    class Counted:
        def __init__(self, number: int) -> None:
            self.number = number

        def more(self) -> int:
            return self.number + 1

    def once() -> float:
        started = time.process_time()
        for number in range(CALLS):
            Counted(number).more()
        return time.process_time() - started

    return int(2 * CALLS / min(once() for _ in range(TRIES)))


def told(path: Path) -> Interpreter | None:
    """Return what a Python says of itself; None where it is too old, or makes no environments."""
    try:
        done = subprocess.run(
            [str(path), __file__, "--tell"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        return Interpreter(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def tell() -> str:
    """Return what `told` reads; raises ImportError or SystemExit where this Python will not do."""
    if sys.version_info < OLDEST:
        sys.exit(1)
    import ensurepip  # noqa: F401 — distributions leave it out
    import venv  # noqa: F401

    version = ".".join(map(str, sys.version_info[:3]))
    return json.dumps(asdict(Interpreter(sys.executable, version, calls_s())))


def on_path(folders: Iterable[str]) -> list[Path]:
    """Return the programs named `python3` in the folders, in their order, each once."""
    found: dict[Path, Path] = {}
    for program in (Path(folder) / "python3" for folder in folders if folder):
        if program.is_file():
            found.setdefault(program.resolve(), program)
    return list(found.values())


def compared(programs: Sequence[Path]) -> list[Interpreter]:
    """Return those that will do, in their order, each at its best of several rounds."""
    best = {program: one for program in programs if (one := told(program))}
    for _ in range(ROUNDS - 1 if len(best) > 1 else 0):
        for program, known in best.items():
            best[program] = max(known, told(program) or known, key=lambda one: one.calls_s)
    return list(best.values())


def chosen(found: Sequence[Interpreter]) -> Interpreter | None:
    """Return the first, or the fastest where that one is much faster; None where there is none."""
    if not found:
        return None
    fastest = max(found, key=lambda one: one.calls_s)
    return fastest if fastest.calls_s >= MUCH_FASTER * found[0].calls_s else found[0]


def main() -> None:
    """Print one path; `python3` where none will do, whose own error then says what is missing."""
    if sys.argv[1:] == ["--tell"]:
        print(tell())
        return
    found = compared(on_path(os.environ.get("PATH", "").split(os.pathsep)))
    taken = chosen(found)
    if taken and taken != found[0]:
        print(
            f"Making .venv with {taken}: the first on the PATH is much slower, {found[0]},"
            " built without optimization, it seems. PYTHON=python3 would keep to that one.",
            file=sys.stderr,
        )
    print(taken.path if taken else "python3")


if __name__ == "__main__":
    main()
