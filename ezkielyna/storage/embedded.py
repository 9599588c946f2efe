"""The embedded database: a server of its own, shared by all who use one data folder.

The gateway and every command hold `db.lock` shared while they use it; the first one starts the
keeper (`keeper.py`), which runs the server and ends it after the last one. Because the system drops
the locks of a process that dies, nothing is left behind, however a process ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ezkielyna.storage import keeper
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Driver, connect
from ezkielyna.storage.errors import StorageAway, StorageError
from ezkielyna.storage.schema import prepare

EMBEDDED = "embedded:"
PROGRAM = "secantusd-py"
START_S = 40.0
CONNECT_S = 20.0
POLL_S = 0.03
WATCH_S = 0.5
RESPAWN_S = 1.0


@asynccontextmanager
async def open_storage(
    url: str, database: str, driver: Driver, data: Path, *, count: bool = False
) -> AsyncIterator[Database]:
    """Open the database that `storage.url` names: `embedded:` in `data`, or `mongodb://…`.

    It has its schema.

    Raises StorageAway when it cannot be reached, SchemaMismatch for documents of another version,
    StorageError for a url that cannot be used.
    """
    async with AsyncExitStack() as stack:
        patience_s = 0.0
        if url == EMBEDDED:
            url = await stack.enter_async_context(embedded_database(data))
            patience_s = CONNECT_S
        opened = await _connected(url, database, driver, count=count, patience_s=patience_s)
        stack.push_async_callback(opened.close)
        await prepare(opened)
        yield opened


async def _connected(
    url: str, database: str, driver: Driver, *, count: bool, patience_s: float
) -> Database:
    """Connect; a server of our own on a busy machine may take longer than the driver waits."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return await connect(url, database, driver, count=count)
        except StorageAway:
            if time.monotonic() >= end:
                raise


@asynccontextmanager
async def embedded_database(data: Path, *, test_commands: bool = False) -> AsyncIterator[str]:
    """Use the embedded database in a data folder and give its url; start it if nobody did.

    While used, a server that dies is started again on the same port. Raises StorageError when the
    extra is not installed or the server does not start.
    """
    program = _program()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - once, at start
    data = data.resolve()  # noqa: ASYNC240 - the keeper works in another folder
    starter = _Starter(data, program, test_commands)
    with (data / "db.lock").open("a+") as lock:
        await _share(lock)
        port = await starter.started()
        watching = asyncio.create_task(starter.watch())
        try:
            yield f"mongodb://127.0.0.1:{port}/?directConnection=true"
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


class _Starter:
    """Sees to it that the data folder has a keeper."""

    def __init__(self, data: Path, program: str, test_commands: bool) -> None:
        self._data = data
        self._command = [sys.executable, "-I", "-S", keeper.__file__, str(data), program]
        self._command += ["--test-commands"] * test_commands
        self._spawned_at = float("-inf")

    async def started(self) -> int:
        """Return the port once the server accepts connections. Raises StorageError."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if not _kept(self._data):
                self._refuse_failure()
                await self._spawn()
            port = _notice(self._data).get("port")
            if port is not None and keeper.accepts(port):
                return int(port)
            await asyncio.sleep(POLL_S)
        raise StorageAway(f"the embedded database does not start; see {self._data / 'db.log'}")

    async def watch(self) -> None:
        """Start a new keeper whenever the keeper is gone; it takes over the port."""
        while True:
            await asyncio.sleep(WATCH_S)
            # Too many open files, a full disk: such things pass, and the next look finds out.
            with suppress(OSError):
                if not _kept(self._data):
                    await self._spawn()

    def _refuse_failure(self) -> None:
        """Raise what our keeper left as its last word."""
        failure = _notice(self._data).get("error")
        if failure and self._spawned_at > 0:
            raise StorageError(failure)

    def _forget_failure(self) -> None:
        """Drop the last word of an earlier keeper: ours may take a while to begin."""
        if "error" in _notice(self._data):
            (self._data / "db.json").unlink(missing_ok=True)

    async def _spawn(self) -> None:
        if time.monotonic() - self._spawned_at < RESPAWN_S:
            return
        if self._spawned_at < 0:
            self._forget_failure()
        self._spawned_at = time.monotonic()
        await asyncio.to_thread(self._run)

    def _run(self) -> None:
        """Start the keeper; it detaches at once, so this waits for the fork alone."""
        with (self._data / "db.log").open("ab") as log:
            subprocess.run(  # noqa: S603
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,
            )


async def _share(lock: IO[str]) -> None:
    """Take the shared lock; a keeper that is going away holds it for a moment."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(POLL_S)
        else:
            return


def _kept(data: Path) -> bool:
    """True while a keeper holds its lock."""
    with (data / "keeper.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _notice(data: Path) -> dict[str, Any]:
    try:
        notice: dict[str, Any] = json.loads((data / "db.json").read_text())
    except (OSError, ValueError):
        return {}
    return notice


def _program() -> str:
    """Return the path of the server's program: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / PROGRAM
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(PROGRAM)
    if found is None:
        raise StorageError("the embedded database: install ezkielyna[embedded] or set storage.url")
    return found
