"""The keeper: a small process that runs the embedded database for as long as somebody uses it.

Run as a program by `embedded.py`, with the standard library alone, so that it starts at once and
stays small. Two advisory locks, which the system drops when their process dies, say all:

- `db.lock`: everybody who uses the database holds it shared. When the keeper gets it exclusively,
  nobody is left: it stops the database and goes.
- `keeper.lock`: the keeper holds it exclusively, so there is one, and `db.json` is true only while
  it is held.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

POLL_S = 0.1
LINGER_S = 0.7
"""How long the database stays after its last user: commands in a row need it started once."""
START_S = 30.0
STOP_S = 1.0
TRIES = 4
LOG_BYTES = 1_000_000


def main() -> int:
    """Detach from the caller, then keep the database until nobody uses it."""
    parser = argparse.ArgumentParser(prog="ezkielyna.storage.keeper")
    parser.add_argument("data", type=Path)
    parser.add_argument("server", help="path of the database server's program")
    parser.add_argument("--test-commands", action="store_true")
    arguments = parser.parse_args()
    _detach()
    return Keeper(arguments.data, arguments.server, arguments.test_commands).run()


class Keeper:
    """Runs one server on one data folder. The port stays the same for as long as it can."""

    def __init__(self, data: Path, server: str, test_commands: bool) -> None:
        self._data = data
        self._server = server
        self._test_commands = test_commands
        self._lock = (data / "keeper.lock").open("a+")
        self._users = (data / "db.lock").open("a+")
        self._notice = data / "db.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def run(self) -> int:
        """Return 0 when nobody uses the database, or another keeper is there; 1 when it failed."""
        if not _patiently(lambda: _locked(self._lock), 0.5):
            return 0
        self._port = self._former_port() or _free_port()
        self._notice.unlink(missing_ok=True)
        status = 0
        try:
            self._keep()
        except ServerFailed as error:
            self._announce({"error": str(error)})
            status = 1
        finally:
            self._stop()
            if not status:
                self._notice.unlink(missing_ok=True)
            # Free before `db.lock`: whoever gets that one must not take us for alive.
            self._lock.close()
        return status

    def _keep(self) -> None:
        self._start()
        unused_since: float | None = None
        while True:
            time.sleep(POLL_S)
            if self._process is None or self._process.poll() is not None:
                self._start()
            if not _locked(self._users):
                unused_since = None
                continue
            now = time.monotonic()
            unused_since = unused_since or now
            if now - unused_since >= LINGER_S:
                return
            fcntl.flock(self._users, fcntl.LOCK_UN)

    def _start(self) -> None:
        """Start the server and announce it. Raises ServerFailed."""
        for attempt in range(TRIES):
            self._process = process = self._spawn()
            if self._came_up(process):
                self._announce({"port": self._port, "pid": process.pid, "keeper": os.getpid()})
                return
            self._stop()
            if attempt:
                # Somebody took the port. Left late: those who are connected know no other.
                self._port = _free_port()
            time.sleep(0.1 * attempt)
        raise ServerFailed(f"the embedded database does not start; see {self._data / 'db.log'}")

    def _came_up(self, process: subprocess.Popen[bytes]) -> bool:
        _patiently(lambda: process.poll() is not None or accepts(self._port), START_S)
        return process.poll() is None and accepts(self._port)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = self._data / "db.toml"
        settings.write_text("# Empty, so that the server reads no other configuration.\n")
        command = [self._server, "--config", str(settings), "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--storage-path", str(self._data / "db")]
        command += ["--sync-on-commit", "--cache-size", "256M", "--log-level", "WARNING"]
        command += ["--enable-test-commands"] * self._test_commands
        log = self._data / "db.log"
        mode = "ab" if log.exists() and log.stat().st_size < LOG_BYTES else "wb"
        with log.open(mode) as output:
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread, nothing to deadlock
            )

    def _stop(self) -> None:
        """End the server. It commits with a sync, so that a kill loses nothing."""
        process, port = self._process, self._port
        self._process = None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        # A connection wakes the server's accepting thread, which otherwise takes two seconds.
        if not _patiently(lambda: process.poll() is not None or _poked(port), STOP_S):
            process.kill()
            process.wait()

    def _former_port(self) -> int | None:
        """Return the port of a keeper that was killed, if it is free: its users still know it."""
        try:
            port = int(json.loads(self._notice.read_text())["port"])
        except (OSError, ValueError, KeyError):
            return None
        return port if _patiently(lambda: _bindable(port), 1.0) else None

    def _announce(self, notice: dict[str, object]) -> None:
        draft = self._notice.with_suffix(".new")
        draft.write_text(json.dumps(notice))
        draft.replace(self._notice)


class ServerFailed(Exception):
    """The server did not come up."""


def _detach() -> None:
    """Leave the caller's session, folder and children, so that its end is not ours."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _die_with_parent() -> None:
    """Ask Linux to kill the server with its keeper (prctl 1 is PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _locked(file: IO[str]) -> bool:
    """Take the exclusive lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _patiently(condition: Callable[[], bool], limit_s: float) -> bool:
    """Return True as soon as the condition holds, False when it does not within the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """True when something on this machine takes connections at the port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _poked(port: int) -> bool:
    """Connect and go away; never what `_patiently` waits for."""
    accepts(port)
    return False


if __name__ == "__main__":
    sys.exit(main())
