"""`ezkielyna` as a process: started, watched, ended by its id."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ezkielyna.testing.forked import Forked


class Serving:
    """A running `ezkielyna serve`; `lines` is what it printed so far."""

    def __init__(
        self,
        arguments: list[str],
        data: Path,
        environment: dict[str, str],
        *,
        forked: bool = True,
    ) -> None:
        self.lines: list[str] = []
        start = Forked if forked else _started
        line = ["--data", str(data), "serve", *arguments]
        self.process = start(line, {**clean_environment(), **environment})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything it printed."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.wait_for("listening on ").rpartition("listening on ")[2].strip()

    def wait_for(self, text: str, within_s: float = 120.0) -> str:
        """Return the first line that holds this text."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for line in tuple(self.lines):
                if text in line:
                    return line
            if self.process.poll() is not None:
                self._reader.join(5)
                break
            time.sleep(0.02)
        raise AssertionError(f"{text!r} was not printed:\n{self.output}")

    def children(self) -> list[int]:
        """Return the ids of the processes that this one started and that live."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self, within_s: float = 60.0) -> int:
        """Send SIGTERM and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            error.add_note(f"children {self.children()}, printed:\n{self.output}")
            raise
        self._reader.join(5)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                self.lines.append(line)


def _started(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "ezkielyna", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


@contextmanager
def serving(
    arguments: list[str], data: Path, *, forked: bool = True, **environment: str
) -> Iterator[Serving]:
    """Run `ezkielyna serve` and end it, by force if it must be.

    With `forked=False` it is a program of its own, as a shell starts it: for tests of that.
    """
    process = Serving(arguments, data, environment, forked=forked)
    try:
        yield process
    finally:
        try:
            process.stop()
        except subprocess.TimeoutExpired:
            process.process.kill()
            process.process.wait(5)
            raise


def ezkielyna(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, forked."""
    line = ["--data", str(data), *arguments]
    process = Forked(line, clean_environment(), merged=False)
    with process.stdout as stdout, process.stderr as stderr, ThreadPoolExecutor(2) as readers:
        out, errors = readers.submit(stdout.read), readers.submit(stderr.read)
        try:
            status = process.wait(60)
        finally:
            process.kill()
    return subprocess.CompletedProcess(line, status, out.result(), errors.result())


async def output_of(*command: str, **environment: str) -> str:
    """Run a program to its end, beside the event loop; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (command[-1], out.decode(), err.decode())
    return out.decode()


def clean_environment() -> dict[str, str]:
    """Return the environment without what would configure a gateway or reach an upstream."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EZKIELYNA_") and not name.endswith("_API_KEY")
    }
