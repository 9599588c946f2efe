"""Series over roll-ups against the usage documents themselves, and the cutting of periods."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.money import Bill
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.periods import HOUR, MOST_BARS, Period, Unit, period, requested
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.series import METRICS, OTHER, Line, latency, series, tokens, top
from ezkielyna.ledger.settlement import settlement
from ezkielyna.storage.batches import settle
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.database import Database
from ezkielyna.storage.rollups import Cell, cells
from ezkielyna.storage.usage import DIMENSIONS, Dimension, Sums, requests

START = datetime(2026, 3, 27, 22, tzinfo=UTC)
DAYS = 12
EDGES = [0, 1, 2, 25, 26, 49, 50, 51, 74, 120, 121, 190, 217, 218, 24 * DAYS - 1]
"""Hours in which something happens: first and last ones of days and weeks, and others."""


def record(number: int, rng: random.Random) -> UsageRecord:
    """Return an ended request; many begin at the edge of an hour or a day, to the millisecond."""
    hour = START + timedelta(hours=rng.choice(EDGES))
    within = rng.choice([0, 1, 3_599_999, rng.randrange(3_600_000)])
    began = (hour + timedelta(milliseconds=within)).timestamp()
    cost = rng.choice([0, 1, 999_999_999, rng.randrange(10**9)])
    one = UsageRecord(
        request_id=f"req_{number}",
        account="ann" if rng.random() < 0.9 else "bob",
        key=rng.choice(["key_1", "key_2"]),
        model=rng.choice(["fast", "smart.1", "a/b c"]),
        provider="lab",
        endpoint=rng.choice(["chat.completions", "embeddings"]),
        started_at=began,
        price_version="v1",
    )
    one.outcome = rng.choice(["ok", "ok", "ok", "client_gone", "upstream_failed"])
    one.usage = Usage(input=cost, output=rng.randrange(5), source=rng.choice(SOURCES))
    one.bill = Bill.of([("input", cost, 1_000_000)])
    one.first_byte_at = None if one.outcome == "upstream_failed" else began + 0.25
    one.ended_at = began + rng.randrange(5000) / 1000
    return one


SOURCES: Any = ["upstream", "counted", "estimated"]


async def filled(database: Database, rng: random.Random, count: int = 160) -> None:
    """Settle requests through two processes and merge some of the hours."""
    records = [record(number, rng) for number in range(count)]
    half = count // 2
    for n, (process, part) in enumerate(
        [("p1", records[: half // 2]), ("p1", records[half // 2 : half]), ("p2", records[half:])], 1
    ):
        assert await settle(database, settlement(process, n, part, START.timestamp()))


async def from_documents(
    database: Database, by: str, buckets: list[Any]
) -> dict[tuple[str, datetime], Counter[str]]:
    """Return the sums by value and bar, added up from the usage documents."""
    found: dict[tuple[str, datetime], Counter[str]] = {}
    async for document in requests(database, "ann", START, START + timedelta(days=DAYS)):
        for bucket in buckets:
            if bucket.start <= document["started_at"] < bucket.end:
                sums = found.setdefault((document[by], bucket.start), Counter())
                sums["requests"] += 1
                sums["cost"] += document["cost"]
                sums["tokens"] += document["tokens"]["input"] + document["tokens"]["output"]
                sums["errors"] += document["outcome"] == "upstream_failed"
                sums["estimated"] += document["source"] != "upstream"
                sums["first_bytes"] += document["first_byte_at"] is not None
    return found


def sums_of(line: Line, position: int) -> Counter[str]:
    one = line.buckets[position]
    return Counter(
        requests=one.requests,
        cost=one.cost,
        tokens=tokens(one),
        errors=one.errors,
        estimated=one.estimated,
        first_bytes=one.first_bytes,
    )


async def test_every_bar_is_the_sum_of_its_requests(database: Database) -> None:
    """Half-open, to the nano, whatever the range, the unit, the dimension and what is merged."""
    rng = random.Random(1)
    await filled(database, rng)
    hours = 24 * DAYS
    for step in range(4):
        if step:
            await compact(database, START + timedelta(hours=step * hours / 3), limit=1000)
        for _ in range(4):
            first = rng.randrange(hours)
            last = rng.randrange(first + 1, hours + 1)
            unit: Unit = rng.choice(["hour", "day", "week"])
            by: Dimension = rng.choice(DIMENSIONS)
            asked = Period(START + first * HOUR, START + last * HOUR, unit)
            grain = "hour" if unit == "hour" else "day"
            found = series(asked, await cells(database, "ann", by, asked.since, asked.until, grain))
            expected = await from_documents(database, by, asked.buckets())
            actual = {
                (line.value, bucket.start): sums_of(line, position)
                for line in found.lines
                for position, bucket in enumerate(found.buckets)
                if line.buckets[position].requests
            }
            assert actual == expected
            assert found.whole.total.cost == sum(one["cost"] for one in expected.values())
            assert all(len(line.buckets) == len(found.buckets) for line in found.lines)


async def test_pages_read_roll_ups_and_never_a_request(database: Database) -> None:
    await filled(database, random.Random(3), 40)
    await database["usage"].delete_many({})
    database.commands.clear()
    since = datetime(2026, 3, 1, tzinfo=UTC)
    found = await cells(database, "ann", "model", since, since + timedelta(days=60))
    assert sum(cell.sums.requests for cell in found) > 20
    assert set(database.commands) <= {"find", "getMore", "commitTransaction", "killCursors"}
    assert database.commands.count("find") == 2


moments = st.integers(0, 3 * 365 * 24).map(
    lambda hours: datetime(2024, 1, 1, tzinfo=UTC) + hours * HOUR
)


@given(moments, st.integers(1, 2 * 365 * 24), st.sampled_from(["hour", "day", "week"]))
def test_bars_cover_the_range_once(since: datetime, hours: int, unit: Unit) -> None:
    asked = Period(since, since + hours * HOUR, unit)
    buckets = asked.buckets()
    assert buckets[0].start == asked.since
    assert buckets[-1].end == asked.until
    for before, after in pairwise(buckets):
        assert before.end == after.start
    inner = buckets[1:]
    assert all(bucket.start.hour == 0 or unit == "hour" for bucket in inner)
    assert all(bucket.start.weekday() == 0 or unit != "week" for bucket in inner)


@given(moments, st.integers(1, 330 * 24))
def test_an_unasked_unit_makes_few_bars(since: datetime, hours: int) -> None:
    buckets = period(since, since + hours * HOUR).buckets()
    assert len(buckets) <= MOST_BARS + 1, "a range that begins at noon may have one more"


NOW = datetime(2026, 11, 22, 17, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, ("2026-10-24T00", "2026-11-23T00", "day")),
        ("2026-11-01", "2026-11-02", ("2026-11-01T00", "2026-11-02T00", "hour")),
        ("2026-11-01T02:00+02:00", "2026-11-02", ("2026-11-01T00", "2026-11-02T00", "hour")),
        ("2026-11-01T02:00 02:00", "2026-11-02", ("2026-11-01T00", "2026-11-02T00", "hour")),
        ("2026-01-01", None, ("2026-01-01T00", "2026-11-23T00", "week")),
    ],
)
def test_a_range_in_words(
    since: str | None, until: str | None, expected: tuple[str, str, str]
) -> None:
    found = requested(since, until, None, NOW)
    assert (f"{found.since:%Y-%m-%dT%H}", f"{found.until:%Y-%m-%dT%H}", found.unit) == expected


@pytest.mark.parametrize(
    ("since", "until", "unit", "param"),
    [
        ("yesterday", None, None, "from"),
        (None, "2026-13-01", None, "to"),
        ("2026-11-01T10:30", None, None, "from"),
        ("2026-11-02", "2026-11-02", None, "from"),
        ("2026-11-03", "2026-11-02", None, "from"),
        ("2020-01-01", None, None, "from"),
        ("2026-01-01", None, "hour", "unit"),
        (None, None, "fortnight", "unit"),
        ("9999-12-31T23:00-14:00", None, None, "from"),
    ],
)
def test_a_wrong_range_is_refused_by_name(
    since: str | None, until: str | None, unit: str | None, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        requested(since, until, unit, NOW)
    assert refused.value.param == param


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), max_size=60))
def test_the_largest_lines_and_the_rest_are_all_of_it(used: list[tuple[int, int]]) -> None:
    asked = Period(NOW.replace(minute=0), NOW.replace(minute=0) + 3 * HOUR, "hour")
    found = series(
        asked,
        [
            Cell(
                asked.since, f"model {value}", Sums(requests=1, cost=cost, tokens={"output": cost})
            )
            for value, cost in used
        ],
    )
    for metric in METRICS:
        lines = top(found, metric)
        assert len(lines) <= 9
        assert sum(line.total.cost for line in lines) == sum(cost for _, cost in used)
        assert sum(line.total.requests for line in lines) == len(used)
        assert all(line.value != OTHER for line in lines[:-1])
        assert latency(found.whole.total) is None
