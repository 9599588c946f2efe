"""Money that is given or taken by hand or by a payment: a ledger entry and the account, at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from bson import Int64

from ezkielyna.contract.money import MAX_NANO, Nano, checked, usd
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Session
from ezkielyna.storage.errors import Conflict, Duplicate, Invalid, Missing, Overdrawn
from ezkielyna.storage.ledger import Entry, document

CreditKind = Literal["credit", "top-up", "refund", "correction"]


async def credit(
    database: Database,
    account_id: str,
    amount: Nano,
    *,
    reference: str,
    kind: CreditKind = "credit",
    by: str,
    note: str = "",
) -> bool:
    """Add an amount to what an account has free; a negative one takes it away.

    Entry and account change in one transaction. `kind` and `reference` name the movement: a
    repeat changes nothing and returns False. Raises Missing without such an account, Overdrawn
    where less is free than is taken away, and Conflict when the reference stands for another
    account or amount.
    """
    checked(amount)

    async def move(session: Session) -> None:
        await enter(
            database,
            session,
            account_id,
            amount,
            reference=reference,
            kind=kind,
            by=by,
            note=note,
        )

    try:
        await database.transaction(move)
    except Duplicate:
        await _same(database, f"{kind}:{reference}", account_id, amount)
        return False
    return True


async def enter(
    database: Database,
    session: Session,
    account_id: str,
    amount: Nano,
    *,
    reference: str,
    kind: CreditKind,
    by: str,
    note: str = "",
) -> None:
    """Do the two writes of `credit` inside a transaction; raises Duplicate for a repeat."""
    now = datetime.now(UTC)
    entry = Entry.of(kind, account_id, amount, reference, now, by=by, note=note)
    await database["ledger"].insert_one(document(entry), session=session)
    bound = {"$gte": Int64(-amount)} if amount < 0 else {"$lte": Int64(MAX_NANO - amount)}
    moved = await database["accounts"].update_one(
        {"_id": account_id, "available": bound},
        {"$inc": {"available": Int64(amount)}},
        session=session,
    )
    if moved.matched_count == 0:
        await _refuse(database, session, account_id, amount)


async def _refuse(database: Database, session: Session, account_id: str, amount: Nano) -> None:
    account = await database["accounts"].find_one({"_id": account_id}, session=session)
    if account is None:
        raise Missing(f"there is no account {account_id}")
    if amount > 0:
        raise Invalid("the account would have more than an Int64 of nano-dollars holds")
    raise Overdrawn(
        f"{usd(-amount)} USD cannot be taken away: {usd(account['available'])} USD of the account "
        "are free; what running requests hold comes back when they end"
    )


async def _same(database: Database, entry_id: str, account_id: str, amount: Nano) -> None:
    entry = await database["ledger"].find_one({"_id": entry_id})
    if entry is not None and (entry["account"], entry["amount"]) != (account_id, amount):
        raise Conflict(
            f"the reference {entry['reference']!r} already stands for {usd(entry['amount'])} USD "
            f"to account {entry['account']}; nothing was changed"
        )
