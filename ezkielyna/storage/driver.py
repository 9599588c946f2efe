"""The one file that knows motor from PyMongo's asyncio client; the same API over both.

Every write waits for the majority, every read sees what the majority has. Dates are aware and in
UTC. All errors are those of `errors.py`. A dead database shows within about two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ezkielyna.storage.collection import Collection, Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import translated
from ezkielyna.storage.link import Link

__all__ = ["Collection", "Database", "Document", "Driver", "Session", "connect"]

Driver = Literal["motor", "pymongo"]

SELECTION_MS = 2_000
"""How long a command looks for a usable server before StorageAway."""
SOCKET_MS = 10_000
HEARTBEAT_MS = 2_000
"""How often a server is asked whether it lives; one that hangs is given up after about seven
seconds, and further commands then fail after `SELECTION_MS`."""


async def connect(
    url: str, database: str, driver: Driver = "motor", *, count: bool = False
) -> Database:
    """Return the database behind `url` once it answered; the caller closes it.

    With `count`, `Database.commands` lists the name of every command that is sent. Raises
    StorageAway when it does not answer within about two seconds, StorageError for a wrong url.
    """
    commands: list[str] = []
    options: dict[str, Any] = {
        "tz_aware": True,
        "serverSelectionTimeoutMS": SELECTION_MS,
        "connectTimeoutMS": SELECTION_MS,
        "socketTimeoutMS": SOCKET_MS,
        "heartbeatFrequencyMS": HEARTBEAT_MS,
        "appname": "ezkielyna",
    }
    if count:
        options["event_listeners"] = [_Listener(commands)]
    with translated():
        link = _LINKS[driver](url, options)
    opened = Database(link, database, commands)
    try:
        await opened.ping()
    except BaseException:
        await opened.close()
        raise
    return opened


class MotorLink(Link):
    """Motor: a pool of threads over PyMongo's synchronous client."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        from motor.motor_asyncio import AsyncIOMotorClient

        self.client = AsyncIOMotorClient(url, io_loop=asyncio.get_running_loop(), **options)

    async def start_session(self) -> Any:
        """Return a new session; motor asks a thread for it."""
        return await self.client.start_session()

    async def start_transaction(
        self, session: Any, read_concern: ReadConcern, write_concern: WriteConcern
    ) -> None:
        """Start a transaction; motor does this without waiting."""
        session.start_transaction(read_concern=read_concern, write_concern=write_concern)

    async def aggregate(self, collection: Any, pipeline: list[Any], **options: Any) -> Any:
        """Return a cursor that sends its command when first asked."""
        return collection.aggregate(pipeline, **options)

    async def watch(self, database: Any, pipeline: list[Any], **options: Any) -> Any:
        """Return an open stream; motor opens it when its context is entered."""
        return await database.watch(pipeline, **options).__aenter__()

    async def close(self) -> None:
        """Close in a thread: PyMongo says good-bye to the server, and waits for it."""
        await asyncio.get_running_loop().run_in_executor(None, self.client.delegate.close)


class PyMongoLink(Link):
    """PyMongo's own asyncio client."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        from pymongo import AsyncMongoClient

        self.client = AsyncMongoClient(url, **options)

    async def start_session(self) -> Any:
        """Return a new session."""
        return self.client.start_session()

    async def start_transaction(
        self, session: Any, read_concern: ReadConcern, write_concern: WriteConcern
    ) -> None:
        """Start a transaction."""
        await session.start_transaction(read_concern=read_concern, write_concern=write_concern)

    async def aggregate(self, collection: Any, pipeline: list[Any], **options: Any) -> Any:
        """Send the pipeline and return its cursor."""
        return await collection.aggregate(pipeline, **options)

    async def watch(self, database: Any, pipeline: list[Any], **options: Any) -> Any:
        """Open the stream and return it."""
        return await database.watch(pipeline, **options)

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()


_LINKS: Mapping[Driver, type[MotorLink] | type[PyMongoLink]] = {
    "motor": MotorLink,
    "pymongo": PyMongoLink,
}


class _Listener(CommandListener):
    """Notes the name of every command, so that a test can say how many there were."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def started(self, event: CommandStartedEvent) -> None:
        self._names.append(event.command_name)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass
