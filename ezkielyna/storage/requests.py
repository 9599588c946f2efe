"""Requests that have ended, as people look for them: newest first in pages, or one by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
SPANS = (
    timedelta(minutes=15),
    timedelta(hours=3),
    timedelta(days=1),
    timedelta(days=6),
    timedelta.max,
)
"""How far back is looked, one after the other, until there is enough."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which requests of an account: begun in a half-open range, and of what kind. Empty is any."""

    since: datetime
    until: datetime
    model: str = ""
    key: str = ""
    outcomes: Collection[str] = ()

    def query(self, account: str) -> Document:
        """Return the query."""
        query: Document = {
            "account": account,
            "started_at": {"$gte": self.since, "$lt": self.until},
        }
        if self.model:
            query["model"] = self.model
        if self.key:
            query["key"] = self.key
        if self.outcomes:
            query["outcome"] = {"$in": sorted(self.outcomes)}
        return query


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of requests: the last one of a page."""

    started_at: datetime
    id: str

    def __str__(self) -> str:
        """Return it as an address has it."""
        return f"{(self.started_at - EPOCH) // MILLISECOND}-{self.id}"

    @classmethod
    def of(cls, text: str) -> Place | None:
        """Return the place that an address tells; None where it tells none."""
        number, _, id_ = text.partition("-")
        if not id_ or not number.isascii() or not number.isdigit() or len(number) > 14:
            return None
        return cls(EPOCH + int(number) * MILLISECOND, id_)


async def page(
    database: Database, account: str, sought: Sought, size: int, after: Place | None = None
) -> list[Document]:
    """Return up to so many usage documents that come after a place, newest first.

    Looks at short spans first: the embedded database reads all of a span to sort it.
    """
    end = sought.until if after is None else min(sought.until, after.started_at + MILLISECOND)
    found: list[Document] = []
    for length in SPANS:
        begin = sought.since if length == timedelta.max else max(sought.since, end - length)
        found += await _between(database, account, sought, begin, end, size - len(found), after)
        end = begin
        if len(found) == size or begin <= sought.since:
            break
    return found


async def _between(
    database: Database,
    account: str,
    sought: Sought,
    since: datetime,
    until: datetime,
    size: int,
    after: Place | None,
) -> list[Document]:
    query = {**sought.query(account), "started_at": {"$gte": since, "$lt": until}}
    if after is not None:
        query["$or"] = [
            {"started_at": {"$lt": after.started_at}},
            {"started_at": after.started_at, "_id": {"$lt": after.id}},
        ]
    found: AsyncIterator[Document] = database["usage"].find(
        query, sort=[("started_at", -1), ("_id", -1)], limit=size
    )
    return [document async for document in found]


async def one(database: Database, account: str, request_id: str) -> Document | None:
    """Return the usage document of an account's request, None where it has no such request."""
    return await database["usage"].find_one({"_id": request_id, "account": account})
