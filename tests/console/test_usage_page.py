"""The usage page: what the address asks for, equal to the documents, of this account alone."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from ezkielyna.console.asked import Asked
from ezkielyna.contract.money import nano
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.history import ended, month, settled
from ezkielyna.testing.visitor import Visitor, logged_in

NOW = datetime.now(UTC)


def nanos(markup: str) -> list[int]:
    """Return every exact amount of the table of a page, row by row."""
    figure = markup.partition("<figure")[2].partition("</figure>")[0]
    return [
        nano(text) for text in re.findall(r'title="([\d.]+) USD"', figure.partition("<table")[2])
    ]


async def filled(gateway: RunningGateway) -> int:
    """Give the account a month, and a stranger one; return what the account spent."""
    records = month(gateway.account, gateway.key_id, NOW)
    await settled(gateway.database, records)
    stranger = await Accounts(gateway.database).create("b@example.org", "default")
    await settled(gateway.database, [ended(stranger.id, "key_b", NOW, model="secret", cost=7)])
    return sum(record.bill.cost for record in records)


async def test_the_table_is_the_documents(gateways: Gateways) -> None:
    async with gateways() as gateway:
        spent = await filled(gateway)
        ann = await logged_in(gateway)
        pages = {
            words: await ann.get(f"/usage?{words}")
            for words in (
                "",
                "group=key",
                "group=endpoint",
                "group=outcome",
                "unit=week",
                "range=90d",
            )
        }
        export = await ann.get("/usage/export")
    for words, page in pages.items():
        assert page.status == 200, words
        assert "secret" not in page.raw
        amounts = nanos(page.raw)
        assert amounts.count(spent) >= 1, "the total of all"
        assert sum(amounts) == spent * 4, f"{words}: rows, their totals, and a foot of both"
    assert pages[""].headers["cache-control"] == "no-store"
    assert export.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(export.raw, newline="")))
    assert sum(nano(row["cost_usd"]) for row in rows) == spent
    assert "secret" not in export.raw


VIEWS = ("/usage", "/usage?group=key&metric=tokens", "/usage?range=24h")
MOST_COMMANDS = 9
"""To the database: a session, an account, hours, two series, names of keys, and two commits."""


async def test_pages_read_the_roll_ups_alone_however_much_there_is(gateways: Gateways) -> None:
    """The documents of requests are gone, and nobody notices; a month costs what an hour does."""
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        one = ended(gateway.account, gateway.key_id, NOW, cost=1)
        await settled(gateway.database, [one])
        asked = {path: await commands(gateway, ann, path) for path in VIEWS}
        assert max(asked.values()) <= MOST_COMMANDS, asked
        spent = await filled(gateway) + 1
        await gateway.database["usage"].delete_many({})
        assert {path: await commands(gateway, ann, path) for path in VIEWS} == asked
        page = await ann.get("/usage")
    assert spent in nanos(page.raw), "the total of all"


async def commands(gateway: RunningGateway, visitor: Visitor, path: str) -> int:
    """Return how many commands a page sends; the least of some, for others send some as well."""
    counts = []
    for _ in range(5):
        gateway.database.commands.clear()
        assert (await visitor.get(path)).status == 200
        counts.append(len(gateway.database.commands))
    return min(counts)


async def test_days_are_half_open(gateways: Gateways) -> None:
    day = datetime(2026, 3, 29, tzinfo=UTC)
    times = [
        (day, 1),
        (day + timedelta(days=1, milliseconds=-1), 10),
        (day - timedelta(milliseconds=1), 100),
    ]
    async with gateways() as gateway:
        records = [ended(gateway.account, gateway.key_id, at, cost=cost) for at, cost in times]
        await settled(
            gateway.database,
            [*records, ended(gateway.account, "k", day + timedelta(days=1), cost=1000)],
        )
        ann = await logged_in(gateway)
        page = await ann.get("/usage?first=2026-03-29&last=2026-03-29")
        export = await ann.get("/usage/export?from=2026-03-29&to=2026-03-30")
    assert max(nanos(page.raw)) == 11
    assert len(export.raw.splitlines()) == 3


async def test_nothing_used_is_a_sample(gateways: Gateways) -> None:
    async with gateways() as gateway:
        page = await (await logged_in(gateway)).get("/usage")
    assert page.status == 200
    assert ">Sample</span>" in page.raw
    assert "Nothing was used" in page.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("first=soon", "must be a date"),
        ("first=2026-03-02&last=2026-03-01", "after the last"),
        ("first=2010-01-01", "longer than"),
    ],
)
async def test_a_wrong_range_is_said_and_the_usual_shown(
    gateways: Gateways, words: str, said: str
) -> None:
    async with gateways() as gateway:
        await filled(gateway)
        page = await (await logged_in(gateway)).get(f"/usage?{words}")
        export = await (await logged_in(gateway)).get("/usage/export?from=soon")
    assert page.status == 400
    assert said in page.text
    assert "<figure" in page.raw
    assert export.status == 400


async def test_names_of_keys_and_models_are_text(gateways: Gateways) -> None:
    evil = "<img src=x onerror=alert(1)>"
    async with gateways() as gateway:
        keys = Keys(gateway.database, SECRET)
        record, _ = await keys.create(gateway.account, name=evil)
        await settled(
            gateway.database, [ended(gateway.account, record.id, NOW, model=evil, cost=5)]
        )
        ann = await logged_in(gateway)
        for words in ("", "group=key", "metric=latency", "scale=log"):
            page = await ann.get(f"/usage?{words}")
            assert page.status == 200
            assert "<img" not in page.raw
            assert evil in page.text


async def test_what_no_provider_reported_is_not_zero(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await filled(gateway)
        page = await (await logged_in(gateway)).get("/usage")
    models = page.raw.partition('id="by-model"')[2]
    row = models.partition("model-b</")[2].partition("</tr>")[0]
    assert row.count("not reported") == 3
    other = models.partition("gpt-lab</")[2].partition("</tr>")[0]
    assert other.count("<td") == 9
    assert "not reported" not in other


async def test_strangers_see_nothing(gateways: Gateways) -> None:
    async with gateways() as gateway:
        for path in ("/usage", "/usage/export"):
            answer = await Visitor(gateway.url).get(path)
            assert answer.status == 303
            assert answer.location.startswith("/login?next=%2Fusage")


def test_an_address_comes_back_as_it_was() -> None:
    words = {
        "range": "7d",
        "metric": "tokens",
        "group": "key",
        "unit": "hour",
        "scale": "log",
        "sum": "running",
    }
    asked = Asked.of(lambda name: words.get(name, ""), NOW)
    link = asked.link()
    assert link == "/usage?range=7d&metric=tokens&group=key&unit=hour&scale=log&sum=running"
    assert Asked().link() == "/usage"
    assert (
        asked.link(
            preset="30d", metric="cost", group="model", unit=None, log=False, cumulative=False
        )
        == "/usage"
    )


def test_changed_days_win_over_the_preset_beside_them() -> None:
    own = Asked("7d").period(NOW)
    days = {"range": "7d", "first": f"{own.since:%Y-%m-%d}", "last": f"{NOW:%Y-%m-%d}"}
    assert Asked.of(lambda name: days.get(name, ""), NOW).preset == "7d"
    days["first"] = "2026-01-01"
    changed = Asked.of(lambda name: days.get(name, ""), NOW)
    assert (changed.preset, changed.first) == ("", "2026-01-01")
