"""Totals over all accounts, for operators and public figures: roll-ups, added up in the database.

Ranges are whole days in UTC. Days come from the daily roll-ups, which hold what is merged, and from
the hourly ones that are not merged yet, read in one moment, so that everything is counted once.
Usage documents are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import COUNTS, Dimension, Sums

_TOKENS = "tokens_"
_ADDED: Document = {name: {"$sum": f"${name}"} for name in COUNTS} | {
    f"{_TOKENS}{bucket}": {"$sum": f"$tokens.{bucket}"} for bucket in BUCKETS
}
"""What `$group` adds up; a name in it may hold no dot."""


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
    days = _grouped({"by": by, "day": _between(since, until)}, "$day", "$value")
    hours = _grouped({"merged": False, "hour": _between(since, until)}, "$hour", f"${by}")

    async def read(session: Session) -> list[Cell]:
        found = await _read(database, "usage_daily", days, session)
        found += await _read(database, "usage_hourly", hours, session)
        return [Cell(one["_id"]["at"], one["_id"].get("value", "ok"), _sums(one)) for one in found]

    return await database.transaction(read)


async def spenders(
    database: Database, since: datetime, until: datetime, most: int
) -> list[Spender]:
    """Return the accounts that were billed most between two midnights. Raises StorageError."""
    kept = {"account": 1, **dict.fromkeys(COUNTS, 1)}
    hours = [{"$match": {"merged": False, "hour": _between(since, until)}}, {"$project": kept}]
    pipeline: list[Document] = [
        {"$match": {"by": "outcome", "day": _between(since, until)}},
        {"$project": kept},
        {"$unionWith": {"coll": "usage_hourly", "pipeline": hours}},
        {"$group": {"_id": "$account", **{name: _ADDED[name] for name in COUNTS}}},
        {"$sort": {"cost": -1, "requests": -1, "_id": 1}},
        {"$limit": most},
    ]

    async def read(session: Session) -> list[Spender]:
        found = await _read(database, "usage_daily", pipeline, session)
        return [Spender(one["_id"], Sums.of(one)) for one in found]

    return await database.transaction(read)


async def recent(database: Database, since: datetime) -> list[Recent]:
    """Return what ended since the beginning of an hour, this one or the last. Raises StorageError.

    Hours are merged two hours after they began, not earlier, so these are all hourly roll-ups.
    """
    hours = _grouped({"merged": False, "hour": {"$gte": since}}, "$model", "$outcome")
    found = await _read(database, "usage_hourly", hours, None)
    return [Recent(one["_id"]["at"], one["_id"].get("value", "ok"), _sums(one)) for one in found]


async def used(database: Database) -> bool:
    """True when any request was ever settled. Raises StorageError."""
    for name in ("usage_daily", "usage_hourly"):
        if await database[name].find_one({}, {"_id": 1}) is not None:
            return True
    return False


def _between(since: datetime, until: datetime) -> Document:
    return {"$gte": since, "$lt": until}


def _grouped(match: Document, at: str, value: str) -> list[Document]:
    return [{"$match": match}, {"$group": {"_id": {"at": at, "value": value}, **_ADDED}}]


async def _read(
    database: Database, collection: str, pipeline: list[Document], session: Session | None
) -> list[Document]:
    return [found async for found in database[collection].aggregate(pipeline, session=session)]


def _sums(found: Document) -> Sums:
    tokens: dict[str, Any] = {
        bucket: found[f"{_TOKENS}{bucket}"] for bucket in BUCKETS if found[f"{_TOKENS}{bucket}"]
    }
    return Sums.of({**found, "tokens": tokens})
