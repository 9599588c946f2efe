"""API keys that a page of the console uses itself: one a session, for an hour, and gone with it.

A page that is loaded again needs the key's text again, and no text of a key is ever stored. So the
text is made of the session's token, which only the browser has, of how many keys the session had
before, and of the server's secret: with it the same session finds the same key, and who reads the
database finds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document
from ezkielyna.storage.errors import Conflict, Duplicate
from ezkielyna.storage.keyformat import derived, key_from
from ezkielyna.storage.keys import Keys

PURPOSE = "session-key"
LIFETIME = timedelta(hours=1)
LEAST_LEFT = timedelta(minutes=10)
"""A key with less time than this is replaced; it goes on until its end, for pages that have it."""

MOST_TRIES = 5
BY = "console"


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A key's text and its end."""

    text: str
    expires_at: datetime


class SessionKeys:
    """Those of the collection `keys` that have a session. `secret` is the server's."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._keys = database["keys"]
        self._subkey = derived(secret, PURPOSE)
        self._maker = Keys(database, secret)

    async def of(self, account_id: str, session_id: str, token: str, *, name: str) -> SessionKey:
        """Return the session's key; makes one called `name` where none lasts long enough.

        Pages that ask at the same time get the same key.
        """
        query = {"account": account_id, "session": session_id}
        for _ in range(MOST_TRIES):
            now = datetime.now(UTC)
            found = self._keys.find(query, sort=[("created_at", 1), ("_id", 1)])
            had = [document async for document in found]
            if had and _lasts(had[-1], now):
                return SessionKey(self._text(token, len(had) - 1), had[-1]["expires_at"])
            expires_at = now.replace(microsecond=0) + LIFETIME
            text = self._text(token, len(had))
            try:
                await self._maker.create(
                    account_id,
                    name=name,
                    expires_at=expires_at,
                    key=text,
                    session=session_id,
                    by=BY,
                )
            except Duplicate:
                continue
            await self._put_away(account_id, now)
            return SessionKey(text, expires_at)
        raise Conflict("the keys of this session change too often")

    async def end(self, account_id: str, session_id: str) -> None:
        """Revoke what a session had."""
        await self._end({"account": account_id, "session": session_id})

    async def end_all(self, account_id: str, *, besides: str = "") -> None:
        """Revoke what the sessions of an account had, or all but one."""
        await self._end({"account": account_id, "session": {"$exists": True, "$ne": besides}})

    async def _end(self, query: Document) -> None:
        going = self._keys.find({**query, "revoked_at": None})
        for document in [document async for document in going]:
            await self._maker.revoke(document["_id"], by=BY)

    async def _put_away(self, account_id: str, now: datetime) -> None:
        """Take keys that are over out of the account's list. Their end is no news for the trail."""
        await self._keys.update_many(
            {
                "account": account_id,
                "session": {"$exists": True},
                "revoked_at": None,
                "expires_at": {"$lte": now},
            },
            {"$set": {"revoked_at": now}},
        )

    def _text(self, token: str, before: int) -> str:
        return key_from(self._subkey, f"{token} {before}")


def _lasts(document: Document, now: datetime) -> bool:
    left: timedelta = document["expires_at"] - now
    return document["revoked_at"] is None and left >= LEAST_LEFT
