"""A database: collections by name, transactions over them, and what changes in them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ezkielyna.storage.collection import Collection, Document, Session, documents_of, quietly
from ezkielyna.storage.errors import Conflict, StorageAway, StorageError, translated
from ezkielyna.storage.link import Link

TRANSACTION_TRIES = 20
AWAY_S = 2.0
"""How long a transaction looks for a database that is away."""
COMMIT_TRIES = 5
BACKOFF_S = 0.005
LONGEST_BACKOFF_S = 0.25
LOST_S = 120.0
"""A server ends a transaction by itself that nobody went on with for a minute."""

MOST_LOST = 1_000
CHANGE_WAIT_MS = 1_000

_MAJORITY = WriteConcern("majority")
_MAJORITY_READ = ReadConcern("majority")

_Result = TypeVar("_Result")


class Database:
    """A database: its collections by name, transactions over them, and what changes in them."""

    def __init__(self, link: Link, name: str, commands: list[str]) -> None:
        self.name = name
        self.commands = commands
        self._link = link
        with translated():
            self._raw = link.client.get_database(
                name, write_concern=_MAJORITY, read_concern=_MAJORITY_READ
            )
        self._collections: dict[str, Collection] = {}
        self._lost: dict[bytes, Any] = {}
        self._lost_at = 0.0

    def __getitem__(self, name: str) -> Collection:
        """Return the collection of this name; it need not exist yet."""
        known = self._collections.get(name)
        if known is None:
            known = self._collections[name] = Collection(self._link, self._raw[name], name)
        return known

    async def ping(self) -> None:
        """Return when the database answered; raises StorageAway when it does not."""
        await self.command({"ping": 1})

    async def command(self, command: Mapping[str, Any]) -> Document:
        """Run a command of MongoDB on this database and return its answer."""
        with translated():
            answer: Document = await self._raw.command(dict(command))
        return answer

    async def collection_names(self) -> list[str]:
        """Return the names of the collections that exist."""
        with translated():
            names: list[str] = await self._raw.list_collection_names()
        return names

    async def create_collection(self, name: str, **options: Any) -> None:
        """Create a collection; raises StorageError where it exists."""
        with translated():
            await self._raw.create_collection(name, **options)

    async def drop_collection(self, name: str) -> None:
        """Remove a collection with all it holds; one that is not there is as good."""
        with translated():
            await self._raw.drop_collection(name)

    async def drop(self) -> None:
        """Remove the whole database with all it holds."""
        with translated():
            await self._link.client.drop_database(self.name)

    async def transaction(self, callback: Callable[[Session], Awaitable[_Result]]) -> _Result:
        """Run `await callback(session)` in a transaction and return its result once committed.

        All of it happens or nothing. The callback runs again after a conflict, so it must have no
        other effects than its commands. Raises what the callback raised, Conflict or StorageAway
        when the tries are used up; after StorageAway from the commit itself (`commit_unknown`)
        nobody knows whether it happened, so a transaction must be safe to repeat.
        """
        with translated():
            raw = await self._link.start_session()
        try:
            result = await self._attempts(Session(raw), callback)
        except StorageAway:
            self._lose(raw)
            raise
        else:
            self._found()
            return result
        finally:
            await asyncio.shield(quietly(raw.end_session()))

    async def _attempts(
        self, session: Session, callback: Callable[[Session], Awaitable[_Result]]
    ) -> _Result:
        attempt, away_until = 1, time.monotonic() + AWAY_S
        while True:
            try:
                return await self._attempt(session, callback)
            except StorageError as error:
                if not error.transient or attempt == TRANSACTION_TRIES:
                    raise
                # A try that finds nobody takes as long as the driver looks for a server.
                if isinstance(error, StorageAway) and time.monotonic() > away_until:
                    raise
                if isinstance(error, Conflict) and self._lost:
                    await quietly(self._raw.command("killSessions", list(self._lost.values())))
            await asyncio.sleep(_backoff(attempt))
            attempt += 1

    def _lose(self, session: Any) -> None:
        """Remember a session whose last transaction may have begun at a server that hung.

        Such a server does, when it goes on, what it was sent before: it begins the transaction
        that nobody will end, and keeps all it touches locked for a minute. Who then meets a
        conflict ends it.
        """
        if len(self._lost) < MOST_LOST:
            self._lost[bytes(session.session_id["id"])] = session.session_id
        self._lost_at = time.monotonic()

    def _found(self) -> None:
        """Forget lost sessions once the server has ended them by itself."""
        if self._lost and time.monotonic() - self._lost_at > LOST_S:
            self._lost.clear()

    async def _attempt(
        self, session: Session, callback: Callable[[Session], Awaitable[_Result]]
    ) -> _Result:
        with translated():
            await self._link.start_transaction(session.raw, _MAJORITY_READ, _MAJORITY)
        try:
            result = await callback(session)
        except BaseException:
            await asyncio.shield(quietly(session.raw.abort_transaction()))
            raise
        await self._commit(session)
        return result

    async def _commit(self, session: Session) -> None:
        attempt = 1
        while True:
            try:
                with translated():
                    await session.raw.commit_transaction()
            except StorageError as error:
                if not error.commit_unknown or attempt == COMMIT_TRIES:
                    raise
            else:
                return
            await asyncio.sleep(_backoff(attempt))
            attempt += 1

    @asynccontextmanager
    async def watch(
        self,
        pipeline: Sequence[Mapping[str, Any]] = (),
        *,
        resume_after: Mapping[str, Any] | None = None,
        full_document: str | None = None,
    ) -> AsyncIterator[AsyncIterator[Document]]:
        """Open a change stream over all collections; every change from now on is seen.

        `_id` of a change is the token for `resume_after`. Raises StorageAway where the stream
        breaks and cannot be resumed.
        """
        with translated():
            stream = await self._link.watch(
                self._raw,
                list(pipeline),
                resume_after=resume_after,
                full_document=full_document,
                max_await_time_ms=CHANGE_WAIT_MS,
            )
        try:
            yield documents_of(stream)
        finally:
            await asyncio.shield(quietly(stream.close()))

    async def close(self) -> None:
        """Close every connection; further commands raise StorageError."""
        await self._link.close()


def _backoff(attempt: int) -> float:
    """Return seconds to wait: doubling, with chance, so that rivals do not meet again."""
    return random.uniform(0.2, 1) * min(LONGEST_BACKOFF_S, BACKOFF_S * (1 << attempt))  # noqa: S311
