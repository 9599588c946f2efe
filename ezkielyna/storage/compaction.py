"""Compaction: the roll-ups of closed hours, one a process, become one for all processes.

What is merged is added to the roll-ups of its day in the same transaction. So at any moment the
days and the hours that are not merged yet are together all that was used: nothing is missing or
there twice, whoever merges, however often and at once with others, however late a request comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.usage import ALL, DIMENSIONS, Day, Dimension, Hour, Sums, added

SAME = ("account", "hour")
"""What is merged in one transaction has these in common."""


async def compact(database: Database, before: datetime, limit: int = 200) -> int:
    """Merge roll-ups of hours before a time; return how many hours of an account were merged.

    Raises StorageError. An hour that gets a late request is merged again the next time.
    """
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"merged": False, "hour": {"$lt": before}}},
        {"$group": {"_id": {name: f"${name}" for name in SAME}}},
        {"$limit": limit},
    ]
    closed = [found["_id"] async for found in database["usage_hourly"].aggregate(pipeline)]
    for hour in closed:
        await _merge(database, hour)
    return len(closed)


async def _merge(database: Database, hour: Document) -> None:
    async def merge(session: Session) -> None:
        hourly = database["usage_hourly"]
        query = {**hour, "merged": False}
        found = [document async for document in hourly.find(query, session=session)]
        if not found:
            return
        hours, days = _whole(found)
        ids = [document["_id"] for document in found]
        await hourly.delete_many({"_id": {"$in": ids}}, session=session)
        await hourly.bulk_write(added(hours), ordered=False, session=session)
        await database["usage_daily"].bulk_write(
            [day.added() for day in days], ordered=False, session=session
        )

    await database.transaction(merge)


def _whole(documents: Iterable[Document]) -> tuple[list[Hour], list[Day]]:
    """Return the hours over all processes, and what each adds to its days."""
    hours: dict[str, Hour] = {}
    days: dict[tuple[Dimension, str], Day] = {}
    for document in documents:
        sums = Sums.of(document)
        whole = _hour(document)
        hours.setdefault(whole.id, whole).sums.add(sums)
        day = whole.hour.replace(hour=0)
        for by in DIMENSIONS:
            value = getattr(whole, by)
            days.setdefault((by, value), Day(whole.account, by, value, day)).sums.add(sums)
    return list(hours.values()), list(days.values())


def _hour(document: Document) -> Hour:
    return Hour(
        account=document["account"],
        key=document["key"],
        model=document["model"],
        endpoint=document["endpoint"],
        outcome=document.get("outcome", "ok"),
        hour=document["hour"],
        process=ALL,
    )
