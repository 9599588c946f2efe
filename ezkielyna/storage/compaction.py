"""Compaction: the roll-ups of closed hours, one a process, key and model, become few for all.

What is merged is taken out of the hours of the processes, and added to the merged roll-ups of its
hour and of its day, in one transaction. So at any moment the merged ones and the hours that are
left are together all that was used: nothing is missing or there twice, whoever merges, however
often and at once with others, however late a request comes, and whoever dies meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ezkielyna.storage import merged
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import Merged
from ezkielyna.storage.usage import DIMENSIONS, Sums

DAY = timedelta(days=1)

MOST = 1_000
"""Roll-ups in one transaction; an hour may have more, and is then merged in several."""


async def compact(database: Database, before: datetime, limit: int = 200) -> int:
    """Merge roll-ups of hours before a time; return how many days of an account had some.

    Raises StorageError. An hour that gets a late request is merged again the next time.
    """
    day = {"$dateTrunc": {"date": "$hour", "unit": "day"}}
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"hour": {"$lt": before}}},
        {"$group": {"_id": {"account": "$account", "day": day}}},
        {"$limit": limit},
    ]
    found = [one["_id"] async for one in database["usage_hourly"].aggregate(pipeline)]
    for one in found:
        hours = {"$gte": one["day"], "$lt": min(before, one["day"] + DAY)}
        query = {"account": one["account"], "hour": hours}
        while await _merge(database, query) == MOST:
            pass
    return len(found)


async def _merge(database: Database, query: Document) -> int:
    """Merge roll-ups of one account and day, and return how many."""

    async def merge(session: Session) -> int:
        hourly = database["usage_hourly"]
        found = [one async for one in hourly.find(query, limit=MOST, session=session)]
        if found:
            ids = [one["_id"] for one in found]
            await hourly.delete_many({"_id": {"$in": ids}}, session=session)
            await merged.add(database, _whole(found), session)
        return len(found)

    return await database.transaction(merge)


def _whole(documents: Iterable[Document]) -> Collection[Merged]:
    """Return what roll-ups of processes come to, by hour and by day."""
    found: dict[str, Merged] = {}
    for document in documents:
        account, hour, sums = document["account"], document["hour"], Sums.of(document)
        for by in DIMENSIONS:
            for one in (
                Merged(account, by, "hour", hour),
                Merged(account, by, "day", hour.replace(hour=0)),
            ):
                found.setdefault(one.id, one).add(document.get(by, "ok"), sums)
    return found.values()
