"""Totals over all accounts, for operators and public figures: roll-ups, added up in the database.

Ranges are whole days in UTC. They come from the merged roll-ups of days, and from processes' own
hours, which hold what is not merged yet; read in one moment, so that everything is counted once.
Usage documents are never read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import COLLECTION
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import COUNTS, Dimension, Sums

_TOKENS = "tokens_"


def _added(at: str = "") -> Document:
    """Return what `$group` adds up of roll-ups, or of their rows; a name in it may hold no dot."""
    counts: Document = {name: {"$sum": f"${at}{name}"} for name in COUNTS}
    return counts | {f"{_TOKENS}{b}": {"$sum": f"${at}tokens.{b}"} for b in BUCKETS}


@dataclass(frozen=True, slots=True)
class Spender:
    """What an account used; `sums` know no tokens."""

    account: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Recent:
    """What requests for a model that ended in one way came to; `outcome` is the record's."""

    model: str
    outcome: str
    sums: Sums


async def totals(database: Database, by: Dimension, since: datetime, until: datetime) -> list[Cell]:
    """Return what all accounts used, a cell a day and value, hours not merged yet by themselves.

    `since` and `until` are midnights in UTC. Raises StorageError.
    """
    return (await totals_by(database, (by,), since, until))[by]


async def totals_by(
    database: Database, dimensions: Collection[Dimension], since: datetime, until: datetime
) -> dict[Dimension, list[Cell]]:
    """Return the same by several dimensions, of one moment: their sums are equal."""

    async def read(session: Session) -> dict[Dimension, list[Cell]]:
        return {by: await _cells(database, by, since, until, session) for by in dimensions}

    return await database.transaction(read)


async def _cells(
    database: Database, by: Dimension, since: datetime, until: datetime, session: Session
) -> list[Cell]:
    days: list[Document] = [
        *_rows(by, since, until),
        {"$group": {"_id": {"at": "$start", "value": "$rows.value"}, **_added("rows.")}},
    ]
    hours = _hours(_between(since, until), "$hour", f"${by}")
    found = await _read(database, COLLECTION, days, session)
    found += await _read(database, "usage_hourly", hours, session)
    return [Cell(one["_id"]["at"], one["_id"].get("value", "ok"), _sums(one)) for one in found]


async def spenders(
    database: Database, since: datetime, until: datetime, most: int
) -> list[Spender]:
    """Return the accounts that were billed most between two midnights. Raises StorageError."""
    own = {"account": 1, **{name: f"${name}" for name in COUNTS}}
    pipeline: list[Document] = [
        *_rows("outcome", since, until),
        {"$project": {"account": 1, **{name: f"$rows.{name}" for name in COUNTS}}},
        {
            "$unionWith": {
                "coll": "usage_hourly",
                "pipeline": [{"$match": {"hour": _between(since, until)}}, {"$project": own}],
            }
        },
        {"$group": {"_id": "$account", **{name: {"$sum": f"${name}"} for name in COUNTS}}},
        {"$sort": {"cost": -1, "requests": -1, "_id": 1}},
        {"$limit": most},
    ]

    async def read(session: Session) -> list[Spender]:
        found = await _read(database, COLLECTION, pipeline, session)
        return [Spender(one["_id"], Sums.of(one)) for one in found]

    return await database.transaction(read)


async def recent(database: Database, since: datetime) -> list[Recent]:
    """Return what ended since the beginning of an hour, this one or the last. Raises StorageError.

    Hours are merged two hours after they began, not earlier, so processes' own hold all of these.
    """
    hours = _hours({"$gte": since}, "$model", "$outcome")
    found = await _read(database, "usage_hourly", hours, None)
    return [Recent(one["_id"]["at"], one["_id"].get("value", "ok"), _sums(one)) for one in found]


async def used(database: Database) -> bool:
    """True when any request was ever settled. Raises StorageError."""
    for name in (COLLECTION, "usage_hourly"):
        if await database[name].find_one({}, {"_id": 1}) is not None:
            return True
    return False


def _between(since: datetime, until: datetime) -> Document:
    return {"$gte": since, "$lt": until}


def _rows(by: Dimension, since: datetime, until: datetime) -> list[Document]:
    """Return the stages that give the rows of merged days."""
    return [
        {"$match": {"by": by, "grain": "day", "start": _between(since, until)}},
        {"$unwind": "$rows"},
    ]


def _hours(hour: Document, at: str, value: str) -> list[Document]:
    """Return the pipeline that adds up what is not merged."""
    return [
        {"$match": {"hour": hour}},
        {"$group": {"_id": {"at": at, "value": value}, **_added()}},
    ]


async def _read(
    database: Database, collection: str, pipeline: list[Document], session: Session | None
) -> list[Document]:
    return [found async for found in database[collection].aggregate(pipeline, session=session)]


def _sums(found: Document) -> Sums:
    tokens: dict[str, Any] = {
        bucket: found[f"{_TOKENS}{bucket}"] for bucket in BUCKETS if found[f"{_TOKENS}{bucket}"]
    }
    return Sums.of({**found, "tokens": tokens})
