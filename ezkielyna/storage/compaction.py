"""Compaction: the roll-ups of closed hours, one a process, become one for all processes.

Whoever does it, however often and at once with others: the sums stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.usage import Hour, added

ALL = "*"
"""The process of a roll-up over all processes."""

SAME = ("account", "key", "model", "endpoint", "hour")


async def compact(database: Database, before: datetime, limit: int = 200) -> int:
    """Merge roll-ups of hours before a time; return how many hours of a key were merged.

    Raises StorageError. An hour that gets a late request is merged again the next time.
    """
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"hour": {"$lt": before}, "process": {"$ne": ALL}}},
        {"$group": {"_id": {name: f"${name}" for name in SAME}}},
        {"$limit": limit},
    ]
    keys = [found["_id"] async for found in database["usage_hourly"].aggregate(pipeline)]
    for key in keys:
        await _merge(database, key)
    return len(keys)


async def _merge(database: Database, key: Document) -> None:
    async def merge(session: Session) -> None:
        hourly = database["usage_hourly"]
        query = {**key, "process": {"$ne": ALL}}
        found = [document async for document in hourly.find(query, session=session)]
        if not found:
            return
        whole = Hour(**key, process=ALL)
        for document in found:
            _add(whole, document)
        ids = [document["_id"] for document in found]
        await hourly.delete_many({"_id": {"$in": ids}}, session=session)
        await hourly.bulk_write(added([whole]), session=session)

    await database.transaction(merge)


def _add(whole: Hour, part: Document) -> None:
    whole.requests += int(part["requests"])
    whole.errors += int(part["errors"])
    whole.cost += int(part["cost"])
    for bucket, quantity in part.get("tokens", {}).items():
        whole.tokens[bucket] = whole.tokens.get(bucket, 0) + int(quantity)
