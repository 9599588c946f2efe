"""API keys: stored as a fingerprint, found with their account in one command."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bson import Int64
from pymongo import UpdateOne

from ezkielyna.contract.context import Account, Key
from ezkielyna.contract.limits import Override
from ezkielyna.contract.money import Nano
from ezkielyna.storage.accounts import account_of
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Document, Session
from ezkielyna.storage.errors import Missing
from ezkielyna.storage.keyformat import derived, fingerprint, generate, hint, identifier
from ezkielyna.storage.overrides import document_of, override_of
from ezkielyna.storage.spent import spent_by_key, spent_lately
from ezkielyna.storage.trail import note

PURPOSE = "api-key"

Order = Literal["created", "name", "used"]
_ORDERS: Mapping[Order, Sequence[tuple[str, int]]] = {
    "created": (("created_at", -1), ("_id", 1)),
    "name": (("name", 1), ("_id", 1)),
    "used": (("last_used_at", -1), ("_id", 1)),
}

_WITH_ACCOUNT: Sequence[Mapping[str, Any]] = (
    {
        "$lookup": {
            "from": "accounts",
            "localField": "account",
            "foreignField": "_id",
            "as": "accounts",
        }
    },
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as people see it; never the key itself. `models` empty: all that the plan allows."""

    id: str
    account: str
    name: str
    hint: str
    models: tuple[str, ...]
    expires_at: datetime | None
    limit: Nano | None
    limits: Override | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "active"


def key_of(document: Document) -> Key:
    """Return what the request path needs of a key's document."""
    expires_at = document.get("expires_at")
    limit = document.get("limit")
    return Key(
        id=document["_id"],
        account=document["account"],
        name=document["name"],
        models=tuple(document.get("models", ())),
        expires_at=expires_at.timestamp() if expires_at else 0.0,
        revoked=document.get("revoked_at") is not None,
        limit=None if limit is None else int(limit),
        limits=override_of(document.get("limits")),
    )


