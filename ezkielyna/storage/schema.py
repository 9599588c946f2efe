"""What the database holds: collections, what their documents must look like, and indexes.

Created once and noted in `meta` with a version, so that a start which finds that version sends a
single query. Validators hold the shape that money depends on: every amount is a BSON Int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo import ASCENDING, IndexModel

from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import SchemaMismatch, StorageError

VERSION = 14
OLDEST = 1
"""From this version on, documents differ by additions only: `prepare` brings them up to date."""

OLD_DAYS = "usage_daily"
"""A collection of versions before 13: what it told, and more, is in `usage_hourly`."""

LONG: Mapping[str, Any] = {"bsonType": "long"}
BALANCE: Mapping[str, Any] = {"bsonType": "long", "minimum": 0}
TEXT: Mapping[str, Any] = {"bsonType": "string", "minLength": 1}
DATE: Mapping[str, Any] = {"bsonType": "date"}
BINARY: Mapping[str, Any] = {"bsonType": "binData"}
FLAG: Mapping[str, Any] = {"bsonType": "bool"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A collection: fields every document has, fields it may have, and how it is searched."""

    required: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    optional: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    indexes: tuple[IndexModel, ...] = ()
    retired: frozenset[str] = frozenset()
    """Names of indexes that versions before had."""

    def validator(self) -> dict[str, Any]:
        """Return the JSON schema; fields it does not name are free."""
        schema: dict[str, Any] = {"bsonType": "object"}
        properties = {**self.required, **self.optional}
        if self.required:
            schema["required"] = sorted(self.required)
        if properties:
            schema["properties"] = {name: dict(rule) for name, rule in properties.items()}
        return {"$jsonSchema": schema}


# Times are indexed ascending, also where the newest comes first: a half-open range over a
# descending index misses its first moment on the embedded database (SecantusDB 0.7.0b3).
SHAPES: Mapping[str, _Shape] = {
    "accounts": _Shape(
        required={
            "_id": TEXT,
            "email": TEXT,
            "status": {"enum": ["active", "suspended"]},
            "plan": TEXT,
            "available": BALANCE,
            "verified": FLAG,
            "created_at": DATE,
        },
        indexes=(
            IndexModel([("email", ASCENDING)], unique=True),
            IndexModel([("created_at", ASCENDING), ("_id", ASCENDING)]),
            IndexModel([("wanted_at", ASCENDING)], sparse=True),
            IndexModel([("low_balance.told", ASCENDING)], sparse=True),
        ),
    ),
    "keys": _Shape(
        required={"_id": TEXT, "account": TEXT, "hash": TEXT, "name": TEXT, "created_at": DATE},
        optional={
            "limit": {"bsonType": ["long", "null"]},
            "spent": LONG,
            "expires_at": {"bsonType": ["date", "null"]},
            "revoked_at": {"bsonType": ["date", "null"]},
        },
        indexes=(
            IndexModel([("hash", ASCENDING)], unique=True),
            IndexModel([("account", ASCENDING), ("created_at", ASCENDING)]),
        ),
    ),
    "leases": _Shape(
        required={"_id": TEXT, "process": TEXT, "account": TEXT, "held": LONG},
        indexes=(
            IndexModel([("account", ASCENDING)]),
            IndexModel([("process", ASCENDING)]),
            IndexModel([("expires_at", ASCENDING)]),
        ),
    ),
    "ledger": _Shape(
        required={
            "_id": TEXT,
            "account": TEXT,
            "kind": {"enum": ["credit", "top-up", "settlement", "refund", "correction"]},
            "amount": LONG,
            "at": DATE,
        },
        indexes=(
            IndexModel([("account", ASCENDING), ("at", ASCENDING)]),
            IndexModel([("account", ASCENDING), ("kind", ASCENDING), ("at", ASCENDING)]),
        ),
    ),
    "batches": _Shape(
        required={"_id": TEXT},
        indexes=(IndexModel([("process", ASCENDING), ("n", ASCENDING)]),),
    ),
    "prices": _Shape(required={"_id": TEXT, "rates": {"bsonType": "object"}}),
    "price_changes": _Shape(
        required={"_id": TEXT, "model": TEXT, "at": DATE, "rates": {"bsonType": "object"}}
    ),
    "usage": _Shape(
        required={"_id": TEXT, "account": TEXT, "key": TEXT, "cost": LONG},
        indexes=(
            IndexModel([("account", ASCENDING), ("started_at", ASCENDING), ("_id", ASCENDING)]),
        ),
        retired=frozenset({"batch_1"}),
    ),
    "usage_hourly": _Shape(
        required={"_id": TEXT, "account": TEXT, "cost": LONG},
        indexes=(
            IndexModel([("account", ASCENDING), ("hour", ASCENDING)]),
            IndexModel([("key", ASCENDING), ("hour", ASCENDING)]),
            IndexModel([("hour", ASCENDING), ("account", ASCENDING)]),
        ),
        retired=frozenset({"merged_1_account_1_hour_1"}),
    ),
    "usage_sums": _Shape(
        required={
            "_id": TEXT,
            "account": TEXT,
            "by": TEXT,
            "grain": {"enum": ["hour", "day"]},
            "start": DATE,
            "rows": {
                "bsonType": "array",
                "items": {
                    "bsonType": "object",
                    "required": ["cost", "value"],
                    "properties": {"cost": LONG},
                },
            },
        },
        indexes=(
            IndexModel(
                [
                    ("account", ASCENDING),
                    ("by", ASCENDING),
                    ("grain", ASCENDING),
                    ("start", ASCENDING),
                ]
            ),
            IndexModel([("by", ASCENDING), ("grain", ASCENDING), ("start", ASCENDING)]),
        ),
    ),
    "live": _Shape(
        required={"_id": TEXT, "kind": TEXT, "account": TEXT, "until": DATE},
        indexes=(IndexModel([("until", ASCENDING)], expireAfterSeconds=0),),
    ),
    "idempotency": _Shape(
        required={"_id": TEXT, "claim": TEXT, "fingerprint": BINARY, "expires_at": DATE},
        optional={
            "process": TEXT,
            "status": {"bsonType": ["int", "null"]},
            "body": {"bsonType": ["binData", "null"]},
            "end": {"bsonType": ["binData", "null"]},
        },
        indexes=(
            IndexModel([("claim", ASCENDING)]),
            IndexModel([("process", ASCENDING)]),
            IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
        ),
    ),
    "sessions": _Shape(
        required={"_id": TEXT, "account": TEXT, "created_at": DATE, "expires_at": DATE},
        indexes=(
            IndexModel([("account", ASCENDING)]),
            IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
        ),
    ),
    "tickets": _Shape(
        required={"_id": TEXT, "account": TEXT, "purpose": TEXT, "hash": TEXT, "expires_at": DATE},
        indexes=(
            IndexModel([("account", ASCENDING)]),
            IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
        ),
    ),
    "trail": _Shape(
        required={"_id": TEXT, "account": TEXT, "at": DATE, "act": TEXT, "by": TEXT},
        indexes=(IndexModel([("account", ASCENDING), ("at", ASCENDING)]),),
    ),
    "payments": _Shape(
        required={
            "_id": TEXT,
            "account": TEXT,
            "method": TEXT,
            "kind": TEXT,
            "amount": LONG,
            "state": {"enum": ["processing", "paid", "failed", "refunded"]},
            "created_at": DATE,
        },
        optional={"owed": LONG},
        indexes=(
            IndexModel([("account", ASCENDING), ("created_at", ASCENDING)]),
            IndexModel([("owed", ASCENDING)], sparse=True),
            IndexModel([("state", ASCENDING), ("created_at", ASCENDING)]),
        ),
    ),
    "payment_notes": _Shape(required={"_id": TEXT, "at": DATE}),
    "meta": _Shape(required={"_id": TEXT}),
}


