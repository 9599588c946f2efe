"""Sums over all documents that money is in, sorted by key, so that two can be compared as streams.

Those of documents that change take a session, to read in one moment, and a key, to read only what
belongs to it. What a settlement wrote never changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.usage import COUNTS, Dimension

Row = tuple[str, Document]
"""A key and what belongs to it."""

HOUR = "%Y-%m-%dT%H"
DAY = timedelta(days=1)


async def available(
    database: Database, account: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{amount}` for every account: what no process holds."""
    query = {} if account is None else {"_id": account}
    found = database["accounts"].find(query, {"available": 1}, sort=[("_id", 1)], session=session)
    async for document in found:
        yield document["_id"], {"amount": int(document["available"])}


async def held(
    database: Database, account: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{amount}` for every account with leases: what processes hold."""
    async for row in _sums(database, "leases", _of(account), "$account", "held", session):
        yield row


async def booked(
    database: Database, account: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{amount}` for every account in the ledger: its balance."""
    async for row in _sums(database, "ledger", _of(account), "$account", "amount", session):
        yield row


async def settlements(database: Database) -> AsyncIterator[Row]:
    """Yield `{amount}` for every `process:n:account` that the ledger has a settlement of."""
    query: Document = {"kind": "settlement"}
    async for document in database["ledger"].find(query, {"amount": 1}, sort=[("_id", 1)]):
        yield document["_id"].removeprefix("settlement:"), {"amount": -int(document["amount"])}


async def settled_usage(database: Database) -> AsyncIterator[Row]:
    """Yield `{amount}` for every `process:n:account` that usage documents are charged under."""
    query: Document = {"cost": {"$ne": 0}}
    id_ = {"$concat": ["$batch", ":", "$account"]}
    async for row in _sums(database, "usage", query, id_, "cost", None):
        yield row


async def batches(database: Database) -> AsyncIterator[Row]:
    """Yield `{count}` for every batch: how many usage documents it brought."""
    async for document in database["batches"].find({}, {"usages": 1}, sort=[("_id", 1)]):
        yield document["_id"], {"count": int(document["usages"])}


async def batched_usage(database: Database) -> AsyncIterator[Row]:
    """Yield `{count}` for every batch that usage documents name."""
    group = {"_id": "$batch", "count": {"$sum": 1}}
    async for found in _grouped(database, "usage", {}, group, None):
        yield str(found["_id"]), {"count": int(found["count"])}


async def rolled_up(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{requests, cost, <bucket>…}` for every key's, model's and endpoint's hour."""
    fields = {name: f"${name}" for name in ("requests", "cost")}
    fields |= {bucket: f"$tokens.{bucket}" for bucket in BUCKETS}
    query = {} if key is None else _hour_query(key, "hour")
    async for row in _hours(database, "usage_hourly", query, "$hour", fields, session):
        yield row


async def used(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield the same from the usage documents."""
    fields: dict[str, Any] = {"requests": 1, "cost": "$cost"}
    fields |= {bucket: f"$tokens.{bucket}" for bucket in BUCKETS}
    query = {} if key is None else _hour_query(key, "started_at")
    async for row in _hours(database, "usage", query, "$started_at", fields, session):
        yield row


async def merged_hours(
    by: Dimension, database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{requests, cost, <bucket>…}` of merged hours for each day and value of a dimension."""
    query: Document = {"merged": True}
    if key is not None:
        account, _, value, day = _day_parts(key)
        query |= {"account": account, by: value, "hour": {"$gte": day, "$lt": day + DAY}}
    async for row in _days(database, "usage_hourly", query, by, f"${by}", "$hour", session):
        yield row


async def days(
    by: Dimension, database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield the same from the daily roll-ups."""
    query: Document = {"by": by}
    if key is not None:
        account, _, value, day = _day_parts(key)
        query |= {"account": account, "value": value, "day": day}
    async for row in _days(database, "usage_daily", query, by, "$value", "$day", session):
        yield row


async def usage_documents(database: Database) -> AsyncIterator[Document]:
    """Yield every usage document's tokens, bill, its price, cost and end."""
    names = ("tokens", "bill", "price_version", "cost", "outcome", "ended_at")
    fields = dict.fromkeys(names, 1)
    async for document in database["usage"].find({}, fields, batch_size=1000):
        yield document


async def paid_in(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{amount}` for every ledger entry that a payment made."""
    query: Document = {"kind": {"$in": ["refund", "top-up"]}}
    if key is not None:
        query["_id"] = key
    found = database["ledger"].find(query, {"amount": 1}, sort=[("_id", 1)], session=session)
    async for document in found:
        yield document["_id"], {"amount": int(document["amount"])}


async def payments_entries(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{amount}` for every ledger entry that a payment says it made."""
    query = {} if key is None else {"entries.id": key}
    pipeline: list[Mapping[str, Any]] = [
        {"$match": query},
        {"$unwind": "$entries"},
        *([] if key is None else [{"$match": {"entries.id": key}}]),
        {"$group": {"_id": "$entries.id", "amount": {"$sum": "$entries.amount"}}},
        {"$sort": {"_id": 1}},
    ]
    async for found in database["payments"].aggregate(pipeline, session=session):
        yield found["_id"], {"amount": int(found["amount"])}


async def payments(database: Database) -> AsyncIterator[Document]:
    """Yield what every payment came to: amount, state, refunds, entries."""
    fields = dict.fromkeys(("amount", "state", "paid_at", "refunds", "owed", "entries"), 1)
    async for document in database["payments"].find({}, fields, batch_size=1000):
        yield document


async def overdrawn(database: Database) -> AsyncIterator[tuple[str, Nano]]:
    """Yield leases that hold less than nothing: debts."""
    async for found in database["leases"].find({"held": {"$lt": 0}}, {"held": 1}):
        yield found["_id"], int(found["held"])


def _of(account: str | None) -> Document:
    return {} if account is None else {"account": account}


async def _sums(
    database: Database,
    collection: str,
    query: Mapping[str, Any],
    key: Any,
    amount: str,
    session: Session | None,
) -> AsyncIterator[Row]:
    group = {"_id": key, "amount": {"$sum": f"${amount}"}}
    async for found in _grouped(database, collection, query, group, session):
        yield str(found["_id"]), {"amount": int(found["amount"])}


async def _hours(
    database: Database,
    collection: str,
    query: Mapping[str, Any],
    date: str,
    fields: Mapping[str, Any],
    session: Session | None,
) -> AsyncIterator[Row]:
    hour = {"$dateToString": {"date": date, "format": HOUR}}
    parts = ["$account", " ", "$key", " ", "$model", " ", "$endpoint", " ", hour]
    group = {"_id": {"$concat": parts}}
    group |= {name: {"$sum": value} for name, value in fields.items()}
    async for found in _grouped(database, collection, query, group, session):
        yield str(found["_id"]), {name: int(found[name]) for name in fields}


def _hour_query(key: str, field: str) -> Document:
    """Return the query for a key of `_hours`; a model's name may have spaces in it."""
    rest, endpoint, hour = key.rsplit(" ", 2)
    account, api_key, model = rest.split(" ", 2)
    begin = datetime.strptime(hour, HOUR).replace(tzinfo=UTC)
    return {
        "account": account,
        "key": api_key,
        "model": model,
        "endpoint": endpoint,
        field: {"$gte": begin, "$lt": begin + timedelta(hours=1)},
    }


async def _days(
    database: Database,
    collection: str,
    query: Mapping[str, Any],
    by: Dimension,
    value: str,
    date: str,
    session: Session | None,
) -> AsyncIterator[Row]:
    fields = {name: f"${name}" for name in COUNTS} | {b: f"$tokens.{b}" for b in BUCKETS}
    day = {"$dateToString": {"date": date, "format": "%Y-%m-%d"}}
    group: Document = {"_id": {"$concat": ["$account", f" {by} ", value, " ", day]}}
    group |= {name: {"$sum": field} for name, field in fields.items()}
    async for found in _grouped(database, collection, query, group, session):
        yield str(found["_id"]), {name: int(found[name]) for name in fields}


def _day_parts(key: str) -> tuple[str, str, str, datetime]:
    """Return account, dimension, value and day of a key of `_days`; a value may have spaces."""
    rest, day = key.rsplit(" ", 1)
    account, by, value = rest.split(" ", 2)
    return account, by, value, datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)


async def _grouped(
    database: Database,
    collection: str,
    query: Mapping[str, Any],
    group: Mapping[str, Any],
    session: Session | None,
) -> AsyncIterator[Document]:
    pipeline: list[Mapping[str, Any]] = [
        {"$match": query},
        {"$group": group},
        {"$sort": {"_id": 1}},
    ]
    options = {} if session else {"allowDiskUse": True}
    async for found in database[collection].aggregate(pipeline, session=session, **options):
        yield found
