"""Lists of requests: whole and in order, whether requests came every second or every week."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from ezkielyna.storage.database import Database
from ezkielyna.storage.requests import Place, Sought, page
from ezkielyna.testing.history import ended, settled

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MONTH = Sought(NOW - timedelta(days=30), NOW)


async def test_pages_are_whole_whatever_the_gaps(database: Database) -> None:
    rng = random.Random(1)
    at, records = NOW, []
    while at > MONTH.since + timedelta(days=6):
        at -= timedelta(seconds=rng.choice([0, 1, 1, 20, 20, 300, 40_000, 400_000]))
        model = rng.choice(["fast", "fast", "rare"])
        records.append(ended("ann", "key_1", at - timedelta(seconds=1), model=model))
    await settled(database, records)
    for model in ("", "rare"):
        sought = Sought(MONTH.since, MONTH.until, model)
        wanted = [(r.started_at, r.request_id) for r in records if model in ("", r.model)]
        found: list[tuple[float, str]] = []
        after = None
        while shown := await page(database, "ann", sought, 7, after):
            found += [(one["started_at"].timestamp(), one["_id"]) for one in shown]
            after = Place(shown[-1]["started_at"], shown[-1]["_id"])
        assert found == sorted(wanted, reverse=True)


async def test_few_questions_find_what_is_near_and_what_is_not(database: Database) -> None:
    """The embedded database reads all of what it sorts: a page must not ask for a month."""
    step = timedelta(milliseconds=5_000)
    await settled(database, [ended("ann", "key_1", NOW - n * step) for n in range(1, 400)])
    database.commands.clear()
    assert len(await page(database, "ann", MONTH, 50)) == 50
    assert database.commands.count("find") <= 3
    database.commands.clear()
    assert await page(database, "nobody", MONTH, 50) == []
    assert database.commands.count("find") <= 10
