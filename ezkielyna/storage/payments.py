"""Payments: orders of top-ups, what became of them, and what payment methods must remember."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bson.int64 import Int64

from ezkielyna.contract.money import Nano, checked
from ezkielyna.contract.payment import Button, Continuation, PaymentState
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate, Missing
from ezkielyna.storage.keyformat import derived


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that the provider gave back; `taken` of it the ledger has, in so many `parts`."""

    id: str
    amount: Nano
    at: datetime
    taken: Nano = 0
    parts: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    """A top-up. `entries` are the ids and amounts of all ledger entries it led to.

    `paid_at` is None until the money came, and with it the credit. `tried_at` is when the provider
    said `processing` or `failed` last. `way` is where the customer goes to pay.
    """

    id: str
    account: str
    method: str
    kind: str
    amount: Nano
    currency: str
    created_at: datetime
    state: PaymentState = "processing"
    payment_id: str = ""
    reason: str = ""
    tried_at: datetime | None = None
    paid_at: datetime | None = None
    refunds: tuple[Refund, ...] = ()
    entries: tuple[tuple[str, Nano], ...] = ()
    way: Continuation | None = None

    @property
    def refunded(self) -> Nano:
        """What the provider gave back, in all."""
        return sum(refund.amount for refund in self.refunds)

    @property
    def owed(self) -> Nano:
        """What was given back and could not be taken from the account yet."""
        if self.paid_at is None:
            return 0
        return self.refunded - sum(refund.taken for refund in self.refunds)


async def add(database: Database, payment: Payment, session: Session | None = None) -> None:
    """Keep a new payment; raises Duplicate where there is one of this id."""
    await database["payments"].insert_one(_document(payment), session=session)


async def change(database: Database, payment: Payment, session: Session | None = None) -> None:
    """Keep a payment that is there in its new state."""
    document = _document(payment)
    document.pop("_id")
    update: Document = {"$set": document}
    if not payment.owed:
        update["$unset"] = {"owed": ""}
    await database["payments"].update_one({"_id": payment.id}, update, session=session)


async def read(
    database: Database, payment_id: str, *, account: str = "", session: Session | None = None
) -> Payment:
    """Return a payment, where `account` is given only one of that account. Raises Missing."""
    query = {"_id": payment_id, **({"account": account} if account else {})}
    found = await database["payments"].find_one(query, session=session)
    if found is None:
        raise Missing(f"there is no payment {payment_id}")
    return _payment(found)


async def of_account(
    database: Database, account: str, *, skip: int = 0, limit: int = 0
) -> AsyncIterator[Payment]:
    """Yield an account's payments, newest first."""
    order = [("created_at", -1), ("_id", 1)]
    found = database["payments"].find({"account": account}, sort=order, skip=skip, limit=limit)
    async for document in found:
        yield _payment(document)


async def indebted(database: Database, account: str = "") -> list[str]:
    """Return the ids of payments that owe a refund to the books, all or those of one account."""
    query: Document = {"owed": {"$gt": Int64(0)}}
    if account:
        query["account"] = account
    return [found["_id"] async for found in database["payments"].find(query, {"_id": 1})]


async def unfinished(database: Database, method: str, before: datetime) -> list[str]:
    """Return the ids of a method's payments that were ordered before a moment and still wait."""
    query = {"state": "processing", "created_at": {"$lt": before}, "method": method}
    return [found["_id"] async for found in database["payments"].find(query, {"_id": 1})]


async def available(database: Database, account: str, session: Session) -> Nano:
    """Return what an account has free, as the transaction sees it."""
    found = await database["accounts"].find_one({"_id": account}, {"available": 1}, session=session)
    return int(found["available"]) if found is not None else 0


async def entry_of(database: Database, account: str, entry_id: str) -> bool:
    """True when the ledger has this entry and it is this account's."""
    query = {"_id": entry_id, "account": account}
    return await database["ledger"].find_one(query, {"_id": 1}) is not None


class Notes:
    """What one kind of payment method remembers: the contract's `Desk`."""

    def __init__(self, database: Database, secret: bytes, kind: str) -> None:
        self._notes = database["payment_notes"]
        self._kind = kind
        self.key = derived(secret, f"payment {kind}")

    async def remember(self, name: str, note: Mapping[str, str | int | None]) -> bool:
        """See `Desk.remember`."""
        document = {
            "_id": f"{self._kind}:{name}",
            "at": datetime.now(UTC),
            "note": {key: _number(value) for key, value in note.items()},
        }
        try:
            await self._notes.insert_one(document)
        except Duplicate:
            return False
        return True

    async def recall(self, name: str) -> Mapping[str, Any] | None:
        """See `Desk.recall`."""
        found = await self._notes.find_one({"_id": f"{self._kind}:{name}"})
        return None if found is None else found["note"]


def _number(value: str | int | None) -> str | Int64 | None:
    return Int64(value) if isinstance(value, int) else value


def _document(payment: Payment) -> Document:
    owed = {"owed": Int64(payment.owed)} if payment.owed else {}
    way = payment.way
    return {
        "_id": payment.id,
        "account": payment.account,
        "method": payment.method,
        "kind": payment.kind,
        "amount": Int64(checked(payment.amount)),
        "currency": payment.currency,
        "created_at": payment.created_at,
        "state": payment.state,
        "payment_id": payment.payment_id,
        "reason": payment.reason,
        "tried_at": payment.tried_at,
        "paid_at": payment.paid_at,
        "refunds": [
            {
                "id": refund.id,
                "amount": Int64(refund.amount),
                "at": refund.at,
                "taken": Int64(refund.taken),
                "parts": refund.parts,
            }
            for refund in payment.refunds
        ],
        "entries": [{"id": id_, "amount": Int64(amount)} for id_, amount in payment.entries],
        "way": None
        if way is None
        else {
            "url": way.url,
            "fields": [[name, text] for name, text in way.fields.items()],
            "buttons": [[button.label, button.name, button.value] for button in way.buttons],
            "note": way.note,
        },
        **owed,
    }


def _payment(document: Document) -> Payment:
    refunds = [
        Refund(item["id"], int(item["amount"]), item["at"], int(item["taken"]), item["parts"])
        for item in document["refunds"]
    ]
    way = document["way"]
    payment = Payment(
        id=document["_id"],
        account=document["account"],
        method=document["method"],
        kind=document["kind"],
        amount=int(document["amount"]),
        currency=document["currency"],
        created_at=document["created_at"],
        state=document["state"],
        payment_id=document["payment_id"],
        reason=document["reason"],
        tried_at=document["tried_at"],
        paid_at=document["paid_at"],
        refunds=tuple(refunds),
        entries=tuple((item["id"], int(item["amount"])) for item in document["entries"]),
    )
    if way is None:
        return payment
    buttons = tuple(Button(*button) for button in way["buttons"])
    return replace(payment, way=Continuation(way["url"], dict(way["fields"]), buttons, way["note"]))
