"""Idempotency: which requests run or have answered under a name that their client gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate

MOST_BODY = 15 * 2**20
"""MongoDB takes documents of 16 MiB."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a request: its fingerprint, and its answer unless it still runs.

    `status` is 0 while it runs. `body` is None, too, where the answer was too large to be kept.
    """

    fingerprint: bytes
    status: int
    body: bytes | None


class Claims:
    """The collection `idempotency`. A claim is its owner's until it expires; so is an answer.

    `process` is whose claims these are: when it dies, they are released by who recovers it.
    """

    def __init__(self, database: Database, process: str) -> None:
        self._claims = database["idempotency"]
        self._process = process

    async def claim(
        self, id_: str, claim: str, fingerprint: bytes, now: datetime, until: datetime
    ) -> Kept | None:
        """Claim an id; return None when it is ours now, else what it belongs to.

        Raises StorageError.
        """
        fields = {
            "claim": claim,
            "process": self._process,
            "fingerprint": fingerprint,
            "status": None,
            "body": None,
            "end": None,
            "expires_at": until,
        }
        while True:
            try:
                await self._claims.insert_one({"_id": id_, **fields})
            except Duplicate:
                pass
            else:
                return None
            over = {"_id": id_, "expires_at": {"$lte": now}}
            if await self._claims.find_one_and_update(over, {"$set": fields}) is not None:
                return None
            found = await self._claims.find_one({"_id": id_})
            # It was released between the two commands: the next insert may succeed.
            if found is not None:
                return _kept(found)

    async def keep(
        self, id_: str, claim: str, status: int, body: bytes, until: datetime, end: bytes | None
    ) -> bool:
        """Keep the answer of a claim; False, and nothing is kept, where it is another's by now.

        `end` is what the journal will say of the request's end, None where nothing is charged.
        Safe to repeat. Raises StorageError.
        """
        kept = body if len(body) <= MOST_BODY else None
        done = await self._claims.update_one(
            {"_id": id_, "claim": claim},
            {"$set": {"status": status, "body": kept, "end": end, "expires_at": until}},
        )
        return done.matched_count == 1

    async def release(self, id_: str, claim: str) -> None:
        """Let the next request have the id. Raises StorageError."""
        await self._claims.delete_one({"_id": id_, "claim": claim, "status": None})


async def close_claims(
    database: Database, process: str, requests: Sequence[str]
) -> dict[str, bytes]:
    """Return how these requests of a dead process ended, if their answers were kept.

    Every claim of the process that has no answer is released, also of a request that its journal
    never heard of: nobody will answer it any more. Raises StorageError.
    """
    claims = database["idempotency"]
    await claims.delete_many({"process": process, "status": None})
    query = {"claim": {"$in": list(requests)}, "end": {"$ne": None}}
    found = claims.find(query, {"claim": 1, "end": 1})
    return {document["claim"]: bytes(document["end"]) async for document in found}


def _kept(document: Document) -> Kept:
    return Kept(bytes(document["fingerprint"]), document["status"] or 0, document["body"])
