"""Reading roll-ups: an account's usage in a half-open range of hours, by one dimension or more.

Whole days come from the merged roll-ups of days, the hours at the edges from those of hours, and
what is not merged yet from the processes' own. All is read in one moment, so that an hour that is
merged meanwhile is counted once. Usage documents are never read.

Documents are read whole: the embedded database takes three times as long to leave fields out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import COLLECTION, Grain
from ezkielyna.storage.usage import Dimension, Sums

DAY = timedelta(days=1)
BATCH = 5000


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
    return (await cells_by(database, account, (by,), since, until, grain))[by]


async def cells_by(
    database: Database,
    account: str,
    dimensions: Collection[Dimension],
    since: datetime,
    until: datetime,
    grain: Grain = "day",
) -> dict[Dimension, list[Cell]]:
    """Return the same for several dimensions, of one moment: their sums are equal."""

    async def read(session: Session) -> dict[Dimension, list[Cell]]:
        reading = _Reading(database, account, session)
        hours = await reading.hours(since, until)
        found = {by: _by(hours, by) for by in dimensions}
        for by, cells in found.items():
            for piece in _pieces(since, until, grain):
                cells += [cell async for cell in reading.merged(by, *piece)]
        return found

    return await database.transaction(read)


Piece = tuple[Grain, datetime, datetime]
"""What is read of one grain: from a time to just before another."""


def _pieces(since: datetime, until: datetime, grain: Grain) -> Iterator[Piece]:
    """Yield the pieces of a range: its whole days, where those will do, and its hours."""
    first, last = midnight(since + DAY - timedelta(microseconds=1)), midnight(until)
    if grain == "hour" or first >= last:
        yield "hour", since, until
        return
    yield "day", first, last
    if since < first:
        yield "hour", since, first
    if last < until:
        yield "hour", last, until


def midnight(moment: datetime) -> datetime:
    """Return the last midnight."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _by(hours: Sequence[Document], by: Dimension) -> list[Cell]:
    """Return what processes' own hours come to by one dimension."""
    found: dict[tuple[datetime, str], Cell] = {}
    for document in hours:
        start, value = document["hour"], document.get(by, "ok")
        cell = found.get((start, value))
        if cell is None:
            cell = found[start, value] = Cell(start, value, Sums())
        cell.sums.add(Sums.of(document))
    return list(found.values())


class _Reading:
    """Reads one account's roll-ups in one moment."""

    def __init__(self, database: Database, account: str, session: Session) -> None:
        self._database = database
        self._account = account
        self._session = session

    async def hours(self, since: datetime, until: datetime) -> list[Document]:
        """Return what is not merged."""
        query = {"account": self._account, "hour": {"$gte": since, "$lt": until}}
        found = self._database["usage_hourly"].find(query, batch_size=BATCH, session=self._session)
        return [document async for document in found]

    async def merged(
        self, by: Dimension, grain: Grain, since: datetime, until: datetime
    ) -> AsyncIterator[Cell]:
        """Yield what is merged."""
        query = {
            "account": self._account,
            "by": by,
            "grain": grain,
            "start": {"$gte": since, "$lt": until},
        }
        found = self._database[COLLECTION].find(query, batch_size=BATCH, session=self._session)
        async for document in found:
            start = document["start"]
            for row in document["rows"]:
                yield Cell(start, row["value"], Sums.of(row))
