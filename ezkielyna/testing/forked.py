"""`ezkielyna` as a process that is forked from one which has imported it: in a third of the time.

Two thirds of what a gateway takes to start are imports. A server of forks, one for each process of
tests, does them once. What reads the environment while it is imported is imported anew: see
`imported_anew`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import TextIO

from ezkielyna.ledger import crash

PROGRAM = "ezkielyna"

IMPORTED = (
    "ezkielyna.app",
    "ezkielyna.cli.accounts",
    "ezkielyna.cli.keys",
    "ezkielyna.cli.ledger",
    "ezkielyna.cli.main",
    "ezkielyna.cli.serve",
    "ezkielyna.server",
    "ezkielyna.storage.embedded",
    "ezkielyna.testing.armed",
    "ezkielyna.testing.forked",
    "ezkielyna.testing.ledger_process",
    "ezkielyna_openai",
    "ezkielyna_redis",
    "ezkielyna_simulator",
    "motor.motor_asyncio",
    "uvloop",
)
"""What the server of forks imports; what is not installed is left out."""


class Forked:
    """A command of `ezkielyna`, with as much of `subprocess.Popen` as tests need.

    `stdout` and `stderr` are what it prints; both are one where it is `merged`.
    """

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], *, merged: bool = True
    ) -> None:
        self.stdout, out = _pipe()
        self.stderr, errors = (self.stdout, out) if merged else _pipe()
        with out, errors:
            self._process = server_of_forks().Process(
                target=_run, args=(list(arguments), environment, out, errors)
            )
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; raises TimeoutExpired."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(PROGRAM, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def server_of_forks() -> ForkServerContext:
    """Return what starts processes as forks, with all of this imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def imported_anew(*packages: str) -> None:
    """Let what these packages read from the environment be read again."""
    for name in list(sys.modules):
        if name.startswith(packages):
            del sys.modules[name]


def _pipe() -> tuple[TextIO, Connection]:
    """Return what to read from, and what a process gets to write to."""
    read, write = multiprocessing.Pipe(duplex=False)
    with read:
        return open(os.dup(read.fileno()), encoding="utf-8"), write


def _run(
    arguments: list[str], environment: dict[str, str], out: Connection, errors: Connection
) -> None:
    os.dup2(out.fileno(), sys.stdout.fileno())
    os.dup2(errors.fileno(), sys.stderr.fileno())
    out.close()
    errors.close()
    os.environ.clear()
    os.environ.update(environment)
    if environment.get(crash.VARIABLE):
        imported_anew("ezkielyna")
    sys.argv = [PROGRAM, *arguments]
    importlib.import_module("ezkielyna.cli.main").main(prog_name=PROGRAM)
