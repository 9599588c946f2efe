"""The operators' overview: what was earned, to the nano, from the roll-ups alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from ezkielyna.console.margins import Earned, costs, earned, percent
from ezkielyna.contract.context import Model, Plan
from ezkielyna.contract.money import Price, nano, usd
from ezkielyna.defaults.per_token import PerToken
from ezkielyna.ledger.periods import midnight
from ezkielyna.ledger.series import Line
from ezkielyna.settings import load
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.usage import Sums
from ezkielyna.testing.gateway import Gateways, merged
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.visitor import Answer, logged_in

BOSS = "boss@example.com"
TABLES: dict[str, Any] = {
    "accounts": {"operators": [BOSS]},
    "models": {"gpt-lab": {"cost": {"input": "0.0005", "output": "0.001"}}},
}
"""The history bills a nano-dollar a token: what goes in costs half of that."""


class Resold(PerToken):
    """Takes the catalogue's prices for what upstreams charge."""

    resells = True


def tile(page: Answer, name: str) -> str:
    """Return the exact amount in a tile."""
    found = re.search(rf'id="{name}"[^/]*title="([^"]+) USD"', page.raw)
    assert found is not None, name
    return found.group(1)


def test_a_cost_is_the_models_own_or_the_catalogues_where_it_is_resold() -> None:
    settings = load((), {}, options=merged("http://127.0.0.1:9", TABLES))
    models = {
        name: Model(name, "lab", name, table.price, 0, 0, "", "")
        for name, table in settings.models.items()
    }
    plans = {"default": Plan("default"), "other": Plan("other", billing="resale")}
    own = Price.of({"input": nano("0.0005"), "output": nano("0.001")})
    listed = {"per-token": PerToken(), "resale": PerToken()}
    assert costs(settings, models, plans, listed) == {"gpt-lab": own}
    found = costs(settings, models, plans, {**listed, "resale": Resold()})
    assert found == {name: model.price for name, model in models.items()} | {"gpt-lab": own}


def test_margins_are_of_what_has_a_known_cost() -> None:
    price = Price.of({"input": nano("0.5"), "output": nano(2)})
    lines = [
        Line("a", [], Sums(2, cost=nano(3), tokens={"input": 1_000_000, "reasoning": 500_000})),
        Line("b", [], Sums(1, errors=1, cost=nano(5), tokens={"input": 9})),
        Line("free", [], Sums(1)),
    ]
    whole, providers, models = earned(lines, {"a": price, "free": price}, {"a": "x", "b": "y"})
    assert (whole.revenue, whole.known, whole.cost) == (nano(8), nano(3), nano("1.5"))
    assert (whole.margin, whole.share) == (nano("1.5"), "50 %")
    assert [(one.name, one.margin) for one in models] == [
        ("b", None),
        ("a", nano("1.5")),
        ("free", 0),
    ]
    assert [(one.name, one.sums.errors) for one in providers] == [("y", 1), ("x", 0), ("", 0)]
    assert models[2].share == ""
    assert (Earned().margin, percent(-1, 3), percent(12345, 10)) == (
        None,
        "\N{MINUS SIGN}33.3 %",
        "123,450 %",
    )


async def test_the_overview_adds_up(gateways: Gateways) -> None:
    """Two accounts, merged and not, half-open days; then the requests are forgotten."""
    today = midnight(datetime.now(UTC))
    async with gateways(tables=TABLES) as gateway:
        database = gateway.database
        boss, bob = [
            await Accounts(database).create(email, "default", verified=True)
            for email in (BOSS, "bob@example.com")
        ]
        page = await (visitor := await logged_in(gateway, boss.id)).get("/admin")
        assert "First steps" in page.text
        assert "Sample" in page.text
        bad = {"outcome": "upstream_failed", "status": 502}
        days = [today - timedelta(days=days) for days in (0, 6, 7, 40)]
        records = [ended(bob.id, "key_1", day, cost=1000 + n) for n, day in enumerate(days)]
        records += [ended(gateway.account, gateway.key_id, today, model="image-lab", cost=5)]
        records += [ended(gateway.account, gateway.key_id, today, **bad)]  # type: ignore[arg-type]
        records += [ended(gateway.account, gateway.key_id, today, model="gone", cost=3)]
        await settled(database, records)
        await compact(database, today - timedelta(days=1))
        await database["usage"].delete_many({})
        week = await visitor.get("/admin?range=7d")
        assert tile(week, "revenue") == usd(1000 + 1001 + 5 + 3)
        assert tile(week, "cost") == usd(500 + 501)
        assert tile(week, "margin") == usd(1000 + 1001 - 500 - 501)
        assert "It is known of $0.000002 of the revenue" in week.text
        assert "of models not sold any more" in week.text
        assert week.text.index("bob@example.com") < week.text.index(gateway.email)
        assert "First steps" not in week.text
        own = f"first={days[3]:%Y-%m-%d}&last={days[2]:%Y-%m-%d}"
        assert tile(await visitor.get(f"/admin?{own}"), "revenue") == usd(1002 + 1003)
        day = f"first={today:%Y-%m-%d}&last={today:%Y-%m-%d}&group=outcome&metric=errors"
        failed = await visitor.get(f"/admin?{day}")
        assert "provider failed" in failed.text
        assert "Errors by day and status" in failed.text
        for wrong in ("first=2026-13-01", "first=2020-01-01&last=2026-01-01"):
            answer = await visitor.get(f"/admin?{wrong}")
            assert answer.status == 400
            assert "Shown instead" in answer.text
        assert (await visitor.get("/admin?range=24h&group=key&unit=hour&scale=log")).status == 200
