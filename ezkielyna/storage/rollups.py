"""Reading roll-ups: an account's usage in a half-open range of hours, by one dimension.

Whole days come from the daily roll-ups, a document a day and value; the hours at the edges, and
those that are not merged yet, from the hourly ones. All is read in one moment, so that an hour that
is merged meanwhile is counted once. Usage documents are never read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.usage import COUNTS, Dimension, Sums

DAY = timedelta(days=1)
BATCH = 5000

Grain = Literal["hour", "day"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What was used with one value of the dimension, from `start` on, for an hour or a day."""

    start: datetime
    value: str
    sums: Sums


async def cells(
    database: Database,
    account: str,
    by: Dimension,
    since: datetime,
    until: datetime,
    grain: Grain = "day",
) -> list[Cell]:
    """Return what an account used; values and times may come several times, in any order.

    `since` and `until` are full hours in UTC. With the grain `day`, cells of whole days start at
    midnight, others at their hour. Raises StorageError.
    """

    async def read(session: Session) -> list[Cell]:
        reading = _Reading(database, account, by, session)
        if grain == "hour":
            return [cell async for cell in reading.hours(since, until)]
        first, last = _midnight(since + DAY - timedelta(microseconds=1)), _midnight(until)
        if first >= last:
            return [cell async for cell in reading.hours(since, until)]
        found = [cell async for cell in reading.days(first, last)]
        found += [cell async for cell in reading.hours(first, last, merged=False)]
        found += [cell async for cell in reading.hours(since, first)]
        found += [cell async for cell in reading.hours(last, until)]
        return found

    return await database.transaction(read)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


class _Reading:
    """Reads one account's roll-ups in one moment."""

    def __init__(self, database: Database, account: str, by: Dimension, session: Session) -> None:
        self._database = database
        self._account = account
        self._by = by
        self._session = session

    async def hours(
        self, since: datetime, until: datetime, *, merged: bool | None = None
    ) -> AsyncIterator[Cell]:
        if since >= until:
            return
        query: Document = {"account": self._account, "hour": {"$gte": since, "$lt": until}}
        if merged is not None:
            query["merged"] = merged
        async for document in self._find("usage_hourly", query, "hour", self._by):
            yield Cell(document["hour"], document.get(self._by, "ok"), Sums.of(document))

    async def days(self, since: datetime, until: datetime) -> AsyncIterator[Cell]:
        query = {"account": self._account, "by": self._by, "day": {"$gte": since, "$lt": until}}
        async for document in self._find("usage_daily", query, "day", "value"):
            yield Cell(document["day"], document["value"], Sums.of(document))

    def _find(self, collection: str, query: Document, *fields: str) -> AsyncIterator[Any]:
        projection = dict.fromkeys((*fields, "tokens", *COUNTS), 1)
        return self._database[collection].find(
            query, projection, batch_size=BATCH, session=self._session
        )
