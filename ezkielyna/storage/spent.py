"""What keys spent, from the roll-ups: in all, or of late by all processes but one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import COLLECTION
from ezkielyna.storage.rollups import midnight

Pipeline = list[Mapping[str, Any]]


async def spent_by_key(
    database: Database, account: str, keys: Collection[str], *, until: datetime | None = None
) -> dict[str, Nano]:
    """Return what keys of an account spent in all, or in hours before a time.

    Keys that spent nothing are left out. All is read in one moment. Raises StorageError.
    """
    if not keys:
        return {}

    async def read(session: Session) -> dict[str, Nano]:
        before = {"hour": {"$lt": until}} if until else {}
        spent = await _sums(database, "usage_hourly", _own(keys, before), session)
        for query in _merged(until):
            pipeline = _rows(keys, {"account": account, "by": "key", **query})
            for key, cost in (await _sums(database, COLLECTION, pipeline, session)).items():
                spent[key] = spent.get(key, 0) + cost
        return spent

    return await database.transaction(read)


async def spent_lately(
    database: Database, keys: Collection[str], *, besides: str, since: datetime
) -> dict[str, Nano]:
    """Return what all processes but one spent in hours from a time on that are not merged.

    Of merged hours nobody knows the process. Keys that spent nothing are left out. Raises
    StorageError.
    """
    if not keys:
        return {}
    query = {"hour": {"$gte": since}, "process": {"$ne": besides}}
    return await _sums(database, "usage_hourly", _own(keys, query), None)


def _own(keys: Collection[str], query: Document) -> Pipeline:
    """Return what adds up the hours of processes."""
    return [
        {"$match": {"key": {"$in": list(keys)}, **query}},
        {"$group": {"_id": "$key", "cost": {"$sum": "$cost"}}},
    ]


def _merged(until: datetime | None) -> Iterator[Document]:
    """Yield which merged roll-ups are read: days, and the hours of the last one."""
    if until is None:
        yield {"grain": "day"}
        return
    yield {"grain": "day", "start": {"$lt": midnight(until)}}
    yield {"grain": "hour", "start": {"$gte": midnight(until), "$lt": until}}


def _rows(keys: Collection[str], query: Document) -> Pipeline:
    """Return what adds up rows of merged roll-ups."""
    return [
        {"$match": query},
        {"$unwind": "$rows"},
        {"$match": {"rows.value": {"$in": list(keys)}}},
        {"$group": {"_id": "$rows.value", "cost": {"$sum": "$rows.cost"}}},
    ]


async def _sums(
    database: Database, collection: str, pipeline: Pipeline, session: Session | None
) -> dict[str, Nano]:
    found = database[collection].aggregate(pipeline, session=session)
    return {document["_id"]: int(document["cost"]) async for document in found}
