"""Merging of roll-ups: exactly once, in few documents, whoever else merges, settles or dies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.int64 import Int64

from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.verify import verify
from ezkielyna.storage import compaction, merged
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.database import Database
from ezkielyna.storage.driver import Session
from ezkielyna.storage.merged import Merged
from ezkielyna.storage.rollups import cells
from ezkielyna.storage.schema import OLD_DAYS, VERSION, prepare
from ezkielyna.storage.spent import spent_by_key, spent_lately
from ezkielyna.storage.usage import DIMENSIONS, Dimension, Sums
from ezkielyna.testing.history import ended, settled

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LATER = BEGIN + 40 * DAY
MODELS = ("fast", "smart.1", "$dear.", "a/b c", "x:y")
"""Some with letters that mean something in a field's name, in an id or in a key of `verify`."""


def requests(count: int, seed: int, *, days: int = 3) -> list[UsageRecord]:
    """Return requests of one account in some of the hours of some days."""
    rng = random.Random(seed)
    return [
        ended(
            "ann",
            rng.choice(["key_1", "key_2"]),
            BEGIN + rng.randrange(days) * DAY + rng.choice([0, 1, 23]) * HOUR,
            model=rng.choice(MODELS),
            cost=rng.randrange(1, 10**9),
            outcome=rng.choice(["ok", "ok", "upstream_failed"]),
        )
        for _ in range(count)
    ]


async def used(database: Database, by: Dimension, grain: Any = "day") -> Counter[str]:
    """Return what pages show of the account: requests and cost by value."""
    found: Counter[str] = Counter()
    for cell in await cells(database, "ann", by, BEGIN, LATER, grain):
        found[f"{cell.value} requests"] += cell.sums.requests
        found[f"{cell.value} cost"] += cell.sums.cost
    return found


def expected(records: list[UsageRecord], by: Dimension) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in records:
        found[f"{getattr(record, by)} requests"] += 1
        found[f"{getattr(record, by)} cost"] += record.bill.cost
    return found


async def whole(database: Database, records: list[UsageRecord]) -> bool:
    """Return whether days and hours are both what was used, and `verify` agrees."""
    verdict = await verify(database, pause_s=0)
    wrong = [fault for fault in verdict.faults if fault.invariant == "I6"]
    for by in DIMENSIONS:
        for grain in ("day", "hour"):
            assert await used(database, by, grain) == expected(records, by), (by, grain)
    return not wrong


async def test_a_month_is_a_document_a_day_however_much_was_used(database: Database) -> None:
    records = requests(120, 1, days=6)
    await settled(database, records)
    assert await database["usage_hourly"].count_documents({}) > 80
    assert await compact(database, LATER) == 6
    assert await database["usage_hourly"].count_documents({}) == 0
    for by in DIMENSIONS:
        assert await database["usage_sums"].count_documents({"by": by, "grain": "day"}) == 6
        assert await database["usage_sums"].count_documents({"by": by, "grain": "hour"}) <= 18
    assert await whole(database, records)
    assert await compact(database, LATER) == 0


async def test_merging_is_exactly_once_beside_mergers_and_late_requests(
    database: Database,
) -> None:
    """Three merge at once what three others settle meanwhile, into the same hours."""
    parts = [requests(20, seed) for seed in range(6)]
    for part in parts[:3]:
        await settled(database, part)

    async def settling() -> None:
        for part in parts[3:]:
            await settled(database, part)

    async def merging() -> None:
        for _ in range(3):
            await compact(database, LATER)

    await asyncio.gather(merging(), settling(), merging(), merging())
    await compact(database, LATER)
    assert await database["usage_hourly"].count_documents({}) == 0
    assert await whole(database, [record for part in parts for record in part])


async def test_additions_at_once_are_all_there(database: Database) -> None:
    """Of transactions that read the same roll-up and write it anew, none undoes another."""

    async def adding(session: Session) -> None:
        one = Merged("ann", "model", "hour", BEGIN)
        one.add("fast", Sums(requests=1, cost=5))
        await merged.add(database, [one], session)

    await asyncio.gather(*(database.transaction(adding) for _ in range(8)))
    assert await used(database, "model", "hour") == {"fast requests": 8, "fast cost": 40}


async def test_who_dies_while_merging_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = requests(30, 7)
    await settled(database, records)
    add = merged.add

    async def dying(*arguments: Any) -> None:
        await add(*arguments)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(merged, "add", dying)
        with pytest.raises(RuntimeError, match="killed"):
            await compact(database, LATER)
    assert await database["usage_sums"].count_documents({}) == 0
    assert await whole(database, records)
    await compact(database, LATER)
    assert await whole(database, records)


async def test_more_than_a_transaction_or_a_document_holds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows stay in the document they are in; new ones go on in the next."""
    monkeypatch.setattr(compaction, "MOST", 7)
    monkeypatch.setattr(merged, "MOST_ROWS", 2)
    records = requests(60, 3, days=1)
    for part in (records[:20], records[20:]):
        await settled(database, part)
        await compact(database, LATER)
    assert await database["usage_hourly"].count_documents({}) == 0
    days = database["usage_sums"].find({"by": "model", "grain": "day"}, sort=[("_id", 1)])
    found = [(document["_id"], len(document["rows"])) async for document in days]
    first = f"ann:{BEGIN:%Y-%m-%d}:model"
    assert found == [(first, 2), (f"{first}:1", 2), (f"{first}:2", 1)]
    assert await whole(database, records)


async def test_spending_of_keys_is_the_same_merged_and_not(database: Database) -> None:
    records = requests(60, 4)
    await settled(database, records[:30], "p1")
    await settled(database, records[30:], "p2")
    keys = ["key_1", "key_2", "key_3"]
    edge = BEGIN + DAY + HOUR

    def spent(some: list[UsageRecord], since: datetime, until: datetime) -> Counter[str]:
        found: Counter[str] = Counter()
        for record in some:
            if since <= datetime.fromtimestamp(record.started_at, UTC) < until:
                found[record.key] += record.bill.cost
        return found

    for before in (BEGIN, BEGIN + DAY, edge, LATER):
        await compact(database, before)
        assert await spent_by_key(database, "ann", keys) == spent(records, BEGIN, LATER)
        assert await spent_by_key(database, "ann", keys, until=edge) == spent(records, BEGIN, edge)
        lately = await spent_lately(database, keys, besides="p1", since=edge)
        assert lately == (spent(records[30:], edge, LATER) if before <= edge else {})
    assert await spent_by_key(database, "bob", ["key_3"]) == {}
    assert await spent_by_key(database, "ann", []) == {}


async def test_roll_ups_of_older_versions_are_read_and_merged_again(database: Database) -> None:
    """Before version 13 hours were merged where they are, and days had a document a value."""
    records = requests(50, 5)
    await settled(database, records)
    await database["usage_hourly"].update_many({}, {"$set": {"process": "*", "merged": True}})
    old = {"_id": "ann:model:fast:2026-03-01", "account": "ann", "by": "model", "cost": Int64(1)}
    await database[OLD_DAYS].insert_one(old)
    await database["meta"].update_one({"_id": "schema"}, {"$set": {"version": VERSION - 1}})
    await prepare(database)
    assert OLD_DAYS not in await database.collection_names()
    assert await whole(database, records), "as it is"
    late = requests(20, 6)
    await settled(database, late)
    await compact(database, BEGIN + DAY)
    assert await whole(database, records + late), "half of it merged"
    await compact(database, LATER)
    assert await whole(database, records + late)
    assert await database["usage_hourly"].count_documents({}) == 0
