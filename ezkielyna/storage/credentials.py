"""What an account logs in with: its address, and the hash of its password. No hash leaves here."""

from __future__ import annotations

from dataclasses import dataclass

from ezkielyna.contract.money import Nano
from ezkielyna.storage import passwords
from ezkielyna.storage.accounts import normalised
from ezkielyna.storage.credits import enter
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document, Session
from ezkielyna.storage.errors import Duplicate, Invalid
from ezkielyna.storage.trail import note


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an address."""

    account: str
    email: str
    verified: bool


class Credentials:
    """The part of the collection `accounts` that is about logging in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]

    async def holder(self, email: str) -> Holder | None:
        """Return who has this address; None for nobody, and for what is no address."""
        document = await self._find(email)
        if document is None:
            return None
        return Holder(document["_id"], document["email"], document["verified"])

    async def check(self, email: str, password: str) -> Holder | None:
        """Return who this address and password belong to.

        None takes as long for a wrong password as for an address without an account.
        """
        document = await self._find(email)
        stored = document.get("password_hash") if document else None
        right = await passwords.matches(stored or passwords.nobodys(), password)
        if document is None or stored is None or not right:
            return None
        if passwords.outdated(stored):
            await self.set_password(document["_id"], await passwords.hashed(password))
        return Holder(document["_id"], document["email"], document["verified"])

    async def set_password(self, account_id: str, password_hash: str) -> None:
        """Store the hash of a new password."""
        await self._accounts.update_one(
            {"_id": account_id}, {"$set": {"password_hash": password_hash}}
        )

    async def verify(self, account_id: str, *, credit: Nano, reference: str) -> bool:
        """Take an account's address as its own and give its first credit, at once.

        A `reference` that was credited before credits nothing. False when it was verified already.
        """

        async def work(session: Session, amount: Nano) -> bool:
            verified = await self._accounts.update_one(
                {"_id": account_id, "verified": False},
                {"$set": {"verified": True}, "$inc": {"version": 1}},
                session=session,
            )
            if verified.matched_count == 0:
                return False
            await note(self._database, account_id, "email-verified", by="you", session=session)
            if amount:
                await enter(
                    self._database,
                    session,
                    account_id,
                    amount,
                    reference=reference,
                    kind="credit",
                    by="sign-up",
                    note="welcome credit",
                )
            return True

        try:
            return await self._database.transaction(lambda session: work(session, credit))
        except Duplicate:
            return await self._database.transaction(lambda session: work(session, 0))

    async def _find(self, email: str) -> Document | None:
        try:
            address = normalised(email)
        except Invalid:
            return None
        return await self._accounts.find_one(
            {"email": address}, {"email": 1, "verified": 1, "password_hash": 1}
        )
