"""Fixtures with a real database: one server a test run, an empty database for every test.

A database takes fifty commands to make and four to empty, so those of passed tests are used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pymongo import MongoClient
from tornado.ioloop import IOLoop

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import connect
from ezkielyna.storage.embedded import embedded_database
from ezkielyna.storage.errors import StorageAway
from ezkielyna.storage.schema import SHAPES, VERSION, prepare


@dataclass(frozen=True)
class DatabaseServer:
    """A running server: where it listens, and the folder it keeps its documents in."""

    url: str
    data: Path
    client: MongoClient[dict[str, Any]]
    """For what tests do to the server itself, beside the connections that they look at."""

    _empty: list[str] = field(default_factory=list)

    def take(self) -> str:
        """Return the name of an empty database that nobody else gets; it may need its schema."""
        return self._empty.pop() if self._empty else f"test_{uuid.uuid4().hex[:12]}"

    def give_back(self, name: str) -> None:
        """Empty a database with its schema and keep it for the next who takes one.

        Whoever used it must have closed its connections. A transaction that was cut off would
        otherwise stay open for a minute, and be in the way of the next test's.
        """
        admin, database = self.client.admin, self.client[name]
        admin.command("killAllSessions", [])
        for collection in set(database.list_collection_names()) - SHAPES.keys():
            database.drop_collection(collection)
        assert not admin.command(_emptying(name))["nErrors"]
        database["meta"].insert_one({"_id": "schema", "version": VERSION})
        self._empty.append(name)


def _emptying(name: str) -> dict[str, Any]:
    """Return the one command that deletes every document of a database with its schema."""
    return {
        "bulkWrite": 1,
        "ops": [{"delete": at, "filter": {}, "multi": True} for at in range(len(SHAPES))],
        "nsInfo": [{"ns": f"{name}.{collection}"} for collection in SHAPES],
        "errorsOnly": True,
    }


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Give the embedded server, started once; with fail points, on a free port.

    Its watching task needs a loop that lives as long as the session: a thread's of its own.
    """
    data = tmp_path_factory.mktemp("database")
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stack = AsyncExitStack()

    def run(coroutine: object) -> Future[object]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)  # type: ignore[arg-type]

    try:
        url = run(stack.enter_async_context(embedded_database(data, test_commands=True))).result(60)
        with MongoClient[dict[str, Any]](str(url)) as client:
            yield DatabaseServer(str(url), data, client)
    finally:
        run(stack.aclose()).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def patiently_connected(url: str, name: str) -> Database:
    """Connect; on a busy machine the server may answer later than the driver waits."""
    for _ in range(9):
        with contextlib.suppress(StorageAway):
            return await connect(url, name, "motor", count=True)
    return await connect(url, name, "motor", count=True)


@pytest.fixture
def database(
    database_server: DatabaseServer, io_loop: IOLoop, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """Give an empty database with its schema, on motor; it counts its commands."""
    name = database_server.take()
    failed_before = request.session.testsfailed

    async def opened() -> Database:
        fresh = await patiently_connected(database_server.url, name)
        await prepare(fresh)
        fresh.commands.clear()
        return fresh

    fresh: Database = io_loop.run_sync(opened)
    yield fresh
    io_loop.run_sync(fresh.close)
    if request.session.testsfailed == failed_before:
        database_server.give_back(name)
