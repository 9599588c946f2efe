"""What keys spent, from the roll-ups, by all processes or by all but one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import COLLECTION
from ezkielyna.storage.rollups import midnight

Pipeline = list[Mapping[str, Any]]


async def spent_by_key(
    database: Database,
    keys: Mapping[str, str],
    *,
    besides: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Nano]:
    """Return what keys, each with its account, spent in a half-open range of hours.

    `besides` leaves out what one process spent in hours that are not merged; of merged ones nobody
    knows it. Keys that spent nothing are left out. All is read in one moment. Raises StorageError.
    """
    if not keys:
        return {}

    async def read(session: Session) -> dict[str, Nano]:
        spent: dict[str, Nano] = {}
        own = database["usage_hourly"].aggregate(
            _own(keys, besides, _within(since, until)), session=session
        )
        async for found in own:
            spent[found["_id"]] = int(found["cost"])
        for query in _merged(since, until):
            merged = database[COLLECTION].aggregate(_rows(keys, query), session=session)
            async for found in merged:
                spent[found["_id"]] = spent.get(found["_id"], 0) + int(found["cost"])
        return spent

    return await database.transaction(read)


def _own(keys: Iterable[str], besides: str | None, hours: Document) -> Pipeline:
    """Return what adds up the hours of processes."""
    match: Document = {"key": {"$in": list(keys)}}
    if besides is not None:
        match["process"] = {"$ne": besides}
    if hours:
        match["hour"] = hours
    return [{"$match": match}, {"$group": {"_id": "$key", "cost": {"$sum": "$cost"}}}]


def _merged(since: datetime | None, until: datetime | None) -> Iterator[Document]:
    """Yield which merged roll-ups are read: days as long as they go, but for a range of late."""
    if since is not None:
        yield {"grain": "hour", "start": _within(since, until)}
    elif until is not None:
        yield {"grain": "day", "start": _within(None, midnight(until))}
        yield {"grain": "hour", "start": _within(midnight(until), until)}
    else:
        yield {"grain": "day"}


def _rows(keys: Mapping[str, str], query: Document) -> Pipeline:
    """Return what adds up rows of merged roll-ups."""
    accounts = sorted(set(keys.values()))
    whose = accounts[0] if len(accounts) == 1 else {"$in": accounts}
    return [
        {"$match": {"account": whose, "by": "key", **query}},
        {"$unwind": "$rows"},
        {"$match": {"rows.value": {"$in": list(keys)}}},
        {"$group": {"_id": "$rows.value", "cost": {"$sum": "$rows.cost"}}},
    ]


def _within(since: datetime | None, until: datetime | None) -> Document:
    return ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
