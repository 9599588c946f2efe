"""Sums over all documents that money is in, sorted by key, so that two can be compared as streams.

Those of documents that change take a session, to read in one moment, and a key, to read only what
belongs to it. What a settlement wrote never changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ezkielyna.contract.money import Nano
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document, Session
from ezkielyna.storage.database import Database
from ezkielyna.storage.merged import COLLECTION, FORMATS, Grain
from ezkielyna.storage.usage import COUNTS, DIMENSIONS

Row = tuple[str, Document]
"""A key and what belongs to it."""

HOUR = timedelta(hours=1)
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
    async for found in _grouped(database, "usage", (), group, None):
        yield str(found["_id"]), {"count": int(found["count"])}


async def used(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield `{requests, cost, <bucket>…}` of usage documents for every hour, by each dimension.

    The key is the id of the merged roll-up and the value: `account:hour:dimension value`.
    """
    async for row in _hours(database, "usage", "started_at", {"$sum": 1}, key, session):
        yield row


async def unmerged(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield the same from the hours of processes."""
    requests = {"$sum": "$requests"}
    async for row in _hours(database, "usage_hourly", "hour", requests, key, session):
        yield row


async def merged_hours(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield the same from the merged hours."""
    async for row in _merged(database, "hour", "hour", ("requests", "cost"), key, session):
        yield row


async def merged_hours_by_day(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield all counts and buckets of merged hours for every day, by each dimension."""
    async for row in _merged(database, "hour", "day", COUNTS, key, session):
        yield row


async def merged_days(
    database: Database, key: str | None = None, session: Session | None = None
) -> AsyncIterator[Row]:
    """Yield the same from the merged days."""
    async for row in _merged(database, "day", "day", COUNTS, key, session):
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
    async for found in _grouped(database, collection, [{"$match": query}], group, session):
        yield str(found["_id"]), {"amount": int(found["amount"])}


async def _hours(
    database: Database,
    collection: str,
    date: str,
    requests: Document,
    key: str | None,
    session: Session | None,
) -> AsyncIterator[Row]:
    """Yield sums of documents that tell every dimension, read once for all of them."""
    hour = {"$dateToString": {"date": f"${date}", "format": FORMATS["hour"]}}
    group: Document = {"_id": {by: f"${by}" for by in DIMENSIONS}}
    group["_id"]["hour"] = {"$concat": ["$account", ":", hour]}
    group |= {"requests": requests, "cost": {"$sum": "$cost"}}
    group |= {bucket: {"$sum": f"$tokens.{bucket}"} for bucket in BUCKETS}
    stages = [] if key is None else [{"$match": _hour_query(key, date)}]
    found = _grouped(database, collection, stages, group, session, order="_id.hour")
    async for row in _by_dimension(found):
        if key is None or row[0] == key:
            yield row


async def _by_dimension(found: AsyncIterator[Document]) -> AsyncIterator[Row]:
    """Yield the sums of each hour by each dimension; an hour's documents follow each other."""
    hour = ""
    rows: dict[str, Counter[str]] = {}
    async for document in found:
        values = document.pop("_id")
        if values["hour"] != hour:
            for row in sorted(rows.items()):
                yield row
            hour = values["hour"]
            rows.clear()
        for by in DIMENSIONS:
            row_key = f"{hour}:{by} {values.get(by, 'ok')}"
            rows.setdefault(row_key, Counter()).update(document)
    for row in sorted(rows.items()):
        yield row


def _hour_query(key: str, field: str) -> Document:
    account, begin, by, value = _key_parts(key, FORMATS["hour"])
    return {"account": account, by: value, field: {"$gte": begin, "$lt": begin + HOUR}}


async def _merged(
    database: Database,
    grain: Grain,
    form: Grain,
    names: Iterable[str],
    key: str | None,
    session: Session | None,
) -> AsyncIterator[Row]:
    """Yield sums of rows of one grain by hours or days, as `form` says."""
    fields = {name: f"$rows.{name}" for name in names}
    fields |= {bucket: f"$rows.tokens.{bucket}" for bucket in BUCKETS}
    start = {"$dateToString": {"date": "$start", "format": FORMATS[form]}}
    parts = ["$account", ":", start, ":", "$by", " ", "$rows.value"]
    group: Document = {"_id": {"$concat": parts}}
    group |= {name: {"$sum": value} for name, value in fields.items()}
    match: Document = {"grain": grain}
    stages: list[Mapping[str, Any]] = [{"$match": match}, {"$unwind": "$rows"}]
    if key is not None:
        account, begin, by, value = _key_parts(key, FORMATS[form])
        end = begin + (HOUR if form == "hour" else DAY)
        match |= {"account": account, "by": by, "start": {"$gte": begin, "$lt": end}}
        stages.append({"$match": {"rows.value": value}})
    async for found in _grouped(database, COLLECTION, stages, group, session):
        yield str(found["_id"]), {name: int(found[name]) for name in fields}


def _key_parts(key: str, form: str) -> tuple[str, datetime, str, str]:
    """Return account, beginning, dimension and value of a key; a value may have any letters."""
    id_, value = key.split(" ", 1)
    account, start, by = id_.rsplit(":", 2)
    return account, datetime.strptime(start, form).replace(tzinfo=UTC), by, value


async def _grouped(
    database: Database,
    collection: str,
    stages: Sequence[Mapping[str, Any]],
    group: Mapping[str, Any],
    session: Session | None,
    order: str = "_id",
) -> AsyncIterator[Document]:
    pipeline = [*stages, {"$group": group}, {"$sort": {order: 1}}]
    options = {} if session else {"allowDiskUse": True}
    async for found in database[collection].aggregate(pipeline, session=session, **options):
        yield found
