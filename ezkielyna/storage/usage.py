"""Usage: one document a request, and roll-ups by hour and day, which are all that charts read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

import bson
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from ezkielyna.contract.money import Nano, checked
from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database


def bill_lines(lines: Iterable[tuple[str, int, int, Nano]]) -> list[Document]:
    """Return the lines of a bill in a usage document; money is always an Int64."""
    return [
        {"bucket": bucket, "quantity": quantity, "rate": Int64(rate), "amount": Int64(amount)}
        for bucket, quantity, rate, amount in lines
    ]


def instant(seconds: float) -> DatetimeMS:
    """Return Unix seconds as BSON keeps them; a quarter of what a `datetime` costs to make."""
    return DatetimeMS(round(seconds * 1000))


def cost(amount: Nano) -> Int64:
    """Return the cost in a usage document. Raises MoneyError."""
    return Int64(checked(amount))


def encoded(document: Document) -> Mapping[str, Any]:
    """Return a document as it is stored: one object to keep, where it was thirty."""
    return RawBSONDocument(bson.encode(document))


@dataclass(slots=True)
class Sums:
    """What some requests came to.

    `estimated` counts requests whose tokens no upstream reported; `first_bytes` those that had a
    first byte, after `first_byte_ms` in all; `duration_ms` is the time of all from start to end.
    """

    requests: int = 0
    errors: int = 0
    estimated: int = 0
    first_bytes: int = 0
    first_byte_ms: int = 0
    duration_ms: int = 0
    cost: Nano = 0
    tokens: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document) -> Sums:
        """Return the sums in a roll-up's document; what an old one does not tell is zero."""
        told = document.get
        return cls(
            told("requests", 0),
            told("errors", 0),
            told("estimated", 0),
            told("first_bytes", 0),
            told("first_byte_ms", 0),
            told("duration_ms", 0),
            told("cost", 0),
            dict(told("tokens", ())),
        )

    def document(self) -> Document:
        """Return them as a document tells them; what is nothing is left out, but for the cost."""
        counts = {name: count for name in COUNTS if (count := getattr(self, name))}
        return counts | {"cost": Int64(checked(self.cost)), "tokens": dict(self.tokens)}

    def add(self, other: Sums) -> None:
        """Add what other requests came to."""
        self.requests += other.requests
        self.errors += other.errors
        self.estimated += other.estimated
        self.first_bytes += other.first_bytes
        self.first_byte_ms += other.first_byte_ms
        self.duration_ms += other.duration_ms
        self.cost += other.cost
        for bucket, quantity in other.tokens.items():
            self.tokens[bucket] = self.tokens.get(bucket, 0) + quantity

    def increments(self) -> dict[str, Int64]:
        """Return what `$inc` adds to a roll-up's document."""
        checked(self.cost)
        increments = {name: Int64(getattr(self, name)) for name in COUNTS}
        for bucket, quantity in self.tokens.items():
            increments[f"tokens.{bucket}"] = Int64(quantity)
        return increments


COUNTS = (
    "requests",
    "errors",
    "estimated",
    "first_bytes",
    "first_byte_ms",
    "duration_ms",
    "cost",
)
"""The numbers of a roll-up beside its tokens."""

Dimension = Literal["model", "key", "endpoint", "outcome"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(slots=True)
class Hour:
    """A roll-up: what one key used of one model in one hour, as one process saw it."""

    account: str
    key: str
    model: str
    endpoint: str
    outcome: str
    hour: datetime
    process: str
    sums: Sums = field(default_factory=Sums)

    @property
    def id(self) -> str:
        """The id of its document."""
        hour = self.hour.strftime("%Y-%m-%dT%H")
        parts = (self.account, self.key, self.model, self.endpoint, self.outcome, hour)
        return ":".join((*parts, self.process))

    def added(self) -> UpdateOne:
        """Return the write that adds it to what is stored."""
        fixed = {
            "account": self.account,
            "key": self.key,
            "model": self.model,
            "endpoint": self.endpoint,
            "outcome": self.outcome,
            "hour": self.hour,
            "process": self.process,
        }
        update = {"$inc": self.sums.increments(), "$setOnInsert": fixed}
        return UpdateOne({"_id": self.id}, update, upsert=True)


def added(hours: Iterable[Hour]) -> list[UpdateOne]:
    """Return the writes that add these roll-ups to what is stored."""
    return [hour.added() for hour in hours]


async def requests(
    database: Database, account: str, since: datetime, until: datetime
) -> AsyncIterator[Document]:
    """Yield an account's usage documents of a half-open UTC range, oldest first."""
    query = {"account": account, "started_at": {"$gte": since, "$lt": until}}
    async for found in database["usage"].find(
        query, sort=[("started_at", 1), ("_id", 1)], batch_size=500
    ):
        yield found
