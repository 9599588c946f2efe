"""Prices: the rates behind every version that a bill was made at, kept for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from bson.int64 import Int64

from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate


async def keep(database: Database, prices: Collection[Price]) -> None:
    """Insert the prices that are not there; safe to repeat, and from many processes at once."""
    versions = [price.version for price in prices]
    known = {
        found["_id"]
        async for found in database["prices"].find({"_id": {"$in": versions}}, {"_id": 1})
    }
    new = [_document(price) for price in prices if price.version not in known]
    if new:
        with contextlib.suppress(Duplicate):  # another process was first; ours are equal
            await database["prices"].insert_many(new, ordered=False)


async def find(database: Database, version: str) -> Price | None:
    """Return the price of a version, None where it was never kept."""
    found = await database["prices"].find_one({"_id": version})
    if found is None:
        return None
    rates = found["rates"]
    return Price(version, {b: int(rates[b]) for b in BUCKETS if b in rates})


def _document(price: Price) -> Document:
    rates = {bucket: Int64(rate) for bucket, rate in price.rates.items()}
    return {"_id": price.version, "rates": rates}
