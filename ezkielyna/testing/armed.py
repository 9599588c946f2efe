"""Processes that die at a crash point, forked from one that has imported all but the ledger.

What a crash point does is fixed when the ledger is imported. So that happens in the fork, and the
rest, nine tenths of what such a process would take to start, happens once a test run.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
from pathlib import Path

_IMPORTED = (
    "ezkielyna.storage.accounts",
    "ezkielyna.storage.batches",
    "ezkielyna.storage.compaction",
    "ezkielyna.storage.credits",
    "ezkielyna.storage.driver",
    "ezkielyna.storage.idempotency",
    "ezkielyna.testing.armed",
    "motor.motor_asyncio",
)


async def killed(point: str, url: str, database: str, data: Path, account: str) -> int | None:
    """Run a process with a ledger, armed with a crash point; return its exit status, < 0 a signal.

    See `ledger_process` for what it does there.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(_IMPORTED))
    process = forks.Process(target=_run, args=(point, url, database, data, account))
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.join)
    return process.exitcode


def _run(point: str, url: str, database: str, data: Path, account: str) -> None:
    os.environ["EZKIELYNA_CRASH_POINT"] = point
    program = importlib.import_module("ezkielyna.testing.ledger_process")
    asyncio.run(program.main(url, database, data, account))
