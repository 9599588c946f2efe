"""Who wants to be told that the balance is low, and who has to be told now.

An account is told once each time it falls below its mark: again only after it was above it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bson.int64 import Int64

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database


@dataclass(frozen=True, slots=True)
class Fallen:
    """An account that fell below its mark."""

    account: str
    email: str
    balance: Nano
    mark: Nano


async def set_mark(database: Database, account_id: str, mark: Nano | None) -> None:
    """Set below which balance an account wants a mail; None for no mail."""
    change = (
        {"$unset": {"low_balance": ""}}
        if mark is None
        else {"$set": {"low_balance": {"mark": Int64(checked(mark)), "told": False}}}
    )
    await database["accounts"].update_one({"_id": account_id}, change)


async def mark_of(database: Database, account_id: str) -> Nano | None:
    """Return below which balance an account wants a mail; None when it wants none."""
    found = await database["accounts"].find_one({"_id": account_id}, {"low_balance": 1})
    low = (found or {}).get("low_balance")
    return None if low is None else int(low["mark"])


async def fallen(database: Database) -> AsyncIterator[Fallen]:
    """Yield every account that has to be told; no two callers get the same fall."""
    accounts = database["accounts"]
    above = {"$expr": {"$gte": ["$available", "$low_balance.mark"]}, "low_balance.told": True}
    await accounts.update_many(above, {"$set": {"low_balance.told": False}})
    below = {"$expr": {"$lt": ["$available", "$low_balance.mark"]}, "low_balance.told": False}
    ids = [found["_id"] async for found in accounts.find(below, {"_id": 1})]
    for account_id in ids:
        # Processes hold a part of the balance, which counts.
        account = await Accounts(database).by_id(account_id)
        mark = await mark_of(database, account_id)
        if mark is None or account.balance >= mark:
            continue
        claimed = await accounts.update_one(
            {"_id": account_id, "low_balance.told": False}, {"$set": {"low_balance.told": True}}
        )
        if claimed.matched_count:
            yield Fallen(account.id, account.email, account.balance, mark)
