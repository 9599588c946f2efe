"""The ledger: append-only entries whose ids say what they are, so that a repeat is a duplicate.

An account's balance is what it has available plus what its leases hold, and always the sum of its
entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bson.int64 import Int64

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database

Kind = Literal["credit", "top-up", "settlement", "refund", "correction"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger; `amount` in nano-dollars, positive for money that comes in."""

    id: str
    account: str
    kind: Kind
    amount: Nano
    reference: str
    at: datetime
    by: str = ""
    note: str = ""

    @classmethod
    def of(
        cls,
        kind: Kind,
        account: str,
        amount: Nano,
        reference: str,
        at: datetime,
        *,
        by: str = "",
        note: str = "",
    ) -> Entry:
        """Return an entry whose id follows from its kind and reference.

        The reference of a top-up is `<method>:<payment id>`.
        """
        return cls(f"{kind}:{reference}", account, kind, amount, reference, at, by, note)


def document(entry: Entry) -> Document:
    """Return an entry as it is stored."""
    return {
        "_id": entry.id,
        "account": entry.account,
        "kind": entry.kind,
        "amount": Int64(checked(entry.amount)),
        "reference": entry.reference,
        "at": entry.at,
        "by": entry.by,
        "note": entry.note,
    }


async def statement(
    database: Database,
    account: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 0,
    oldest_first: bool = False,
) -> AsyncIterator[Entry]:
    """Yield an account's entries of a half-open time, newest first."""
    query: Document = {"account": account}
    if since or until:
        query["at"] = ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
    # By time alone the index gives the order: a statement streams, however long it is.
    order = [("at", 1)] if oldest_first else [("at", -1), ("_id", 1)]
    async for found in database["ledger"].find(query, sort=order, limit=limit, batch_size=1000):
        yield _entry(found)


async def page(
    database: Database, account: str, limit: int, after: tuple[datetime, str] | None = None
) -> list[Entry]:
    """Return an account's entries, newest first, from behind the entry of this time and id."""
    query: Document = {"account": account}
    if after is not None:
        at, id_ = after
        query |= {"at": {"$lte": at}, "$or": [{"at": {"$lt": at}}, {"_id": {"$gt": id_}}]}
    found = database["ledger"].find(query, sort=[("at", -1), ("_id", 1)], limit=limit)
    return [_entry(document) async for document in found]


def _entry(found: Document) -> Entry:
    return Entry(
        id=found["_id"],
        account=found["account"],
        kind=found["kind"],
        amount=int(found["amount"]),
        reference=found["reference"],
        at=found["at"],
        by=found.get("by", ""),
        note=found.get("note", ""),
    )
