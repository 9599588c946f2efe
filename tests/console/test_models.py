"""Models and prices: searched, filtered, sorted and computed on the server."""

from __future__ import annotations

from typing import Any

from ezkielyna.console.handlers.models import View
from ezkielyna.contract.context import Model
from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import Bucket
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.visitor import Visitor

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


async def test_models_in_chromium(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables=TABLES) as gateway:
        await browser.inspect(gateway.url, ["/models?in=1000&out=500"])
