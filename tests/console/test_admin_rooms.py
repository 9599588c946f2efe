"""Operators' pages about providers, plugins, and models: true, and without a secret."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from ezkielyna.console.handlers import TOPICS
from ezkielyna.console.handlers.admin_models import margin_range, rate_range
from ezkielyna.console.handlers.admin_providers import Health
from ezkielyna.console.shown import Shown, shown
from ezkielyna.contract.money import Price, nano
from ezkielyna.settings import load
from ezkielyna.storage import price_changes, trail
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.database import Database
from ezkielyna.storage.price_changes import history
from ezkielyna.storage.totals import Recent
from ezkielyna.storage.usage import Sums
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.history import ended, month, settled
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import Visitor, logged_in

BOSS = "boss@example.com"
OFFICE = [route for topic in TOPICS for route in topic.routes if route[0].startswith("/admin")]
SECRETS = ("upstream-key", "metrics-secret", "pass-word", "header-secret")
TABLES: dict[str, Any] = {
    "plugins": ["openai", "guard", "markup", "metrics"],
    "accounts": {"operators": [BOSS]},
    "plugin": {"metrics": {"token": "metrics-secret"}, "guard": {"deny": ["night", "gale"]}},
    "providers": {
        "lab": {"headers": {"x-own": "header-secret"}},
        "spare": {"kind": "vllm", "base_url": "http://ann:pass-word@127.0.0.1:9/v1"},
    },
    "billing": {"resale": {"kind": "markup", "percent": 25}},
    "plans": {"gold": {"billing": "resale", "models": ["gpt*"]}},
    "models": {
        "gpt-lab": {"cost": {"input": "2", "output": "10.50"}},
        "spare-lab": {"provider": "spare", "input": 1, "output": 2},
    },
}


@asynccontextmanager
async def office(
    gateways: Gateways, upstream: str = "http://127.0.0.1:9"
) -> AsyncIterator[tuple[RunningGateway, Visitor]]:
    """Give a gateway of all kinds of things and its operator, logged in."""
    async with gateways(upstream, tables=TABLES) as gateway:
        boss = await Accounts(gateway.database).create(BOSS, "default", verified=True)
        yield gateway, await logged_in(gateway, boss.id)


async def test_a_test_shows_the_upstreams_own_error_and_no_secret(gateways: Gateways) -> None:
    echo = b'{"error": {"message": "no such key upstream-key of header-secret <b>"}}'
    async with (
        ScriptedUpstream(answering(401, JSON, echo)) as upstream,
        office(gateways, upstream.url) as (gateway, boss),
    ):
        page = await boss.post("/admin/providers", {"provider": "lab"})
        assert page.status == 200
        assert "lab failed after" in page.text
        assert "no such key [hidden] of [hidden] &lt;b&gt;" in page.raw
        assert not [secret for secret in SECRETS if secret in page.text]
        upstream.scripts[:] = [answering(200, JSON, chat_answer("Fine.", 9, 2))]
        page = await boss.post("/admin/providers", {"provider": "lab"})
        assert "lab answered after" in page.text
        assert "Fine." in page.text
        assert "9 in, 2 out" in page.text
        assert (await boss.post("/admin/providers", {"provider": "nobody"})).status == 404
        own = await Accounts(gateway.database).by_email(BOSS)
        steps = await trail.read(gateway.database, own.id)
        assert [(step.act, step.by, step.about) for step in steps] == [
            ("provider-tested", f"operator {BOSS}", "lab")
        ] * 2
        assert (await Accounts(gateway.database).by_id(own.id)).balance == 0


async def test_a_provider_without_words_cannot_be_tried(gateways: Gateways) -> None:
    tables = {"accounts": TABLES["accounts"], "providers": {"idle": {"kind": "openai"}}}
    async with gateways(tables=tables) as gateway:
        boss = await Accounts(gateway.database).create(BOSS, "default", verified=True)
        visitor = await logged_in(gateway, boss.id)
        page = await visitor.post("/admin/providers", {"provider": "idle"})
        assert page.status == 422
        assert "No model of idle is sold by the token" in page.text


async def test_health_is_that_of_the_last_hour_over_all_processes(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        now, bad = datetime.now(UTC), {"outcome": "upstream_failed", "status": 502}
        records = [ended("acc_1", "k", now, cost=1) for _ in range(3)]
        records += [ended("acc_2", "k", now, **bad)]  # type: ignore[arg-type]
        records += [ended("acc_2", "k", now, outcome="refused", status=400)]
        await settled(gateway.database, records)
        page = await boss.get("/admin/providers")
        assert "some requests fail" in page.text
        assert (
            "5 requests, 1 failed at the provider; first byte after 250 ms on average" in page.text
        )
        assert "no requests lately" in page.text
        assert "http://hidden" not in page.text
        assert "http://127.0.0.1:9/v1" in page.text
        assert not [secret for secret in SECRETS if secret in page.raw]


def test_a_provider_is_as_well_as_its_requests() -> None:
    def state(*found: tuple[str, int]) -> str:
        health = Health()
        for outcome, requests in found:
            health.add(Recent("m", outcome, Sums(requests)))
        return health.state[0]

    assert state() == "no requests lately"
    assert state(("ok", 5), ("refused", 9), ("failed", 3)) == "well"
    assert state(("ok", 5), ("upstream_timeout", 1)) == "some requests fail"
    assert state(("ok", 5), ("upstream_failed", 3), ("upstream_timeout", 2)) == "failing"


async def test_plugins_show_their_settings_and_no_secret(gateways: Gateways) -> None:
    async with office(gateways) as (_, boss):
        page = await boss.get("/admin/plugins")
        order = [
            page.text.index(f'id="plugin-{name}"') for name in ("ezkielyna", *TABLES["plugins"])
        ]
        assert order == sorted(order)
        assert '["night","gale"]' in page.text
        assert "bearer token for /metrics" in page.text
        assert "set, hidden" in page.text
        assert "billing markup" in page.text
        assert '[billing.…] kind = "markup"' in page.text
        assert '[providers.…] kind = "openai" or "azure"' in page.text
        assert "Payment method: Stripe" in page.text, "installed, not enabled"
        assert not [secret for secret in SECRETS if secret in page.raw]


def test_settings_are_shown_as_they_are_but_secrets() -> None:
    class Inner(BaseModel):
        port: int = 5
        password: str = ""

    class Table(BaseModel):
        key: SecretStr = SecretStr("")
        other_token: str | None = None
        home: str
        plain: tuple[str, ...] = ("a",)
        inner: Inner = Inner()
        below: dict[str, Inner] = {}

    held = Table(
        key=SecretStr("s3cret"),
        other_token="t0ken",
        home="redis://u:p4ss@host/0",
        inner=Inner(password="w0rd"),
        below={"x": Inner(port=6)},
    )
    lines = {line.name: line for line in shown(Table, held, lambda *path: path[0] == "plain")}
    assert lines["key"] == Shown("key", "secret", "", "", "hidden")
    assert lines["other_token"] == Shown("other_token", "text", "", "", "hidden")
    assert lines["home"] == Shown("home", "text", "required", "", "redis://hidden@host/0")
    assert lines["plain"] == Shown("plain", "list", '["a"]', "", "hidden")
    assert lines["inner.port"] == Shown("inner.port", "whole number", "5", "", "5")
    assert lines["inner.password"].value == "hidden"
    assert {line.value for line in shown(Table)} == {""}


def test_what_came_from_the_environment_is_known_to_be_secret(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        'plugins = ["x"]\n[plugin.x]\nopen = "a"\n[plugin.x.in]\nshut = { env = "A" }\n'
    )
    settings = load((file,), {"A": "b"})
    assert settings.plugin["x"]["in"] == {"shut": "b"}
    assert settings.secret("plugin", "x", "in", "shut")
    assert settings.secret("plugin", "x", "in")
    assert not settings.secret("plugin", "x", "open")


async def test_models_show_prices_costs_and_margins(gateways: Gateways) -> None:
    async with office(gateways) as (gateway, boss):
        async with asyncio.timeout(60):
            while len(await history(gateway.database)) < 4:
                await asyncio.sleep(0.01)
        page = await boss.get("/admin/models")
        assert "4 of 4" in page.text
        row = re.sub(r"<[^>]+>", " ", page.text.partition("?name=gpt-lab")[2].partition("</tr>")[0])
        for said in ("below cost", "$2.50 to $3.13", "$10.00 to $12.50", "$2.00, $10.50"):
            assert said in " ".join(row.split()), row
        assert f"{datetime.now(UTC):%b %Y}" in row
        spare = page.text.partition("?name=spare-lab")[2].partition("</tr>")[0]
        assert "0 %, 0 %" in spare, "the catalogue's price is resold, and here sold as it is"
        assert "gpt-lab" not in (await boss.get("/admin/models?q=spare")).text
        assert "No model matches" in (await boss.get("/admin/models?q=%3Cb%3E")).text
        one = await boss.get("/admin/models?name=gpt-lab")
        assert "Plan gold" in one.text
        assert "command line" in one.text, "where it is set"
        assert "\N{MINUS SIGN}5 %" in one.text
        assert (await boss.get("/admin/models?name=nothing")).status == 404


def test_ranges_of_rates_and_margins() -> None:
    low, high = Price.of({"input": nano(1), "output": nano(4)}), Price.of({"input": nano(2)})
    assert rate_range([low, high], "input") == "$1.00 to $2.00"
    assert rate_range([low], "reasoning") == "$4.00"
    assert rate_range([low], "images") == ""
    assert margin_range([low, high], Price.of({"input": nano("0.50")}), "input") == "50 % to 75 %"
    assert margin_range([low], None, "input") == ""


async def test_prices_are_noted_when_they_change_and_once(database: Database) -> None:
    first, second = (Price.of({"input": nano(rate), "output": 5}) for rate in (1, 2))
    for _ in range(2):
        await price_changes.record(database, {"a/b": first, "c": first})
    await asyncio.gather(*(price_changes.record(database, {"a/b": second}) for _ in range(4)))
    await price_changes.record(database, {"a/b": first})
    found = await history(database)
    assert [change.price.rates["input"] for change in found["a/b"]] == [nano(1), nano(2), nano(1)]
    assert len(found["c"]) == 1
    times = [change.at for change in found["a/b"]]
    assert times == sorted(times, reverse=True)


async def test_operators_pages_are_seen(gateways: Gateways, browser: Browser) -> None:
    async def opened(page: Any) -> None:
        for summary in await page.locator("main details:not(.chart details) > summary").all():
            await summary.click()
        if await page.get_by_role("button", name="Test lab").count():
            await page.get_by_role("button", name="Test lab").click()
            await page.get_by_role("heading", name="lab failed after").wait_for()

    echo = b'{"error": {"message": "The key is not valid."}}'
    async with (
        ScriptedUpstream(answering(401, JSON, echo)) as upstream,
        office(gateways, upstream.url) as (gateway, boss),
    ):
        used = month(gateway.account, gateway.key_id, datetime.now(UTC))[:60]
        await settled(gateway.database, used)
        paths = [path for path, handler in OFFICE if "(" not in path and "get" in vars(handler)]
        paths += ["/admin/models?name=gpt-lab", f"/admin/accounts/{gateway.account}"]
        await browser.inspect(gateway.url, paths, cookies=boss.cookies, prepare=opened)
