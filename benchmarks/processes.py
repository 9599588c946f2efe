"""Processes to measure: started on chosen cores, watched from outside through /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_START_S = 30.0
_CALM_SHARE = 0.1
_STOP_S = 15.0


class NotStarted(Exception):
    """A process did not come up; the text says what it wrote last."""


class Started:
    """A process of ours: pinned, its output in a file, gone when `stop` returns."""

    def __init__(
        self,
        command: Sequence[str],
        cores: Iterable[int],
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        wanted = set(cores)
        self.command = list(command)
        self.others: list[int] = []  # processes it started that are not its children
        self._log = log
        with log.open("wb") as output, on_cores(wanted):
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**surroundings(), **(environment or {})},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        """The id of the process itself."""
        return self._process.pid

    def wait_listening(self, port: int, seconds: float = _START_S) -> None:
        """Return when the port accepts; raises NotStarted when it does not, or the process ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise NotStarted(f"{' '.join(self.command)} does not listen on {port}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the process wrote."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-600:] or "it wrote nothing"

    def stop(self) -> None:
        """End the process and what it started: kindly, then by force."""
        children = {pid: command_line(pid) for pid in family(self.pid)[1:] + self.others}
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid, command in children.items():
            _end_left_over(pid, command)


def surroundings() -> dict[str, str]:
    """Return the environment without what would configure what is measured.

    Nor what would have Python compile every module at every start, which no installation does.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EZKIELYNA_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _end_left_over(pid: int, command: str) -> None:
    """End a child that outlived its parent; it is known by its command, for ids are used again."""
    until = time.monotonic() + _STOP_S
    while command and command_line(pid) == command:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if time.monotonic() < until else signal.SIGKILL)
        time.sleep(0.1)


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Run on these cores; processes started meanwhile stay on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def mentioning(text: str) -> list[int]:
    """Return the processes whose command line holds a text that nobody else's does."""
    every = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
    return [pid for pid in every if text in command_line(pid)]


def wait_calm(pids: Sequence[int], seconds: float = 10.0) -> None:
    """Return when the processes have next to nothing to do, or after so many seconds."""
    until = time.monotonic() + seconds
    while pids and time.monotonic() < until:
        before = cpu_s(pids)
        time.sleep(0.25)
        if cpu_s(pids) - before <= _CALM_SHARE * 0.25:
            break


def command_line(pid: int) -> str:
    """Return the command of a process, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def pin(pid: int, cores: Iterable[int]) -> None:
    """Move every thread of a process to the cores."""
    wanted = set(cores)
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), wanted)


def yielding(pid: int, by: int) -> None:
    """Have every thread of a process yield to others where they want the same core (`nice`)."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), by)


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time that the processes have used, in seconds; those gone count nothing."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def memory_kib(pids: Iterable[int]) -> int:
    """Return the memory that is the processes' own (proportional set size), in KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def seconds_to_line(command: Sequence[str], begin: str, cores: Iterable[int]) -> float:
    """Return how long a process takes to write a line that begins so; then end it.

    Raises NotStarted when it ends without.
    """
    with on_cores(cores):
        since = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=surroundings(),
        )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(begin):
                return time.monotonic() - since
        raise NotStarted(f"{shown(command)} ended without {begin!r}")
    finally:
        process.terminate()
        process.wait(_STOP_S)
        process.stdout.close()


def shown(command: Sequence[str]) -> str:
    """Return a command as it would be typed: no path tells where it ran."""
    here = Path(sys.executable).parent
    typed = (str(Path(one).relative_to(here)) if _below(one, here) else one for one in command)
    return subprocess.list2cmdline(list(typed)).replace(tempfile.gettempdir(), "TMP")


def _below(text: str, folder: Path) -> bool:
    return text.startswith(f"{folder}{os.sep}")
