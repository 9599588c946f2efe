"""Processes: one worker here, or a supervisor of several; signals and drain.

Every worker listens on the same address by SO_REUSEPORT, so the kernel spreads connections and a
worker's death concerns nobody else. The supervisor only starts workers, starts a new one when one
dies, and passes signals on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from ezkielyna.app import App
from ezkielyna.contract.errors import GatewayError, Unavailable
from ezkielyna.plugins import Registries
from ezkielyna.settings import Settings
from ezkielyna.storage.embedded import open_storage
from ezkielyna.wire.listener import ListenerLimits
from ezkielyna.wire.request_id import new_request_id
from ezkielyna.wire.tornado_listener import AnyListener, listener

log = structlog.stdlib.get_logger("ezkielyna.server")

CLOSE_GRACE_S = 5.0
RESTART_PAUSE_S = 0.5
BACKLOG = 4096
COLLECTIONS = (2_000, 2, 1_000)
"""Objects that came, not yet to go, before the young are looked at; how often before those that
lived through it are; and how often those, before all are, some ten minutes of a full load."""
READY_FD = "EZKIELYNA_READY_FD"


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that other workers may bind, too; raises OSError when the port is taken.

    Without SO_REUSEPORT first, a port that a stranger listens on would be shared with him.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    probe.bind((host, port))
    return probe


def refuse_taken_port(host: str, port: int) -> None:
    """Raise OSError when somebody listens there already."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


class Worker:
    """Serves in this process until a signal says to drain."""

    def __init__(
        self, settings: Settings, registries: Registries, data: Path, secret: bytes
    ) -> None:
        self._settings = settings
        self._registries = registries
        self._data = data
        self._secret = secret

    def run(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until drained; `ready` is called when connections are accepted."""
        raise_file_limit()
        uvloop.run(self._run(sock, ready))

    async def _run(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        storage = self._settings.storage
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_storage(
            storage.url, storage.database, storage.driver, self._data
        ) as database:
            app = App(self._settings, self._registries, database, self._data, self._secret)
            await app.start()
            gateway = listener(
                self._settings.server.wire, app.router, limits(self._settings), refuse=wire_refusal
            )
            await gateway.start(sock)
            quieten_collector()
            ready()
            await stop.wait()
            await drain(app, gateway, self._settings.server.drain_s)
            await app.close()


async def drain(app: App, gateway: AnyListener, drain_s: float) -> None:
    """Take no new request; let the running ones end, for `drain_s` at most; tell the rest."""
    app.pipeline.draining = True
    gateway.stop_accepting()
    gateway.close_idle()
    running = app.router.running
    if running:
        await asyncio.wait(tuple(running), timeout=drain_s)
    told = app.heartbeat.stop_all(
        Unavailable("This server stopped before the answer was complete.")
    )
    if told and running:
        await asyncio.wait(tuple(running), timeout=CLOSE_GRACE_S)
    for task in tuple(running):
        task.cancel()
    if running:
        await asyncio.wait(tuple(running), timeout=CLOSE_GRACE_S)
    await gateway.drained(CLOSE_GRACE_S)
    gateway.abort_all()


def limits(settings: Settings) -> ListenerLimits:
    """Return the listener's limits."""
    server = settings.server
    return ListenerLimits(
        max_connections=server.max_connections,
        max_body=server.max_body,
        header_bytes=server.max_header,
        header_timeout_s=server.header_timeout_s,
        idle_timeout_s=server.idle_timeout_s,
        body_timeout_s=server.body_timeout_s,
    )


def wire_refusal(error: GatewayError) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body for a refusal by the listener itself."""
    return [("x-request-id", new_request_id()), *error.headers()], error.body()


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: a stream takes two.

    Shells and service managers often begin with 1,024, for programs that use `select`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def quieten_collector() -> None:
    """Leave what lives for ever out of collections, and look at few objects at a time.

    Requests make no cycles, so what was looked at twice is hardly ever looked at again. What a
    start leaves behind is half a megabyte: to look for it would take a tenth of a second.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    gc.enable()


class Supervisor:
    """Keeps `count` workers running: processes with the same command line and one more variable."""

    def __init__(self, command: list[str], count: int) -> None:
        self._command = command
        self._count = count
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> bool:
        """Run until a signal comes and every worker has drained; False when one did not start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # The first prepares what they share, so alone, and says what is wrong; the others together.
        started = self._awaited(self._begun())
        if started:
            others = [self._begun() for _ in range(self._count - 1)]
            started = not [one for one in others if not self._awaited(one)]
        if not started:
            self._stop(signal.SIGTERM, None)
        elif not self._stopping:
            ready()
        while self._workers:
            self._reap()
        return started

    def _begun(self) -> tuple[int, int]:
        """Start a worker; return its id and the pipe at which it tells that it serves."""
        read, write = os.pipe()
        worker = subprocess.Popen(  # noqa: S603 - our own command line
            self._command, env={**os.environ, READY_FD: str(write)}, pass_fds=(write,)
        )
        self._workers[worker.pid] = worker
        if self._stopping:  # the signal came before this worker was known
            worker.terminate()
        os.close(write)
        return worker.pid, read

    def _awaited(self, begun: tuple[int, int]) -> bool:
        """Wait until a worker accepts connections; False when it did not."""
        pid, read = begun
        with os.fdopen(read, "rb") as pipe:
            started = bool(pipe.read(1))
        if not started and not self._stopping:
            log.error("a worker did not start", pid=pid)
        return started or self._stopping

    def _reap(self) -> None:
        try:
            pid, status = os.wait()
        except InterruptedError:
            return
        if self._workers.pop(pid, None) is None or self._stopping:
            return
        log.error("a worker died; starting another", pid=pid, status=status)
        time.sleep(RESTART_PAUSE_S)
        if not self._stopping:
            self._awaited(self._begun())

    def _stop(self, number: int, _: object) -> None:
        self._stopping = True
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.Signals(number))


def tell_supervisor() -> None:
    """Write one byte to the pipe that a supervisor waits at."""
    descriptor = int(os.environ[READY_FD])
    os.write(descriptor, b"1")
    os.close(descriptor)


def supervised() -> bool:
    """True in a process that a supervisor started."""
    return READY_FD in os.environ


def this_command() -> list[str]:
    """Return the command line that starts another process like this one."""
    return [sys.executable, "-m", "ezkielyna", *sys.argv[1:]]