class Keys:
    """The collection `keys`. `secret` is the server's: with another one no key is found."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._keys = database["keys"]
        self._subkey = derived(secret, PURPOSE)

    async def create(
        self,
        account_id: str,
        *,
        name: str,
        models: Sequence[str] = (),
        expires_at: datetime | None = None,
        limit: Nano | None = None,
        limits: Override | None = None,
        key: str | None = None,
        session: str = "",
        by: str = "",
    ) -> tuple[KeyRecord, str]:
        """Make a key and return it with its text, which nobody can tell again.

        `key` takes a text that was made before. Raises Duplicate where that is a key. `session` is
        the console session that the key ends with, see `session_keys`. `by` is who did it, for the
        trail; so it is in every change.
        """
        text = key or generate()
        document: Document = {
            "_id": identifier("key"),
            "account": account_id,
            "hash": fingerprint(self._subkey, text),
            "name": name,
            "hint": hint(text),
            "models": list(models),
            "expires_at": expires_at,
            "limit": None if limit is None else Int64(limit),
            "limits": document_of(limits),
            "created_at": datetime.now(UTC),
            "revoked_at": None,
            **({"session": session} if session else {}),
        }

        async def work(session: Session) -> None:
            await self._keys.insert_one(document, session=session)
            await self._note(document, "key-created", by, session)

        await self._database.transaction(work)
        return _record(document), text

    async def find(self, key: str) -> tuple[Key, Account] | None:
        """Return the key and its account, revoked or not; None when there is no such key."""
        query = {"hash": fingerprint(self._subkey, key)}
        found = [pair async for pair in self._with_accounts(query)]
        return found[0] if found else None

    async def refresh(self, ids: Iterable[str]) -> dict[str, tuple[Key, Account]]:
        """Return those of the keys that still exist, by id, with their accounts; one command."""
        found = self._with_accounts({"_id": {"$in": list(ids)}})
        return {key.id: (key, account) async for key, account in found}

    async def spent(
        self, account_id: str, ids: Collection[str], *, until: datetime | None = None
    ) -> dict[str, Nano]:
        """Return what keys of an account spent in all, or in hours before a time."""
        return await spent_by_key(self._database, account_id, ids, until=until)

    async def spent_lately(
        self, ids: Collection[str], *, besides: str, since: datetime
    ) -> dict[str, Nano]:
        """Return what all processes but one spent in hours from a time on, if not merged."""
        return await spent_lately(self._database, ids, besides=besides, since=since)

    async def list(self, account_id: str) -> Sequence[KeyRecord]:
        """Return all keys of an account, oldest first, revoked ones too."""
        found = self._keys.find({"account": account_id}, sort=[("created_at", 1), ("_id", 1)])
        return [_record(document) async for document in found]

    async def of(self, account_id: str, key_id: str) -> KeyRecord:
        """Return a key of this account; raises Missing for one that it has not."""
        return _record(await self._one({"_id": key_id, "account": account_id}))

    async def page(
        self,
        account_id: str,
        *,
        text: str = "",
        revoked: bool = False,
        order: Order = "created",
        skip: int = 0,
        limit: int = 25,
    ) -> tuple[Sequence[KeyRecord], int]:
        """Return a page of an account's keys and how many there are in all.

        `text` is part of the name or the end of the key; revoked keys are left out unless asked
        for.
        """
        query: Document = {"account": account_id}
        if not revoked:
            query["revoked_at"] = None
        if text:
            part = re.escape(text)
            query["$or"] = [
                {"name": {"$regex": part, "$options": "i"}},
                {"hint": {"$regex": f"{part}$"}},
            ]
        found = self._keys.find(query, sort=_ORDERS[order], skip=skip, limit=limit)
        records = [_record(document) async for document in found]
        return records, await self._keys.count_documents(query)

    async def rename(self, account_id: str, key_id: str, name: str, *, by: str) -> KeyRecord:
        """Give a key of this account another name; raises Missing."""
        return await self._change(
            {"_id": key_id, "account": account_id, "name": {"$ne": name}},
            {"name": name},
            "key-renamed",
            by,
            {"_id": key_id, "account": account_id},
            f" is now {name}",
        )

    async def revoke(self, key_id: str, *, account_id: str = "", by: str = "") -> KeyRecord:
        """Revoke a key for ever; one that is revoked stays as it was. Raises Missing.

        With `account_id` only a key of that account is found.
        """
        which = {"_id": key_id, **({"account": account_id} if account_id else {})}
        now = datetime.now(UTC)
        return await self._change(
            {**which, "revoked_at": None}, {"revoked_at": now}, "key-revoked", by, which
        )

    async def one(self, key_id: str) -> KeyRecord:
        """Return a key, revoked or not. Raises Missing."""
        return _record(await self._one({"_id": key_id}))

    async def set_limits(self, key_id: str, limits: Override | None, *, by: str = "") -> KeyRecord:
        """Override the plan's limits for a key, in force within seconds. Raises Missing."""
        which = {"_id": key_id}
        changes = {"limits": document_of(limits)}
        return await self._change(which, changes, "key-limited", by, which)

    async def _change(
        self,
        query: Document,
        changes: Document,
        act: str,
        by: str,
        which: Document,
        remark: str = "",
    ) -> KeyRecord:
        """Change what `query` finds; return the key that is `which`.

        That leaves a step of the trail; none where it is so.
        """

        async def work(session: Session) -> None:
            changed = await self._keys.find_one_and_update(
                query, {"$set": changes}, before=True, session=session
            )
            if changed is not None and any(changed.get(k) != v for k, v in changes.items()):
                await self._note(changed, act, by, session, remark)

        await self._database.transaction(work)
        return _record(await self._one(which))

    async def _one(self, query: Document) -> Document:
        document = await self._keys.find_one(query)
        if document is None:
            raise Missing(f"there is no key {query['_id']}")
        return document

    async def _note(
        self, document: Document, act: str, by: str, session: Session, remark: str = ""
    ) -> None:
        about = f"{document['name']} ({document['hint']}){remark}"
        await note(self._database, document["account"], act, by=by, about=about, session=session)

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used; an earlier time than the noted one changes nothing."""
        if used:
            await self._keys.bulk_write(
                [
                    UpdateOne({"_id": id_}, {"$max": {"last_used_at": at}})
                    for id_, at in used.items()
                ],
                ordered=False,
            )

    async def _set(self, key_id: str, only: Document, changes: Document) -> KeyRecord:
        await self._keys.update_one({"_id": key_id, **only}, {"$set": changes})
        return await self.one(key_id)

    async def _with_accounts(self, query: Document) -> AsyncIterator[tuple[Key, Account]]:
        async for document in self._keys.aggregate([{"$match": query}, *_WITH_ACCOUNT]):
            for account in document["accounts"]:
                yield key_of(document), account_of(account)


def _record(document: Document) -> KeyRecord:
    limit = document.get("limit")
    return KeyRecord(
        id=document["_id"],
        account=document["account"],
        name=document["name"],
        hint=document["hint"],
        models=tuple(document["models"]),
        expires_at=document.get("expires_at"),
        limit=None if limit is None else int(limit),
        limits=override_of(document.get("limits")),
        created_at=document["created_at"],
        last_used_at=document.get("last_used_at"),
        revoked_at=document.get("revoked_at"),
    )
