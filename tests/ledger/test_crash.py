"""A process is killed at every crash point; what a sibling then finds must agree with its diary."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.crash import CRASH_POINTS
from ezkielyna.ledger.verify import verify
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageError
from ezkielyna.testing.armed import killed
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.ledger import balance, dump, funded

FUNDS = 1_000_000
LATER = {"after_begin": 150, "before_begin": 150, "before_end": 150, "after_end": 150}
"""At which pass of a point to kill the second time; the second pass elsewhere."""

ROUNDS = 25 if os.environ.get("EZKIELYNA_SOAK") else 1
OF_GATEWAY = ("before_kept", "after_kept")
"""Met by requests with a key of their own; `tests/faults/test_idempotency.py` kills there."""

POINTS = [point for point in CRASH_POINTS if point not in OF_GATEWAY]
CASES = [(point, n) for point in POINTS for n in (1, LATER.get(point, 2))] * ROUNDS
OF_RECOVERY = ("in_recovery", "after_recovered_batch", "before_journal_removed")
ONCE = ("after_progress", "after_return", "before_return", *OF_RECOVERY)


def diary(data: Path) -> dict[str, tuple[int, int]]:
    """Return what every request may be charged, by the last that was said of it."""
    told: dict[str, tuple[int, int]] = {}
    for line in (data / "diary").read_text().splitlines():
        request, least, most = line.split()
        told[request] = int(least), int(most)
    return told


async def recovered(database: Database, data: Path) -> None:
    """Do what a sibling does until nothing is left to recover, and leave again.

    A transaction that its process did not live to end blocks others until the server ends it.
    """
    ledger = Ledger(database, data)
    await ledger.open()
    ends = time.monotonic() + 10
    while len(list((data / "journal").iterdir())) > 1 and time.monotonic() < ends:
        with contextlib.suppress(StorageError):
            await ledger.recover()
        await asyncio.sleep(0.1)
    await ledger.close()


async def agrees(database: Database, told: dict[str, tuple[int, int]]) -> None:
    """Fail unless usage, ledger and diary say the same."""
    costs = {found["_id"]: found["cost"] async for found in database["usage"].find({})}
    for request, (least, most) in told.items():
        assert least <= costs.get(request, -1) <= most, request
    assert set(costs) <= set(told)
    assert await balance(database, "ann") == FUNDS - sum(costs.values())
    assert await database["leases"].count_documents({}) == 0
    verdict = await verify(database, pause_s=0)
    assert verdict.faults == []


@pytest.mark.parametrize(("point", "number"), CASES)
async def test_killed_and_recovered(
    point: str, number: int, database: Database, database_server: DatabaseServer, tmp_path: Path
) -> None:
    await funded(database, "ann", FUNDS)
    where = database_server.url, database.name, tmp_path, "ann"
    if point in OF_RECOVERY:
        code = await killed(f"after_end:{70 * number}", *where)
        assert code == -signal.SIGKILL
    passed = 1 if point in ONCE else number
    code = await killed(f"{point}:{passed}", *where)
    assert code == -signal.SIGKILL
    shutil.copytree(tmp_path / "journal", tmp_path / "again" / "journal")
    await recovered(database, tmp_path)
    await agrees(database, diary(tmp_path))
    before = await dump(database)
    await recovered(database, tmp_path / "again")
    assert await dump(database) == before
