"""The trail: who did what to an account's keys and settings, and when. Only ever added to.

Money has a trail of its own, the ledger, in which every entry says by whom and why; `Trail.read`
gives both as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ezkielyna.contract.money import Nano
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document, Session
from ezkielyna.storage.keyformat import identifier

BY_HAND = ("credit", "top-up", "refund", "correction")
"""Kinds of ledger entries that somebody caused; settlements are in the usage pages."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done. `about` says to what; `amount` is there where money moved."""

    at: datetime
    act: str
    by: str
    about: str = ""
    amount: Nano | None = None


async def note(
    database: Database,
    account_id: str,
    act: str,
    *,
    by: str,
    about: str = "",
    session: Session | None = None,
) -> None:
    """Add a step; with `session` it is there exactly when the transaction is."""
    await database["trail"].insert_one(
        {
            "_id": identifier("trl"),
            "account": account_id,
            "at": datetime.now(UTC),
            "act": act,
            "by": by or "unknown",
            "about": about,
        },
        session=session,
    )


async def read(
    database: Database, account_id: str, *, until: datetime | None = None, limit: int = 50
) -> Sequence[Step]:
    """Return an account's latest steps before a moment, money among them, newest first."""
    query: Document = {"account": account_id}
    if until is not None:
        query["at"] = {"$lt": until}
    newest = [("at", -1)]
    steps = [
        Step(found["at"], found["act"], found["by"], found.get("about", ""))
        async for found in database["trail"].find(query, sort=newest, limit=limit)
    ]
    # Kind by kind: one index answers in order, however many settlements lie in between.
    for kind in BY_HAND:
        moved = {**query, "kind": kind}
        async for entry in database["ledger"].find(moved, sort=newest, limit=limit):
            about = entry.get("note", "") or entry["reference"]
            steps.append(Step(entry["at"], kind, entry.get("by", ""), about, int(entry["amount"])))
    return sorted(steps, key=lambda step: step.at, reverse=True)[:limit]