async def prepare(database: Database) -> None:
    """Bring a database that is empty or older into shape; leave one in shape alone.

    Safe to run from several processes at once. Raises SchemaMismatch for documents of a version
    that this one does not know.
    """
    noted = await database["meta"].find_one({"_id": "schema"})
    version = noted["version"] if noted else None
    if version == VERSION:
        return
    if version is not None and not OLDEST <= version < VERSION:
        raise SchemaMismatch(
            f"the database holds version {version} of Ezkielyna's documents, this is version "
            f"{VERSION}: run the release that wrote it, or another storage.database"
        )
    existing = set(await database.collection_names())
    for name, shape in SHAPES.items():
        await _shape(database, name, shape, name in existing)
    if OLD_DAYS in existing:
        # Hours that were merged stayed in `usage_hourly`. They are read there, and merged again,
        # as any others.
        await database.drop_collection(OLD_DAYS)
    await database["meta"].update_one(
        {"_id": "schema"}, {"$set": {"version": VERSION}}, upsert=True
    )


async def _shape(database: Database, name: str, shape: _Shape, exists: bool) -> None:
    validator = shape.validator()
    if not exists:
        try:
            await database.create_collection(name, validator=validator)
        except StorageError:
            # Another process may have been first; then it exists now.
            exists = name in await database.collection_names()
            if not exists:
                raise
    if exists:
        await database.command({"collMod": name, "validator": validator})
        await _retire(database, name, shape.retired)
    if shape.indexes:
        await database[name].create_indexes(shape.indexes)


async def _retire(database: Database, name: str, retired: frozenset[str]) -> None:
    """Drop indexes that nothing searches any more: each costs every document that is written."""
    for index in retired & (await _indexes(database, name) if retired else set()):
        try:
            await database.command({"dropIndexes": name, "index": index})
        except StorageError:
            # Another process may have been first; then it is gone now.
            if index in await _indexes(database, name):
                raise


async def _indexes(database: Database, name: str) -> set[str]:
    answer = await database.command({"listIndexes": name})
    return {index["name"] for index in answer["cursor"]["firstBatch"]}
