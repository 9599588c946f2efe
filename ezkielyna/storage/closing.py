"""What an account takes along, and what is left when it is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document, Session
from ezkielyna.storage.trail import note

HIDDEN = {"hash": 0, "password_hash": 0, "code": 0, "session": 0}
"""Fields that lead to a secret; no export holds them."""

TAKEN_ALONG = ("keys", "sessions", "trail", "payments", "ledger", "usage")
"""Collections of which an export has every document of the account, in this order."""

LEFT = {"email": 0, "password_hash": 0}


async def exported(database: Database, account_id: str) -> AsyncIterator[tuple[str, Document]]:
    """Yield the collection and the document of everything that is known of an account."""
    async for document in database["accounts"].find({"_id": account_id}, HIDDEN):
        yield "account", document
    for name in TAKEN_ALONG:
        order = [("_id", 1)]
        found = database[name].find({"account": account_id}, HIDDEN, sort=order, batch_size=500)
        async for document in found:
            if name == "sessions":
                document.pop("_id")
            yield name, document


async def close(database: Database, account_id: str) -> None:
    """Close an account for ever: nobody can log in, its keys are revoked, its address is free.

    What the books need stays: the ledger, the bills, and the account's own document without its
    address, so that money can still be verified, and given back.
    """
    now = datetime.now(UTC)

    async def work(session: Session) -> None:
        accounts, keys = database["accounts"], database["keys"]
        await accounts.update_one(
            {"_id": account_id},
            {
                "$set": {
                    "status": "suspended",
                    "email": f"{account_id}@closed.invalid",
                    "verified": False,
                    "closed_at": now,
                },
                "$unset": {"password_hash": "", "low_balance": ""},
                "$inc": {"version": 1},
            },
            session=session,
        )
        await keys.update_many(
            {"account": account_id, "revoked_at": None},
            {"$set": {"revoked_at": now}},
            session=session,
        )
        await keys.update_many(
            {"account": account_id}, {"$set": {"name": "closed"}}, session=session
        )
        for name in ("sessions", "tickets"):
            await database[name].delete_many({"account": account_id}, session=session)
        await note(database, account_id, "account-closed", by="you", session=session)

    await database.transaction(work)
