"""Accounts: who pays. Their money changes elsewhere (`credits.py` and the ledger)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from bson import Int64

from ezkielyna.contract.context import Account
from ezkielyna.contract.limits import Override
from ezkielyna.contract.money import Nano
from ezkielyna.storage.credits import enter
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document, Session
from ezkielyna.storage.errors import Duplicate, Invalid, Missing
from ezkielyna.storage.keyformat import identifier
from ezkielyna.storage.overrides import document_of, override_of, told
from ezkielyna.storage.trail import note

PAGE = 500
LONGEST_EMAIL = 254
"""RFC 5321 section 4.5.3.1.3, less the angle brackets."""

Status = Literal["active", "suspended"]

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f.]+(\.[^@\s\x00-\x1f\x7f.]+)*")


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account with its money: `available` is free, `held` is in the leases of processes."""

    id: str
    email: str
    status: Status
    plan: str
    verified: bool
    available: Nano
    held: Nano
    created_at: datetime
    limits: Override | None = None

    @property
    def balance(self) -> Nano:
        """What the account has: free and held together."""
        return self.available + self.held


def account_of(document: Document) -> Account:
    """Return what the request path needs of an account's document."""
    return Account(
        id=document["_id"],
        email=document["email"],
        plan=document["plan"],
        suspended=document["status"] != "active",
        verified=document["verified"],
        limits=override_of(document.get("limits")),
    )


def normalised(email: str) -> str:
    """Return an e-mail address as it is stored: trimmed and in small letters. Raises Invalid."""
    trimmed = email.strip().lower()
    if len(trimmed) > LONGEST_EMAIL or _EMAIL.fullmatch(trimmed) is None:
        raise Invalid(f"{email!r} is not an e-mail address")
    return trimmed


class Accounts:
    """The collection `accounts`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]

    async def create(
        self,
        email: str,
        plan: str,
        *,
        verified: bool = False,
        password_hash: str | None = None,
        credit: Nano = 0,
        by: str = "",
    ) -> AccountRecord:
        """Make an account, with its first credit in the same transaction, and return it.

        Raises Duplicate when the e-mail has an account, Invalid when it is no address.
        """
        document: Document = {
            "_id": identifier("acc"),
            "email": normalised(email),
            "status": "active",
            "plan": plan,
            "available": Int64(0),
            "version": 1,
            "verified": verified,
            "password_hash": password_hash,
            "created_at": datetime.now(UTC),
        }

        async def work(session: Session) -> None:
            await self._accounts.insert_one(document, session=session)
            if credit:
                await enter(
                    self._database,
                    session,
                    document["_id"],
                    credit,
                    reference=f"opening-{document['_id']}",
                    kind="credit",
                    by=by,
                    note="opening credit",
                )

        try:
            await self._database.transaction(work)
        except Duplicate:
            raise Duplicate(f"there is already an account {document['email']}") from None
        return await self.by_id(document["_id"])

    async def by_email(self, email: str) -> AccountRecord:
        """Return the account of this address, however it is capitalised. Raises Missing."""
        address = normalised(email)
        return await self._one({"email": address}, address)

    async def by_id(self, account_id: str) -> AccountRecord:
        """Return the account of this id. Raises Missing."""
        return await self._one({"_id": account_id}, account_id)

    async def list(self) -> AsyncIterator[AccountRecord]:
        """Yield every account by e-mail; reads a page at a time."""
        after = ""
        while True:
            records = await self._records({"email": {"$gt": after}}, PAGE)
            for record in records:
                yield record
            if len(records) < PAGE:
                return
            after = records[-1].email

    async def search(self, begins: str, *, after: str, limit: int) -> Sequence[AccountRecord]:
        """Return accounts whose e-mail begins so, by e-mail, from behind another one."""
        first = {"$gt": after} if after >= begins else {"$gte": begins}
        bounds = {**first, "$lt": begins + "\uffff"} if begins else first
        return await self._records({"email": bounds}, limit)

    async def count(self, status: Status | None = None) -> int:
        """Return how many accounts there are, all or of one status."""
        return await self._accounts.count_documents({} if status is None else {"status": status})

    async def emails(self, ids: Collection[str]) -> dict[str, str]:
        """Return the e-mail addresses of accounts by id; those that are gone are left out."""
        found = self._accounts.find({"_id": {"$in": list(ids)}}, {"email": 1})
        return {document["_id"]: document["email"] async for document in found}

    async def suspend(self, email: str, *, by: str = "") -> AccountRecord:
        """Stop an account: its keys are refused everywhere within seconds. Raises Missing."""
        return await self._set(email, {"status": "suspended"}, "account-suspended", by)

    async def resume(self, email: str, *, by: str = "") -> AccountRecord:
        """Let a suspended account go on. Raises Missing."""
        return await self._set(email, {"status": "active"}, "account-resumed", by)

    async def set_limits(
        self, email: str, limits: Override | None, *, by: str = ""
    ) -> AccountRecord:
        """Override the plan's limits for an account, in force within seconds. Raises Missing."""
        changes = {"limits": document_of(limits)}
        return await self._set(email, changes, "account-limited", by, told(limits))

    async def _set(
        self, email: str, changes: Document, act: str, by: str, about: str = ""
    ) -> AccountRecord:
        """Change an account and leave a step of the trail, both or neither; none where it is so."""
        address = normalised(email)

        async def work(session: Session) -> None:
            changed = await self._accounts.find_one_and_update(
                {"email": address},
                {"$set": changes, "$inc": {"version": 1}},
                before=True,
                session=session,
            )
            if changed is None:
                raise Missing(f"there is no account {address}")
            if any(changed.get(name) != value for name, value in changes.items()):
                await note(self._database, changed["_id"], act, by=by, about=about, session=session)

        await self._database.transaction(work)
        return await self.by_email(address)

    async def _one(self, query: Document, sought: str) -> AccountRecord:
        records = await self._records(query, 1)
        if not records:
            raise Missing(f"there is no account {sought}")
        return records[0]

    async def _records(self, query: Document, limit: int) -> Sequence[AccountRecord]:
        """Return accounts with what is held, of one moment: money in between is seen once."""

        async def work(session: Session) -> Sequence[AccountRecord]:
            found = self._accounts.find(query, sort=[("email", 1)], limit=limit, session=session)
            documents = [document async for document in found]
            held = await self._held([document["_id"] for document in documents], session)
            return [_record(document, held.get(document["_id"], 0)) for document in documents]

        return await self._database.transaction(work)

    async def _held(self, ids: Sequence[str], session: Session) -> dict[str, Nano]:
        held: dict[str, Nano] = {}
        if ids:
            leases = self._database["leases"].find({"account": {"$in": ids}}, session=session)
            async for lease in leases:
                held[lease["account"]] = held.get(lease["account"], 0) + lease["held"]
        return held


def _record(document: Document, held: Nano) -> AccountRecord:
    return AccountRecord(
        id=document["_id"],
        email=document["email"],
        status=document["status"],
        plan=document["plan"],
        verified=document["verified"],
        available=int(document["available"]),
        held=int(held),
        created_at=document["created_at"],
        limits=override_of(document.get("limits")),
    )
