"""A collection of documents: PyMongo's methods with one asynchronous spelling."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

from pymongo import IndexModel, ReturnDocument
from pymongo.results import (
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    UpdateResult,
)

from ezkielyna.storage.errors import StorageError, translated
from ezkielyna.storage.link import Link

Document = dict[str, Any]
Filter = Mapping[str, Any]
Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Sort = Sequence[tuple[str, int]]


class Session:
    """A running transaction, handed to its callback and from there to every command in it."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw


class Collection:
    """One collection. Methods are PyMongo's, and so are their results."""

    __slots__ = ("_link", "_raw", "name")

    def __init__(self, link: Link, raw: Any, name: str) -> None:
        self.name = name
        self._link = link
        self._raw = raw

    async def find_one(
        self,
        query: Filter,
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        session: Session | None = None,
    ) -> Document | None:
        """Return the first document that matches, None without one."""
        with translated():
            found: Document | None = await self._raw.find_one(
                query, projection, sort=sort, session=_raw(session)
            )
        return found

    async def find(
        self,
        query: Filter | None = None,
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        skip: int = 0,
        limit: int = 0,
        batch_size: int = 0,
        session: Session | None = None,
    ) -> AsyncIterator[Document]:
        """Yield the documents that match; `limit` 0 means all."""
        with translated():
            cursor = self._raw.find(
                query or {},
                projection,
                sort=sort,
                skip=skip,
                limit=limit,
                batch_size=batch_size,
                session=_raw(session),
            )
        async for document in _cursor(cursor):
            yield document

    async def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        session: Session | None = None,
        **options: Any,
    ) -> AsyncIterator[Document]:
        """Yield what the pipeline gives."""
        with translated():
            cursor = await self._link.aggregate(
                self._raw, list(pipeline), session=_raw(session), **options
            )
        async for document in _cursor(cursor):
            yield document

    async def count_documents(self, query: Filter, *, session: Session | None = None) -> int:
        """Return how many documents match."""
        with translated():
            count: int = await self._raw.count_documents(query, session=_raw(session))
        return count

    async def insert_one(
        self, document: Document, *, session: Session | None = None
    ) -> InsertOneResult:
        """Insert a document; raises Duplicate."""
        with translated():
            result: InsertOneResult = await self._raw.insert_one(document, session=_raw(session))
        return result

    async def insert_many(
        self,
        documents: Sequence[Mapping[str, Any]],
        *,
        ordered: bool = True,
        session: Session | None = None,
    ) -> InsertManyResult:
        """Insert documents; raises Duplicate, after which, outside a transaction, some are in."""
        with translated():
            result: InsertManyResult = await self._raw.insert_many(
                documents, ordered=ordered, session=_raw(session)
            )
        return result

    async def update_one(
        self,
        query: Filter,
        update: Update,
        *,
        upsert: bool = False,
        session: Session | None = None,
    ) -> UpdateResult:
        """Update the first document that matches."""
        with translated():
            result: UpdateResult = await self._raw.update_one(
                query, update, upsert=upsert, session=_raw(session)
            )
        return result

    async def update_many(
        self, query: Filter, update: Update, *, session: Session | None = None
    ) -> UpdateResult:
        """Update every document that matches."""
        with translated():
            result: UpdateResult = await self._raw.update_many(query, update, session=_raw(session))
        return result

    async def find_one_and_update(
        self,
        query: Filter,
        update: Update,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sort | None = None,
        upsert: bool = False,
        before: bool = False,
        session: Session | None = None,
    ) -> Document | None:
        """Update one document and return it as it is now, with `before` as it was."""
        with translated():
            found: Document | None = await self._raw.find_one_and_update(
                query,
                update,
                projection=projection,
                sort=sort,
                upsert=upsert,
                return_document=ReturnDocument.BEFORE if before else ReturnDocument.AFTER,
                session=_raw(session),
            )
        return found

    async def delete_one(self, query: Filter, *, session: Session | None = None) -> DeleteResult:
        """Delete the first document that matches."""
        with translated():
            result: DeleteResult = await self._raw.delete_one(query, session=_raw(session))
        return result

    async def delete_many(self, query: Filter, *, session: Session | None = None) -> DeleteResult:
        """Delete every document that matches."""
        with translated():
            result: DeleteResult = await self._raw.delete_many(query, session=_raw(session))
        return result

    async def bulk_write(
        self, requests: Sequence[Any], *, ordered: bool = True, session: Session | None = None
    ) -> BulkWriteResult:
        """Send many writes (`pymongo.UpdateOne` and its like) as few commands."""
        with translated():
            result: BulkWriteResult = await self._raw.bulk_write(
                requests, ordered=ordered, session=_raw(session)
            )
        return result

    async def create_indexes(self, indexes: Sequence[IndexModel]) -> None:
        """Create indexes; those that exist alike are left alone."""
        with translated():
            await self._raw.create_indexes(list(indexes))


async def _cursor(cursor: Any) -> AsyncIterator[Document]:
    try:
        async for document in documents_of(cursor):
            yield document
    finally:
        # One that was read to its end is closed; with motor, to close it again asks a thread.
        if cursor.alive:
            await quietly(cursor.close())


async def documents_of(source: Any) -> AsyncIterator[Document]:
    """Yield what a cursor or a change stream of the driver yields, its errors translated."""
    with translated():
        async for document in source:
            yield document


async def quietly(closing: Awaitable[None]) -> None:
    """Close something of the server's; an error changes nothing: the server forgets in time."""
    try:
        with translated():
            await closing
    except StorageError:
        return


def _raw(session: Session | None) -> Any:
    return None if session is None else session.raw
