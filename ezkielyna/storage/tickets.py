"""What a mail lets its reader do once: verify an address, set a new password.

A ticket's secret is in the mail alone; stored is its hash. Its six-digit code is worth nothing
without the ticket's id, which only the browser that asked for it has, and dies after `MOST_TRIES`.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document
from ezkielyna.storage.keyformat import derived, fingerprint, identifier

PURPOSE = "console-ticket"
SECRET_BYTES = 32
MOST_TRIES = 5
KEPT = timedelta(days=7)
"""How long after its end a ticket is known, so that a late reader gets another."""

Errand = Literal["verify", "reset"]
LASTS: dict[Errand, timedelta] = {"verify": timedelta(hours=24), "reset": timedelta(minutes=20)}

State = Literal["good", "used", "expired"]


@dataclass(frozen=True, slots=True)
class Issued:
    """A new ticket with what only its mail may tell."""

    id: str
    secret: str
    code: str

    @property
    def text(self) -> str:
        """What stands in the link."""
        return f"{self.id}.{self.secret}"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as it stands."""

    id: str
    account: str
    errand: Errand
    state: State
    undeliverable: bool


class Tickets:
    """The collection `tickets`. `secret` is the server's."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._tickets = database["tickets"]
        self._subkey = derived(secret, PURPOSE)

    @staticmethod
    def unissued() -> str:
        """Return an id that no ticket has, and that nobody can tell from one that has."""
        return identifier("tic")

    async def issue(self, account_id: str, errand: Errand) -> Issued:
        """Make a ticket."""
        issued = Issued(
            self.unissued(), secrets.token_urlsafe(SECRET_BYTES), f"{secrets.randbelow(10**6):06d}"
        )
        now = datetime.now(UTC)
        good_until = now + LASTS[errand]
        await self._tickets.insert_one(
            {
                "_id": issued.id,
                "account": account_id,
                "purpose": errand,
                "hash": self._hash(issued.id, issued.secret),
                "code": self._hash(issued.id, issued.code),
                "tries": 0,
                "created_at": now,
                "good_until": good_until,
                "expires_at": good_until + KEPT,
                "used_at": None,
            }
        )
        return issued

    async def read(self, text: str, errand: Errand) -> Ticket | None:
        """Return the ticket of a link, used or expired ones too; None when there is none."""
        id_, _, secret = text.partition(".")
        document = await self._tickets.find_one({"_id": id_, "purpose": errand})
        if document is None or not _same(document["hash"], self._hash(id_, secret)):
            return None
        return _ticket(document)

    async def find(self, ticket_id: str) -> Ticket | None:
        """Return the ticket of this id; None when there is none."""
        document = await self._tickets.find_one({"_id": ticket_id})
        return None if document is None else _ticket(document)

    async def latest(self, account_id: str, errand: Errand) -> str:
        """Return the id of the account's newest ticket; that of no ticket when it has none."""
        query = {"account": account_id, "purpose": errand}
        found = await self._tickets.find_one(query, {"_id": 1}, sort=[("created_at", -1)])
        return self.unissued() if found is None else str(found["_id"])

    async def use(self, text: str, errand: Errand) -> Ticket | None:
        """Use a link's ticket up and return it; None when it is not good. Only one use succeeds."""
        id_, _, secret = text.partition(".")
        return await self._use({"_id": id_, "purpose": errand, "hash": self._hash(id_, secret)})

    async def use_code(self, ticket_id: str, code: str, errand: Errand) -> Ticket | None:
        """Use a ticket up by its code; None when it is not good, or after too many tries."""
        now = datetime.now(UTC)
        tried = await self._tickets.find_one_and_update(
            {
                "_id": ticket_id,
                "purpose": errand,
                "used_at": None,
                "good_until": {"$gt": now},
                "tries": {"$lt": MOST_TRIES},
            },
            {"$inc": {"tries": 1}},
        )
        if tried is None or not _same(tried["code"], self._hash(ticket_id, code)):
            return None
        return await self._use({"_id": ticket_id, "purpose": errand})

    async def undeliverable(self, ticket_id: str) -> None:
        """Note that the mail with this ticket did not leave."""
        await self._tickets.update_one({"_id": ticket_id}, {"$set": {"undeliverable": True}})

    async def void(self, account_id: str) -> None:
        """Make every ticket of an account worthless."""
        await self._tickets.delete_many({"account": account_id})

    async def _use(self, query: Document) -> Ticket | None:
        now = datetime.now(UTC)
        used = await self._tickets.find_one_and_update(
            {**query, "used_at": None, "good_until": {"$gt": now}}, {"$set": {"used_at": now}}
        )
        return None if used is None else _ticket(used)

    def _hash(self, ticket_id: str, secret: str) -> str:
        return fingerprint(self._subkey, f"{ticket_id}:{secret}")


def _same(stored: str, given: str) -> bool:
    return hmac.compare_digest(stored.encode(), given.encode())


def _ticket(document: Document) -> Ticket:
    if document["used_at"] is not None:
        state: State = "used"
    else:
        state = "good" if document["good_until"] > datetime.now(UTC) else "expired"
    return Ticket(
        id=document["_id"],
        account=document["account"],
        errand=document["purpose"],
        state=state,
        undeliverable=document.get("undeliverable", False),
    )
