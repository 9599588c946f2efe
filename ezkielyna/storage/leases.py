"""Leases: the money that one process may spend. Only its owner, or who recovers it, writes one.

`turn` counts the grants and returns of a lease and `moved` is the amount of the last one. A grant
or return names the turn it expects, so that one whose reply was lost can be repeated: it finds
itself done. Owners let the moves of one lease take turns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson.int64 import Int64

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage.collection import Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate
from ezkielyna.storage.sessions import UNWATCHED, Witness, session_id


@dataclass(frozen=True, slots=True)
class Grant:
    """What was moved from an account to a lease, and what the account has left."""

    amount: Nano
    available: Nano


@dataclass(frozen=True, slots=True)
class Stored:
    """A lease as it is stored."""

    id: str
    process: str
    account: str
    held: Nano
    turn: int
    expires_at: datetime


class OutOfTurn(Exception):
    """The lease is not where its owner believed; `stored` is None where it was swept."""

    def __init__(self, stored: Stored | None) -> None:
        super().__init__("the stored lease is not the one in memory")
        self.stored = stored


class _TurnTaken(Exception):
    """This turn was taken before."""


def lease_id(process: str, account: str) -> str:
    """Return the id of a process's lease of an account's money."""
    return f"{process}:{account}"


async def grant(
    database: Database,
    process: str,
    account: str,
    turn: int,
    size: Callable[[Nano], Nano],
    expires_at: datetime,
    witness: Witness = UNWATCHED,
) -> Grant:
    """Move `size(available)` from the account to the lease, exactly once for this turn.

    `size` returns at most what is available, and 0 to refuse. Safe to repeat after StorageAway:
    then the answer is what the first try moved, be it a grant or a return. Raises OutOfTurn.
    """

    async def move(session: Session) -> Grant:
        witness.began(session_id(session))
        accounts = database["accounts"]
        found = await accounts.find_one({"_id": account}, {"available": 1}, session=session)
        available = int(found["available"]) if found is not None else 0
        amount = size(available)
        assert 0 <= amount <= available, (amount, available)
        if amount == 0:
            return Grant(0, available)
        await accounts.update_one(
            {"_id": account, "available": {"$gte": Int64(amount)}},
            {"$inc": {"available": Int64(-amount)}},
            session=session,
        )
        witness.halfway()
        await _turn(database, process, account, turn, amount, expires_at, session)
        return Grant(amount, available - amount)

    try:
        return await database.transaction(move)
    except (Duplicate, _TurnTaken):
        return Grant(await _moved(database, process, account, turn), 0)


async def hand_back(
    database: Database,
    process: str,
    account: str,
    turn: int,
    amount: Nano,
    expires_at: datetime,
    witness: Witness = UNWATCHED,
) -> Nano:
    """Move an amount from the lease to the account, exactly once for this turn.

    Returns what the lease gained: less than zero, unless an earlier try with this turn was a
    grant. Safe to repeat after StorageAway. Raises OutOfTurn.
    """

    async def move(session: Session) -> None:
        witness.began(session_id(session))
        await _turn(database, process, account, turn, -amount, expires_at, session)
        witness.halfway()
        await database["accounts"].update_one(
            {"_id": account}, {"$inc": {"available": Int64(amount)}}, session=session
        )

    try:
        await database.transaction(move)
    except (Duplicate, _TurnTaken):
        return await _moved(database, process, account, turn)
    return -amount


async def _turn(
    database: Database,
    process: str,
    account: str,
    turn: int,
    amount: Nano,
    expires_at: datetime,
    session: Session,
) -> None:
    """Change what the lease holds; an upsert of another turn is a duplicate."""
    result = await database["leases"].update_one(
        {"_id": lease_id(process, account), "turn": Int64(turn)},
        {
            "$inc": {"held": Int64(checked(amount))},
            "$set": {
                "turn": Int64(turn + 1),
                "moved": Int64(amount),
                "expires_at": expires_at,
                "process": process,
                "account": account,
                "state": "open",
            },
        },
        upsert=turn == 0,
        session=session,
    )
    if not result.matched_count and result.upserted_id is None:
        raise _TurnTaken


async def _moved(database: Database, process: str, account: str, turn: int) -> Nano:
    """Return what the move of this turn moved; raises OutOfTurn where the lease was swept."""
    found = await database["leases"].find_one({"_id": lease_id(process, account)})
    if found is None or int(found["turn"]) != turn + 1:
        raise OutOfTurn(None if found is None else _stored(found))
    return int(found["moved"])


async def read(database: Database, process: str, account: str) -> Stored | None:
    """Return a lease as it is stored."""
    found = await database["leases"].find_one({"_id": lease_id(process, account)})
    return None if found is None else _stored(found)


async def renew(database: Database, process: str, expires_at: datetime) -> int:
    """Put off the end of every lease of a process; return how many there are."""
    result = await database["leases"].update_many(
        {"process": process}, {"$set": {"expires_at": expires_at}}
    )
    return result.matched_count


async def of_process(database: Database, process: str) -> list[Stored]:
    """Return the leases of a process."""
    return [_stored(document) async for document in database["leases"].find({"process": process})]


async def expired(
    database: Database, before: datetime, alive: Collection[str]
) -> AsyncIterator[Stored]:
    """Yield leases that ended before a time, but for those of the processes known to be alive."""
    query = {"expires_at": {"$lt": before}, "process": {"$nin": list(alive)}}
    async for document in database["leases"].find(query, limit=1000):
        yield _stored(document)


async def dissolve(database: Database, lease: Stored, witness: Witness = UNWATCHED) -> bool:
    """Give all that a lease holds back to its account and remove it, exactly once.

    A lease that was renewed or moved since it was read is left alone, and so is a debt that the
    account cannot cover yet. True when the lease is gone.
    """

    async def move(session: Session) -> bool:
        witness.began(session_id(session))
        leases = database["leases"]
        found = await leases.find_one({"_id": lease.id}, session=session)
        if found is None:
            return True
        if int(found["turn"]) != lease.turn or found["expires_at"] != lease.expires_at:
            return False
        held = int(found["held"])
        if held:
            changed = await database["accounts"].update_one(
                {"_id": lease.account, "available": {"$gte": Int64(-held)}},
                {"$inc": {"available": Int64(held)}},
                session=session,
            )
            if not changed.matched_count:
                return False
        witness.halfway()
        await leases.delete_one({"_id": lease.id}, session=session)
        return True

    return await database.transaction(move)


async def held_elsewhere(database: Database, process: str, account: str) -> bool:
    """True when another process holds money of the account."""
    query = {"account": account, "held": {"$gt": Int64(0)}, "process": {"$ne": process}}
    return await database["leases"].find_one(query, {"_id": 1}) is not None


async def want(database: Database, account: str, at: datetime) -> None:
    """Mark the account, so that holders return what they do not use."""
    await database["accounts"].update_one({"_id": account}, {"$set": {"wanted_at": at}})


async def wanted(database: Database, since: datetime) -> list[str]:
    """Return the accounts that were marked since then."""
    query = {"wanted_at": {"$gte": since}}
    return [found["_id"] async for found in database["accounts"].find(query, {"_id": 1})]


def _stored(document: dict[str, Any]) -> Stored:
    return Stored(
        document["_id"],
        document["process"],
        document["account"],
        int(document["held"]),
        int(document["turn"]),
        document["expires_at"],
    )
