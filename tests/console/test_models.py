"""Models and prices: searched, filtered, sorted and computed on the server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ezkielyna.console.handlers.models import View
from ezkielyna.console.measured import KEPT_S, Measured
from ezkielyna.contract.context import Model
from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import Bucket, Usage
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageAway
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.visitor import Visitor

NOW = datetime.now(UTC)
TABLES: dict[str, Any] = {
    "models": {
        "dear": {"provider": "lab", "input": "9", "output": "20", "owned_by": "Ada"},
        "cheap": {"provider": "lab", "input": "0.1", "output": "0.2", "owned_by": "Bob"},
    }
}


def model(rates: dict[Bucket, int]) -> Model:
    return Model("m", "lab", "m", Price.of(rates), 0, 0, "Ada", "M")


def test_a_request_is_priced_exactly_and_rounded_up() -> None:
    view = View(tokens_in=1, tokens_out=3)
    assert view.cost(model({"input": 500_000, "output": 1_000_001})) == "$0.000000004"
    assert view.cost(model({"images": 40_000_000})) == ""


def test_links_keep_what_was_asked_for() -> None:
    view = View(text="a b", owner="Ada", order="input", tokens_in=0)
    assert view.link(order="name") == "/models?q=a+b&owner=Ada&in=0"
    assert View().link() == "/models"


async def test_the_page_needs_nobody_and_shows_what_was_asked_for(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        stranger = Visitor(gateway.url)
        whole = await stranger.get("/models")
        assert whole.status == 200
        assert "$9.00" in whole.text
        assert ">dear<" in whole.text
        assert ">cheap<" in whole.text
        found = await stranger.get("/models?q=DEA")
        assert ">dear<" in found.text
        assert ">cheap<" not in found.text
        bobs = await stranger.get("/models?owner=Bob")
        assert ">dear<" not in bobs.text
        by_price = (await stranger.get("/models?sort=input")).text
        assert by_price.index(">cheap<") < by_price.index(">dear<")
        priced = await stranger.get("/models?in=1,000,000&out=500000&q=dear")
        assert "$19.00" in priced.text
        wrong = await stranger.get("/models?in=many")
        assert wrong.status == 200
        assert "a whole number of tokens" in wrong.text
        nothing = await stranger.get("/models?q=nothing-like-it")
        assert "No model matches" in nothing.text
        assert "<script>" not in (await stranger.get("/models?q=<script>&owner=<b>")).raw


async def test_how_fast_models_are_is_told_of_enough_requests(gateways: Gateways) -> None:
    """Just enough for one model, one too few for another; what is older does not count."""
    now, used = datetime.now(UTC), Usage(input=9, output=30)
    async with gateways(tables=TABLES) as gateway:

        def some(model: str, number: int, days: int = 0) -> list[UsageRecord]:
            at = now - timedelta(days=days)
            return [ended(f"acc_{n % 3}", "k", at, model=model, usage=used) for n in range(number)]

        await settled(gateway.database, some("dear", 20) + some("cheap", 19) + some("cheap", 9, 8))
        await gateway.database["usage"].delete_many({})
        stranger = Visitor(gateway.url)
        page = await stranger.get("/models?q=dear")
        assert "first byte 250 ms<br>20 tokens/s" in page.text, "30 in 1.5 s"
        assert (
            'data-label="Speed"><span>\N{EN DASH}</span>'
            in (await stranger.get("/models?q=cheap")).text
        )


async def test_paces_are_read_seldom_and_kept_while_nothing_can_be_read(database: Database) -> None:
    now = [0.0]
    measured = Measured(database, lambda: now[0])
    assert await measured.paces() == {}
    used = Usage(output=2)
    records = [ended("a", "k", datetime.now(UTC), usage=used) for _ in range(20)]
    await settled(database, records)
    database.commands.clear()
    assert await measured.paces() == {}
    assert not database.commands
    now[0] = KEPT_S
    found, at_once = await asyncio.gather(measured.paces(), measured.paces())
    assert (found["gpt-lab"].first_byte, found["gpt-lab"].speed) == ("250 ms", "1.3")
    assert at_once == {}, "who comes meanwhile does not read as well"
    now[0] = 2 * KEPT_S
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "transaction", away)
        assert await measured.paces() is found


async def away(work: object) -> None:
    raise StorageAway("for a test")


async def test_models_in_chromium(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables=TABLES) as gateway:
        records = [ended("a", "k", NOW, usage=Usage(output=90)) for _ in range(20)]
        await settled(gateway.database, records)
        await browser.inspect(gateway.url, ["/models?in=1000&out=500"])
