"""Batches: one settlement each, exactly once by `_id: "process:n"`.

A settlement touches what its process owns and nothing else: the batch, usage documents, ledger
entries, its own leases and its own roll-ups. So settlements of different processes never conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson.int64 import Int64
from pymongo import UpdateOne

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage import ledger, usage
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate
from ezkielyna.storage.leases import lease_id
from ezkielyna.storage.sessions import UNWATCHED, Witness, session_id

ORPHAN_LEASE = timedelta(minutes=1)
"""How long a lease lives that a settlement had to make, because a sweeper took the old one."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one batch writes. `hours` are the roll-ups to add."""

    process: str
    n: int
    at: datetime
    usages: Sequence[Mapping[str, Any]]
    costs: dict[str, Nano]
    hours: list[usage.Hour]

    @property
    def id(self) -> str:
        """The id of its batch."""
        return f"{self.process}:{self.n}"


async def settle(database: Database, settlement: Settlement, witness: Witness = UNWATCHED) -> bool:
    """Write a settlement in one transaction; False when this batch is already in.

    Raises Duplicate where a usage document is already there under another batch; nothing of this
    one is in then. Safe to repeat after StorageAway.
    """

    async def write(session: Session) -> None:
        witness.began(session_id(session))
        await database["batches"].insert_one(_batch(settlement), session=session)
        await database["usage"].insert_many(settlement.usages, session=session)
        witness.halfway()
        await _book(database, settlement, session)

    try:
        await database.transaction(write)
    except Duplicate:
        if await database["batches"].find_one({"_id": settlement.id}, {"_id": 1}) is None:
            raise
        return False
    return True


async def _book(database: Database, settlement: Settlement, session: Session) -> None:
    if settlement.costs:
        await database["ledger"].insert_many(_entries(settlement), session=session)
        await database["leases"].bulk_write(_spent(settlement), ordered=False, session=session)
    if settlement.hours:
        await database["usage_hourly"].bulk_write(
            usage.added(settlement.hours), ordered=False, session=session
        )


def _batch(settlement: Settlement) -> Document:
    return {
        "_id": settlement.id,
        "process": settlement.process,
        "n": Int64(settlement.n),
        "at": settlement.at,
        "usages": len(settlement.usages),
        "cost": Int64(checked(sum(settlement.costs.values()))),
    }


def _entries(settlement: Settlement) -> list[Document]:
    return [
        ledger.document(
            ledger.Entry(
                id=f"settlement:{settlement.id}:{account}",
                account=account,
                kind="settlement",
                amount=-cost,
                reference=settlement.id,
                at=settlement.at,
            )
        )
        for account, cost in settlement.costs.items()
    ]


def _spent(settlement: Settlement) -> list[UpdateOne]:
    """Return what takes the costs off the leases; a lease that was swept comes back as a debt."""
    return [
        UpdateOne(
            {"_id": lease_id(settlement.process, account)},
            {
                "$inc": {"held": Int64(-cost)},
                "$setOnInsert": {
                    "process": settlement.process,
                    "account": account,
                    "turn": Int64(0),
                    "moved": Int64(0),
                    "state": "open",
                    "expires_at": settlement.at + ORPHAN_LEASE,
                },
            },
            upsert=True,
        )
        for account, cost in settlement.costs.items()
    ]


async def last(database: Database, process: str) -> int:
    """Return the number of the last batch of a process that is in, 0 without one."""
    found = await database["batches"].find_one({"process": process}, {"n": 1}, sort=[("n", -1)])
    return 0 if found is None else int(found["n"])


async def settled(database: Database, requests: Collection[str]) -> set[str]:
    """Return which of these requests have their usage document."""
    query = {"_id": {"$in": list(requests)}}
    return {found["_id"] async for found in database["usage"].find(query, {"_id": 1})}
