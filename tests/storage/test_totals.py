"""Totals over all accounts against what each account reads of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ezkielyna.storage.compaction import compact
from ezkielyna.storage.database import Database
from ezkielyna.storage.rollups import Cell, cells
from ezkielyna.storage.totals import Spender, recent, spenders, totals_by, used
from ezkielyna.storage.usage import DIMENSIONS, Sums
from ezkielyna.testing.history import ended, month, settled

NOON = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
UNTIL = datetime(2026, 11, 22, tzinfo=UTC)
WHO = ("acc_ann", "acc_bob", "acc_eve")


def added(found: list[Cell]) -> dict[tuple[datetime, str], Sums]:
    """Return cells by day and value."""
    days: dict[tuple[datetime, str], Sums] = {}
    for cell in found:
        day = cell.start.replace(hour=0)
        days.setdefault((day, cell.value), Sums()).add(cell.sums)
    return days


async def test_totals_are_the_sums_of_all_accounts(database: Database) -> None:
    """Whatever of it is merged, for every dimension; half-open, and without usage documents."""
    assert not await used(database)
    since = UNTIL - timedelta(days=7)
    for seed, account in enumerate(WHO):
        await settled(database, month(account, f"key_{account}", NOON, seed)[: 60 + 20 * seed])
    edge = [ended("acc_ann", "k", moment, cost=7) for moment in (since, UNTIL)]
    await settled(database, [*edge, ended("acc_ann", "k", since - timedelta(seconds=1), cost=9)])
    assert await used(database)
    await database["usage"].delete_many({})
    for before in (UNTIL - timedelta(days=3), UNTIL - timedelta(hours=11)):
        await compact(database, before, limit=1000)
        found = await totals_by(database, DIMENSIONS, since, UNTIL)
        for by in DIMENSIONS:
            every = [cell for who in WHO for cell in await cells(database, who, by, since, UNTIL)]
            assert added(found[by]) == added(every), by
        own = {who: Sums() for who in WHO}
        for who in WHO:
            for cell in await cells(database, who, "outcome", since, UNTIL):
                own[who].add(cell.sums)
        ranked = [Spender(who, own[who]) for who in sorted(WHO, key=lambda w: -own[w].cost)]
        for one in ranked:
            one.sums.tokens.clear()
        assert await spenders(database, since, UNTIL, 9) == ranked
        assert await spenders(database, since, UNTIL, 2) == ranked[:2]


async def test_recent_hours_are_told_by_model_and_outcome(database: Database) -> None:
    failed = {"outcome": "upstream_failed", "status": 502}
    records = [
        ended("acc_ann", "k", NOON, cost=5),
        ended("acc_bob", "k", NOON, cost=6),
        ended("acc_bob", "k", NOON, **failed),  # type: ignore[arg-type]
        ended("acc_bob", "k", NOON - timedelta(hours=1), cost=1),
    ]
    await settled(database, records)
    found = {(one.model, one.outcome): one.sums for one in await recent(database, NOON)}
    assert not found, "from the beginning of an hour"
    since = NOON.replace(minute=0)
    found = {(one.model, one.outcome): one.sums for one in await recent(database, since)}
    assert set(found) == {("gpt-lab", "ok"), ("gpt-lab", "upstream_failed")}
    assert (found["gpt-lab", "ok"].requests, found["gpt-lab", "ok"].cost) == (2, 11)
    assert found["gpt-lab", "ok"].tokens == {"input": 11}
    assert found["gpt-lab", "upstream_failed"].errors == 1
