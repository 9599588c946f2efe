"""Overview: spans, how long the money lasts, and steps that tick themselves off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ezkielyna.console.handlers.overview import Spans
from ezkielyna.contract.money import nano
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credits import credit
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.rollups import Cell
from ezkielyna.storage.usage import Sums
from ezkielyna.testing.gateway import SECRET, Gateways
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.visitor import Visitor, logged_in

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def spans(*used: tuple[int, int]) -> Spans:
    """Return the spans of costs so many days ago."""
    midnight = NOON.replace(hour=0)
    return Spans.of(
        [Cell(midnight - timedelta(days=n), "m", Sums(requests=1, cost=cost)) for n, cost in used],
        NOON,
    )


def test_spans_are_whole_days() -> None:
    found = spans(
        (0, 1), (1, 10), (6, 100), (7, 1000), (13, 10_000), (14, 1), (29, 2), (30, 3), (59, 4)
    )
    assert (found.today.now.cost, found.today.before.cost) == (1, 10)
    assert (found.week.now.cost, found.week.before.cost) == (111, 11_000)
    assert (found.month.now.cost, found.month.before.cost) == (11_114, 7)


def test_comparisons_are_words() -> None:
    assert spans((0, 5), (7, 10)).week.comparison.startswith("50 % less than before")
    assert spans((0, 30), (7, 10)).week.comparison.startswith("200 % more than before")
    assert spans((0, 10), (7, 10)).week.comparison.startswith("as much as before")
    assert spans((0, 10)).week.comparison == "nothing before"


def test_days_left_at_the_rate_of_the_week() -> None:
    assert spans((0, 10), (6, 60)).days_left(100) == "10 days", "70 in 7 days"
    assert spans((0, 10)).days_left(35) == "3 days", "used for one day only"
    assert spans((0, 10)).days_left(10) == "1 day"
    assert spans((0, 10)).days_left(9) == "less than a day"
    assert spans((0, 1)).days_left(10**9) == "more than a year"
    assert spans().days_left(100) == ""


async def test_steps_tick_themselves_off(gateways: Gateways) -> None:
    async with gateways() as gateway:
        account = await Accounts(gateway.database).create(
            "new@example.org", "default", verified=True
        )
        new = await logged_in(gateway, account.id)

        async def to_do() -> int:
            page = await new.get("/overview")
            assert page.status == 200
            return page.raw.partition('id="money"')[0].count(">to do<")

        assert await to_do() == 3
        assert ">Sample</span>" in (await new.get("/overview")).raw
        key, _ = await Keys(gateway.database, SECRET).create(account.id, name="first")
        assert key.hint in (await new.get("/overview")).text
        assert await to_do() == 2
        await credit(gateway.database, account.id, nano("1"), reference="r", by="test")
        assert await to_do() == 1
        await settled(gateway.database, [ended(account.id, key.id, datetime.now(UTC), cost=5)])
        page = await new.get("/overview")
    assert "First steps" not in page.text
    assert ">Sample</span>" not in page.raw
    assert "$0.000001" in page.text, "five nano-dollars are more than nothing, and shown"
    assert page.raw.count('href="/activity/req_') == 1


async def test_who_logs_in_begins_here(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        assert (await ann.get("/")).location == "/overview"
        assert (await Visitor(gateway.url).get("/overview")).status == 303
