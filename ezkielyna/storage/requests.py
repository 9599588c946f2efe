"""Requests that have ended, as people look for them: newest first in pages, or one by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST_SPAN = timedelta(minutes=2)
GROWTH = 3
"""By how much the next span is longer than one in which there was nothing."""


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

    Looks back two minutes first, then as far as that lets one expect enough, and so on: the
    embedded database reads all of a span to sort it.
    """
    end = sought.until if after is None else min(sought.until, after.started_at + MILLISECOND)
    found: list[Document] = []
    length = FIRST_SPAN
    while len(found) < size and sought.since < end:
        begin = end - min(length, end - sought.since)
        missing = size - len(found)
        more = await _between(database, account, sought, begin, end, missing, after)
        length *= GROWTH if not more else max(2, 2 * (missing - len(more)) / len(more))
        found += more
        end = begin
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
