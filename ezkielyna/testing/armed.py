"""Processes that die at a crash point, forked from one that has imported everything.

What a crash point does is fixed when the ledger is imported, so the fork imports that anew: a tenth
of what such a process would take to start.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path

from ezkielyna.ledger import crash
from ezkielyna.testing.forked import imported_anew, server_of_forks

PROGRAM = "ezkielyna.testing.ledger_process"


async def killed(point: str, url: str, database: str, data: Path, account: str) -> int | None:
    """Run a process with a ledger, armed with a crash point; return its exit status, < 0 a signal.

    See `ledger_process` for what it does there.
    """
    process = server_of_forks().Process(target=_run, args=(point, url, database, data, account))
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.join)
    return process.exitcode


def _run(point: str, url: str, database: str, data: Path, account: str) -> None:
    os.environ[crash.VARIABLE] = point
    imported_anew("ezkielyna.ledger", PROGRAM)
    program = importlib.import_module(PROGRAM)
    asyncio.run(program.main(url, database, data, account))
