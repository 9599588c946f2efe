"""Price changes: when a process first sold a model at a price. Only ever added to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bson.int64 import Int64

from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.storage.collection import Document
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate


@dataclass(frozen=True, slots=True)
class PriceChange:
    """From `at` on a model had this price in the catalogue, until its next change."""

    model: str
    at: datetime
    price: Price


async def record(database: Database, prices: Mapping[str, Price]) -> None:
    """Add a change for every model, by its public name, whose last price is another one.

    Safe to repeat, and from many processes at once: a change has its number, and one is first.
    Raises StorageError.
    """
    known = await _by_model(database)
    for model, price in prices.items():
        changes = known.get(model, [])
        if changes and changes[-1].price.version == price.version:
            continue
        try:
            await database["price_changes"].insert_one(_document(model, len(changes) + 1, price))
        except Duplicate:
            continue


async def history(database: Database) -> dict[str, list[PriceChange]]:
    """Return the changes of every model that was ever sold, newest first. Raises StorageError."""
    found = await _by_model(database)
    return {model: changes[::-1] for model, changes in found.items()}


async def _by_model(database: Database) -> dict[str, list[PriceChange]]:
    """Return the changes by model, oldest first."""
    found: dict[str, list[PriceChange]] = {}
    documents = [document async for document in database["price_changes"].find()]
    for document in sorted(documents, key=lambda one: int(one["n"])):
        rates = {b: int(document["rates"][b]) for b in BUCKETS if b in document["rates"]}
        change = PriceChange(document["model"], document["at"], Price.of(rates))
        found.setdefault(change.model, []).append(change)
    return found


def _document(model: str, n: int, price: Price) -> Document:
    return {
        "_id": f"{model}:{n}",
        "model": model,
        "n": Int64(n),
        "at": datetime.now(UTC),
        "rates": {bucket: Int64(rate) for bucket, rate in price.rates.items()},
    }
