"""The embedded database: one for all, as long as somebody uses it, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ezkielyna.storage import embedded
from ezkielyna.storage.driver import Driver, connect
from ezkielyna.storage.embedded import embedded_database, open_storage
from ezkielyna.storage.errors import StorageAway, StorageError

pytestmark = pytest.mark.usefixtures("abandoned_sockets")

USE = """
import asyncio, sys
from pathlib import Path
from ezkielyna.storage.embedded import embedded_database
async def main():
    async with embedded_database(Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def use(data: Path) -> subprocess.Popen[str]:
    """Start a process that uses the database until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USE, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


def notice(data: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((data / "db.json").read_text())
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until(condition: Callable[[], bool], limit_s: float) -> float:
    """Return how long it took; fail after the limit."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit_s, "it did not happen in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def test_two_starters_at_once_share_one_database(tmp_path: Path) -> None:
    starters = [use(tmp_path) for _ in range(3)]
    urls = {await asyncio.to_thread(first_line, starter) for starter in starters}
    assert len(urls) == 1
    assert urls.pop().startswith("mongodb://127.0.0.1:")
    found = notice(tmp_path)
    end(starters[0])
    end(starters[1])
    await asyncio.sleep(1.5)
    assert alive(found["pid"]), "somebody still uses it"
    end(starters[2])
    await until(lambda: not alive(found["pid"]) and not alive(found["keeper"]), 2.5)
    assert not (tmp_path / "db.json").exists()


async def test_a_killed_user_leaves_nothing_behind_and_the_documents(tmp_path: Path) -> None:
    user = use(tmp_path)
    url = await asyncio.to_thread(first_line, user)
    database = await connect(url, "x", "motor")
    await database["things"].insert_one({"_id": 1})
    found = notice(tmp_path)
    user.kill()
    user.communicate()
    await until(lambda: not alive(found["pid"]) and not alive(found["keeper"]), 2.0)
    await database.close()
    async with open_storage("embedded:", "x", "motor", tmp_path) as again:
        assert await again["things"].find_one({"_id": 1}) == {"_id": 1}


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
async def test_a_killed_server_comes_back_on_its_port(tmp_path: Path, driver: Driver) -> None:
    async with open_storage("embedded:", "x", driver, tmp_path) as database:
        await database["things"].insert_one({"_id": 1})
        found = notice(tmp_path)
        # The keeper stands still, so that the server stays away.
        os.kill(found["keeper"], signal.SIGSTOP)
        os.kill(found["pid"], signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(StorageAway):
            await database["things"].find_one({"_id": 1})
        assert time.monotonic() - started < 3
        os.kill(found["keeper"], signal.SIGCONT)
        await until(lambda: notice(tmp_path)["pid"] != found["pid"], 5)
        assert notice(tmp_path)["port"] == found["port"]
        await database["things"].insert_one({"_id": 3})
        assert [d["_id"] async for d in database["things"].find(sort=[("_id", 1)])] == [1, 3]


async def test_a_killed_keeper_is_replaced_on_the_same_port(tmp_path: Path) -> None:
    async with open_storage("embedded:", "x", "motor", tmp_path) as database:
        found = notice(tmp_path)
        os.kill(found["keeper"], signal.SIGKILL)
        await until(lambda: not alive(found["pid"]), 1)

        def replaced() -> bool:
            try:
                return notice(tmp_path)["keeper"] != found["keeper"]
            except OSError:
                return False

        await until(replaced, 5)
        assert notice(tmp_path)["port"] == found["port"]
        await database.ping()


async def test_a_stale_notice_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "db.json").write_text('{"port": 1, "pid": 1, "keeper": 1}')
    async with embedded_database(tmp_path) as url:
        database = await connect(url, "x", "motor")
        await database.close()


async def test_a_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("in the way")
    with pytest.raises(StorageError, match=r"does not start.*db\.log"):
        async with embedded_database(tmp_path):
            pass
    (tmp_path / "db").unlink()
    async with embedded_database(tmp_path):
        pass


async def test_an_old_failure_is_not_taken_for_that_of_a_keeper_that_begins_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "db.json").write_text('{"error": "the embedded database did not start once"}')
    run = embedded._Starter._run

    def late(starter: embedded._Starter) -> None:
        threading.Timer(0.5, run, (starter,)).start()

    monkeypatch.setattr(embedded._Starter, "_run", late)
    async with embedded_database(tmp_path):
        pass


async def test_a_missing_server_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PROGRAM", "no-such-program")
    with pytest.raises(StorageError, match=r"install ezkielyna\[embedded\] or set storage\.url"):
        async with embedded_database(tmp_path):
            pass


async def test_the_folder_is_private(tmp_path: Path) -> None:
    async with embedded_database(tmp_path / "data"):
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0
