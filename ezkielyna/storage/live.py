"""What happens right now: requests as they are settled by any process, and who is watched.

A process that shows an account's live numbers notes so; every process that serves the account then
tells how many of its requests are open. Nobody is watched for longer than `WATCHED` without asking
again, and what was told lasts as long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database

WATCHED = timedelta(seconds=5)
MOST_RECENT = 5000
FIELDS = (
    "account",
    "key",
    "model",
    "endpoint",
    "outcome",
    "status",
    "cost",
    "tokens",
    "started_at",
    "first_byte_at",
    "ended_at",
)


@asynccontextmanager
async def settled_requests(
    database: Database, accounts: Collection[str], resume_after: Mapping[str, Any] | None = None
) -> AsyncIterator[AsyncIterator[Document]]:
    """Open a stream of changes, each with a usage document of these accounts, as it is settled.

    `_id` of a change is the token for `resume_after`. Raises StorageError.
    """
    match = {
        "operationType": "insert",
        "ns.coll": "usage",
        "fullDocument.account": {"$in": sorted(accounts)},
    }
    async with database.watch([{"$match": match}], resume_after=resume_after) as changes:
        yield changes


async def recent(database: Database, account: str, since: datetime) -> list[Document]:
    """Return usage documents of requests that began since then, the newest first, 5,000 at most."""
    query = {"account": account, "started_at": {"$gte": since}}
    found = database["usage"].find(
        query,
        dict.fromkeys(FIELDS, 1),
        sort=[("started_at", -1), ("_id", -1)],
        limit=MOST_RECENT,
        batch_size=MOST_RECENT,
    )
    return [document async for document in found]


async def watch(database: Database, accounts: Collection[str], now: datetime) -> None:
    """Note that these accounts are watched for a while."""
    writes = [
        UpdateOne(
            {"_id": f"watch:{account}"},
            {"$set": {"kind": "watch", "account": account, "until": now + WATCHED}},
            upsert=True,
        )
        for account in accounts
    ]
    if writes:
        await database["live"].bulk_write(writes, ordered=False)


async def watched(database: Database, now: datetime) -> list[str]:
    """Return the accounts that somebody watches."""
    query = {"kind": "watch", "until": {"$gt": now}}
    return [found["account"] async for found in database["live"].find(query)]


async def tell(
    database: Database, process: str, open_requests: Mapping[str, int], now: datetime
) -> None:
    """Tell how many requests of each account are open in this process."""
    writes = [
        UpdateOne(
            {"_id": f"open:{process}:{account}"},
            {"$set": {"kind": "open", "account": account, "open": n, "until": now + WATCHED}},
            upsert=True,
        )
        for account, n in open_requests.items()
    ]
    if writes:
        await database["live"].bulk_write(writes, ordered=False)


async def told(database: Database, accounts: Collection[str], now: datetime) -> dict[str, int]:
    """Return how many requests of these accounts are open, in all processes together."""
    query = {"kind": "open", "account": {"$in": sorted(accounts)}, "until": {"$gt": now}}
    found: dict[str, int] = {}
    async for document in database["live"].find(query):
        account = document["account"]
        found[account] = found.get(account, 0) + int(document["open"])
    return found
