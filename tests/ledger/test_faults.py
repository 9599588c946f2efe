"""A database that fails in the middle: nothing is charged twice, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from ezkielyna.contract.errors import Unavailable
from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.verify import verify
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import connect
from ezkielyna.storage.errors import StorageError
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.ledger import accepted, balance, end, funded

FUNDS = 1_000_000
COMMANDS = ("commitTransaction", "insert", "update", "findAndModify", "find")
FAULTS: list[dict[str, Any]] = [
    {"closeConnection": True},
    {"errorCode": 112, "errorLabels": ["TransientTransactionError"]},
    {"errorCode": 64},
    {"errorCode": 50},
]
"""Lost connections, conflicts, writes that the majority did not confirm in time, slow commands."""

SEEDS, ROUNDS = (100, 25) if os.environ.get("EZKIELYNA_SOAK") else (3, 12)


async def fail(server: DatabaseServer, times: int, data: dict[str, Any]) -> None:
    """Make the server fail the next commands of a kind."""
    admin = await connect(server.url, "admin")
    mode: Any = {"times": times} if times else "off"
    await admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    await admin.close()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_fault_charges_twice(
    seed: int, database: Database, database_server: DatabaseServer, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    await funded(database, "ann", FUNDS)
    ledger = Ledger(database, tmp_path)
    await ledger.open()
    spent = 0
    for number in range(ROUNDS):
        fault = {"failCommands": [chance.choice(COMMANDS)], **chance.choice(FAULTS)}
        await fail(database_server, chance.randint(1, 3), fault)
        spent += await serve(ledger, number, chance)
        await ignore(ledger.settle_some())
        await ignore(ledger.tick())
    await fail(database_server, 0, {"failCommands": ["find"], "errorCode": 91})
    await ledger.close()
    costs = [found["cost"] async for found in database["usage"].find({})]
    assert sum(costs) == spent > 0
    assert await balance(database, "ann") == FUNDS - spent
    assert await database["leases"].count_documents({}) == 0
    assert (await verify(database, pause_s=0)).faults == []


class Cutter:
    """Stands before the database and cuts a connection when an answer is due: it was done."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.due = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, commands = await asyncio.open_connection("127.0.0.1", self._port)
        for task in (
            asyncio.ensure_future(self._carry(reader, commands, False)),
            asyncio.ensure_future(self._carry(answers, writer, True)),
        ):
            self._tasks.add(task)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, answers: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if answers and self._falls():
                    break
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()

    def _falls(self) -> bool:
        """True for the answer that is due to be lost."""
        self.due -= 1
        self.cuts += self.due == 0
        return self.due == 0

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_lost_reply_charges_twice(
    seed: int, database: Database, database_server: DatabaseServer, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    await funded(database, "ann", FUNDS)
    port = database_server.url.split(":")[2].split("/")[0]
    cutter = Cutter(int(port))
    url = database_server.url.replace(port, str(await cutter.start()))
    link = await connect(url, database.name)
    ledger = Ledger(link, tmp_path)
    await ledger.open()
    spent = 0
    for number in range(ROUNDS):
        cutter.due = chance.randint(1, 12)
        spent += await serve(ledger, number, chance)
        await ignore(ledger.settle_some())
        await ignore(ledger.tick())
    await ledger.close()
    await link.close()
    await cutter.close()
    costs = [found["cost"] async for found in database["usage"].find({})]
    assert cutter.cuts
    assert sum(costs) == spent > 0
    assert await balance(database, "ann") == FUNDS - spent
    assert await database["leases"].count_documents({}) == 0
    assert (await verify(database, pause_s=0)).faults == []


async def serve(ledger: Ledger, number: int, chance: random.Random) -> int:
    try:
        reservation = await ledger.reserve(
            accepted("ann", f"req_{number}"), chance.randint(1, 90_000), 1
        )
    except Unavailable:
        return 0
    cost = chance.randint(0, reservation.amount)
    end(reservation, cost)
    return cost


async def ignore(work: Any) -> None:
    try:
        await work
    except StorageError:
        await asyncio.sleep(0)
