"""Merged roll-ups: what an account used in an hour or in a day, all processes together.

There is a document for each dimension, with a row for every value that was used. So a month takes
thirty of them, however many keys and models an account has. MongoDB's documents end at 16 MB: more
than `MOST_ROWS` go on in further documents, with the same fields and a number behind their id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pymongo import ReplaceOne

from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.usage import Dimension, Sums

COLLECTION = "usage_sums"

Grain = Literal["hour", "day"]
FORMATS: dict[Grain, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d"}
"""How an hour and a day stand in an id."""

MOST_ROWS = 5_000
"""A row takes some 300 bytes and its value's length, which is a name's."""


@dataclass(slots=True)
class Merged:
    """A roll-up: what an account used in one hour or day, by the values of one dimension."""

    account: str
    by: Dimension
    grain: Grain
    start: datetime
    sums: dict[str, Sums] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of its document, the first one if there are several."""
        return f"{self.account}:{self.start.strftime(FORMATS[self.grain])}:{self.by}"

    def add(self, value: str, sums: Sums) -> None:
        """Add what was used with one value."""
        self.sums.setdefault(value, Sums()).add(sums)

    def documents(self) -> Iterator[Document]:
        """Yield its documents: a row stays in the one it was in, whatever is added later."""
        rows = [{"value": value, **sums.document()} for value, sums in self.sums.items()]
        for part, first in enumerate(range(0, len(rows), MOST_ROWS)):
            yield {
                "_id": _part(self.id, part),
                "account": self.account,
                "by": self.by,
                "grain": self.grain,
                "start": self.start,
                "rows": rows[first : first + MOST_ROWS],
            }


async def add(database: Database, found: Collection[Merged], session: Session) -> None:
    """Add roll-ups to what is stored of the same hours and days.

    Reads what is there and writes it anew: of two transactions at once one is run again.
    """
    whole = {one.id: Merged(one.account, one.by, one.grain, one.start) for one in found}
    async for id_, row in _stored(database, list(whole), session):
        whole[id_].add(row["value"], Sums.of(row))
    for one in found:
        for value, sums in one.sums.items():
            whole[one.id].add(value, sums)
    writes = [
        ReplaceOne({"_id": document["_id"]}, document, upsert=True)
        for one in whole.values()
        for document in one.documents()
    ]
    await database[COLLECTION].bulk_write(writes, ordered=False, session=session)


async def _stored(
    database: Database, ids: list[str], session: Session
) -> AsyncIterator[tuple[str, Document]]:
    """Yield the rows that are stored under these ids, in order, each with its id."""
    part = 0
    while ids:
        wanted = {_part(id_, part): id_ for id_ in ids}
        ids, part = [], part + 1
        query = {"_id": {"$in": list(wanted)}}
        async for document in database[COLLECTION].find(query, session=session):
            id_, rows = wanted[document["_id"]], document["rows"]
            for row in rows:
                yield id_, row
            if len(rows) == MOST_ROWS:
                ids.append(id_)


def _part(id_: str, part: int) -> str:
    return f"{id_}:{part}" if part else id_
