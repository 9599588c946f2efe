"""Sessions of transactions: who opened one may die in it, and others then have to end it.

The server keeps a transaction whose client died for a minute, and all it touched is locked that
long. Its session's id, noted in time, lets a sibling end it at once.
"""

from __future__ import annotations

from collections.abc import Collection

from bson.binary import UUID_SUBTYPE, Binary

from ezkielyna.storage.collection import Session
from ezkielyna.storage.database import Database


class Witness:
    """Is told how a transaction goes. This one does not care."""

    def began(self, session: str) -> None:
        """Note that a transaction of this session is about to write; may be told repeatedly."""

    def halfway(self) -> None:
        """Note that some of a transaction is written and some is not."""


UNWATCHED = Witness()


def session_id(session: Session) -> str:
    """Return the id by which others can end this session."""
    return bytes(session.raw.session_id["id"]).hex()


async def end_sessions(database: Database, sessions: Collection[str]) -> None:
    """Abort what runs in these sessions; those that are over already are left alone."""
    ids = [{"id": Binary(bytes.fromhex(session), UUID_SUBTYPE)} for session in sessions]
    if ids:
        await database.command({"killSessions": ids})
