"""The laboratory: gateways as processes on the session's database, or on one to be broken."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from ezkielyna.storage.database import Database
from ezkielyna.storage.embedded import open_storage
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.lab import Lab


@pytest.fixture
def lab(database: Database, database_server: DatabaseServer, tmp_path: Path) -> Lab:
    return Lab(database, database_server.url, tmp_path)


@pytest.fixture
def fragile(io_loop: IOLoop, tmp_path: Path) -> Iterator[Lab]:
    """Give a laboratory with a database of its own, which a test may stop or kill."""
    stack = AsyncExitStack()

    async def opened() -> Lab:
        storage = open_storage("embedded:", "ezkielyna", "motor", tmp_path / "data")
        return Lab(await stack.enter_async_context(storage), "embedded:", tmp_path)

    yield io_loop.run_sync(opened)
    io_loop.run_sync(stack.aclose)
