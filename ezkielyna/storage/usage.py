"""Usage: one document a request, and hourly roll-ups, which are all that dashboards read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson.int64 import Int64
from pymongo import UpdateOne

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database


def bill_line(bucket: str, quantity: int, rate: int, amount: Nano) -> Document:
    """Return one line of the bill in a usage document; money is always an Int64."""
    return {"bucket": bucket, "quantity": quantity, "rate": Int64(rate), "amount": Int64(amount)}


def cost(amount: Nano) -> Int64:
    """Return the cost in a usage document."""
    return Int64(checked(amount))


@dataclass(slots=True)
class Hour:
    """A roll-up: what one key used of one model in one hour, as one process saw it."""

    account: str
    key: str
    model: str
    endpoint: str
    hour: datetime
    process: str
    requests: int = 0
    errors: int = 0
    cost: Nano = 0
    tokens: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of its document."""
        hour = self.hour.strftime("%Y-%m-%dT%H")
        return ":".join((self.account, self.key, self.model, self.endpoint, hour, self.process))


def added(hours: Iterable[Hour]) -> list[UpdateOne]:
    """Return the writes that add these roll-ups to what is stored."""
    return [_added(hour) for hour in hours]


def _added(hour: Hour) -> UpdateOne:
    increments = {
        "requests": Int64(hour.requests),
        "errors": Int64(hour.errors),
        "cost": Int64(checked(hour.cost)),
    }
    for bucket, quantity in hour.tokens.items():
        increments[f"tokens.{bucket}"] = Int64(quantity)
    fixed = {
        "account": hour.account,
        "key": hour.key,
        "model": hour.model,
        "endpoint": hour.endpoint,
        "hour": hour.hour,
        "process": hour.process,
    }
    return UpdateOne({"_id": hour.id}, {"$inc": increments, "$setOnInsert": fixed}, upsert=True)


async def by_day_and_model(
    database: Database, account: str, since: datetime, until: datetime
) -> AsyncIterator[Document]:
    """Yield `{day, model, requests, errors, cost, tokens{…}}` for a half-open UTC range."""
    sums: Document = {name: {"$sum": f"${name}"} for name in ("requests", "errors", "cost")}
    day = {"$dateToString": {"date": "$hour", "format": "%Y-%m-%d"}}
    pipeline: list[Mapping[str, Any]] = [
        {"$match": {"account": account, "hour": {"$gte": since, "$lt": until}}},
        {
            "$group": {
                "_id": {"day": day, "model": "$model"},
                **sums,
                **{bucket: {"$sum": f"$tokens.{bucket}"} for bucket in _BUCKETS},
            }
        },
        {"$sort": {"_id.day": 1, "_id.model": 1}},
    ]
    async for found in database["usage_hourly"].aggregate(pipeline):
        yield {
            "day": found["_id"]["day"],
            "model": found["_id"]["model"],
            "requests": int(found["requests"]),
            "errors": int(found["errors"]),
            "cost": int(found["cost"]),
            "tokens": {bucket: int(found[bucket]) for bucket in _BUCKETS},
        }


async def spent_by_key(
    database: Database,
    keys: Iterable[str],
    *,
    besides: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Nano]:
    """Return what keys spent in a half-open range of hours, by all processes or all but one.

    Keys that spent nothing are left out.
    """
    hours = ({"$gte": since} if since else {}) | ({"$lt": until} if until else {})
    match: Document = {"key": {"$in": list(keys)}}
    if besides is not None:
        match["process"] = {"$ne": besides}
    if hours:
        match["hour"] = hours
    group = {"$group": {"_id": "$key", "cost": {"$sum": "$cost"}}}
    found = database["usage_hourly"].aggregate([{"$match": match}, group])
    return {document["_id"]: int(document["cost"]) async for document in found}


async def requests(
    database: Database, account: str, since: datetime, until: datetime
) -> AsyncIterator[Document]:
    """Yield an account's usage documents of a half-open UTC range, oldest first."""
    query = {"account": account, "started_at": {"$gte": since, "$lt": until}}
    async for found in database["usage"].find(
        query, sort=[("started_at", 1), ("_id", 1)], batch_size=500
    ):
        yield found


_BUCKETS = (
    "input",
    "cached_input",
    "cache_write",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "images",
)
