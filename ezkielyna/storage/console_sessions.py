"""Who is logged in to the console: one document a session, found by the hash of its token.

The token is in the browser's cookie alone. A session ends when it is ended, when nobody used it
for `IDLE`, and in any case after `LONGEST`. Keys that were made for a session end with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document
from ezkielyna.storage.keyformat import derived, fingerprint
from ezkielyna.storage.session_keys import SessionKeys

PURPOSE = "console-session"
IDLE = timedelta(days=7)
LONGEST = timedelta(days=30)
NOTED_EVERY = timedelta(minutes=1)
"""How exactly the last use is known; every page would otherwise be a write."""

TOKEN_BYTES = 32
LONGEST_AGENT = 256


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session as its account's owner may see it. `id` finds it and lets nobody in."""

    id: str
    account: str
    created_at: datetime
    seen_at: datetime
    agent: str
    address: str


class ConsoleSessions:
    """The collection `sessions`. `secret` is the server's: with another one nobody is known."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._sessions = database["sessions"]
        self._subkey = derived(secret, PURPOSE)
        self._keys = SessionKeys(database, secret)

    async def begin(self, account_id: str, *, agent: str = "", address: str = "") -> str:
        """Begin a session and return its token: new each time, so that none can be planted."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now = datetime.now(UTC)
        await self._sessions.insert_one(
            {
                "_id": fingerprint(self._subkey, token),
                "account": account_id,
                "created_at": now,
                "seen_at": now,
                "expires_at": now + IDLE,
                "agent": agent[:LONGEST_AGENT],
                "address": address,
            }
        )
        return token

    async def find(self, token: str) -> ConsoleSession | None:
        """Return the session of a token and note that it is used; None when it is over."""
        now = datetime.now(UTC)
        document = await self._sessions.find_one({"_id": fingerprint(self._subkey, token)})
        if document is None or document["expires_at"] <= now:
            return None
        if now - document["seen_at"] >= NOTED_EVERY:
            expires_at = min(now + IDLE, document["created_at"] + LONGEST)
            await self._sessions.update_one(
                {"_id": document["_id"]}, {"$set": {"seen_at": now, "expires_at": expires_at}}
            )
        return _record(document)

    async def list(self, account_id: str) -> Sequence[ConsoleSession]:
        """Return the sessions of an account that go on, the latest used first."""
        query = {"account": account_id, "expires_at": {"$gt": datetime.now(UTC)}}
        found = self._sessions.find(query, sort=[("seen_at", -1)])
        return [_record(document) async for document in found]

    async def end(self, account_id: str, session_id: str) -> bool:
        """End a session of this account; False when it has no such session."""
        deleted = await self._sessions.delete_one({"_id": session_id, "account": account_id})
        await self._keys.end(account_id, session_id)
        return bool(deleted.deleted_count)

    async def end_all(self, account_id: str, *, besides: str = "") -> int:
        """End all sessions of an account, or all but one; return how many."""
        query = {"account": account_id, "_id": {"$ne": besides}}
        deleted = await self._sessions.delete_many(query)
        await self._keys.end_all(account_id, besides=besides)
        return deleted.deleted_count


def _record(document: Document) -> ConsoleSession:
    return ConsoleSession(
        id=document["_id"],
        account=document["account"],
        created_at=document["created_at"],
        seen_at=document["seen_at"],
        agent=document.get("agent", ""),
        address=document.get("address", ""),
    )
