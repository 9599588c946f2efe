"""The playground: a key for an hour, a stream in the page, its cost, and the way out of trouble."""

from __future__ import annotations

import asyncio
import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from ezkielyna.console.forgery import HEADER
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.session_keys import LIFETIME
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import post
from ezkielyna.testing.processes import output_of
from ezkielyna.testing.visitor import Answer, Visitor, logged_in

TABLES: dict[str, Any] = {
    "plugins": ["openai", "simulator"],
    "providers": {"simulated": {"kind": "simulator", "first_byte_s": 0.0, "pace": 0}},
    "models": {
        "sim-gpt": {"provider": "simulated", "input": "0.50", "output": "1.50", "max_output": 4096},
        "sim-embedding": {"provider": "simulated", "input": "0.02", "output": 0},
    },
    "plans": {"default": {"models": ["sim-*", "image-lab"]}},
}
SLOW = {**TABLES, "providers": {"simulated": {"kind": "simulator", "pace": 20, "length": 2000}}}
MESSAGE = 'Don\'t say "no":\n1 + 1 = 2 \\ é'


async def fetched(visitor: Visitor, token: str | None = None) -> Answer:
    given = await visitor.token("/playground") if token is None else token
    headers = {HEADER: given, "Sec-Fetch-Site": "same-origin"}
    return await visitor.send("POST", "/playground/key", "", headers)


async def call(gateway: RunningGateway, key: str) -> int:
    body = {"model": "sim-gpt", "messages": [{"role": "user", "content": "Hello"}]}
    return (await post(gateway.url, key, body)).status


async def test_it_offers_models_that_chat_and_that_the_plan_allows(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        page = await (await logged_in(gateway)).get("/playground")
        assert page.status == 200
        assert '<option value="sim-gpt">' in page.raw
        for other in ("sim-embedding", "image-lab", "gpt-lab"):
            assert f'"{other}"' not in page.raw
        assert "needs JavaScript" in page.raw


async def test_a_plan_without_such_models_is_told_so(gateways: Gateways) -> None:
    tables = {**TABLES, "plans": {"default": {"models": ["image-lab"]}}}
    async with gateways(tables=tables) as gateway:
        page = await (await logged_in(gateway)).get("/playground")
        assert "no models that chat" in page.text


async def test_the_key_is_in_the_answer_to_a_post_alone(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        answer = await fetched(ann)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        made = orjson.loads(answer.body)
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(minutes=30) < left <= LIFETIME
        assert await call(gateway, made["key"]) == 200
        assert made["key"] not in (await ann.get("/playground")).raw
        assert orjson.loads((await fetched(ann)).body) == made
        assert (await ann.get("/playground/key")).status == 405
        names = [key.name for key in await Keys(gateway.database, SECRET).list(gateway.account)]
        assert names == ["test", "Playground"]


async def test_no_key_without_the_sessions_token(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        assert (await fetched(ann, "")).status == 403
        assert (await fetched(ann, await Visitor(gateway.url).token("/login"))).status == 403
        assert len(await Keys(gateway.database, SECRET).list(gateway.account)) == 1


async def test_a_log_out_ends_the_key(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        key = orjson.loads((await fetched(ann)).body)["key"]
        assert await call(gateway, key) == 200
        await ann.post("/logout")
        async with asyncio.timeout(60):
            while await call(gateway, key) != 401:
                await asyncio.sleep(0.2)


async def test_a_message_is_answered_with_its_cost(gateways: Gateways, browser: Browser) -> None:
    """And what the page gives as code sends the same request."""
    code: dict[str, str] = {}

    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/playground")
        await page.get_by_label("System message").fill("Be brief.")
        await page.get_by_label("Temperature").fill("0.5")
        await page.get_by_label("Max tokens").fill("12")
        await page.get_by_label("Message", exact=True).fill(MESSAGE)
        await page.get_by_role("button", name="View code").click()
        code["curl"] = await page.locator("#as-curl").inner_text()
        await page.get_by_role("tab", name="Python").click()
        code["python"] = await page.locator("#as-python").inner_text()
        await page.get_by_role("button", name="Close").click()
        await page.get_by_label("Message", exact=True).press("Control+Enter")
        told = page.get_by_role("status").filter(has_text="tokens in")
        await told.wait_for()
        assert "12 out, $0.0000" in await told.inner_text()
        said = await page.locator(".turn.assistant p").inner_text()
        assert len(said.split()) > 3
        assert await page.locator(".turn.user p").inner_text() == MESSAGE
        await page.get_by_label("Message", exact=True).fill("And then?")
        await page.get_by_role("button", name="Send").click()
        await page.locator(".turn").nth(3).wait_for()
        await page.locator("#send:enabled").wait_for()
        await page.reload()
        assert await page.locator(".turn").count() == 4

    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        await browser.visit(walk, url=gateway.url, cookies=ann.cookies)
        printed = await output_of(sys.executable, "-c", code["python"], EZ_KEY=gateway.key)
        assert "$0.0000" in printed
        if shutil.which("curl"):
            assert '"cost":' in await output_of("sh", "-c", code["curl"], EZ_KEY=gateway.key)


@pytest.mark.parametrize("by", ["button", "Escape"])
async def test_an_answer_is_stopped(gateways: Gateways, browser: Browser, by: str) -> None:
    """The page stops, and the upstream is left: what was delivered is billed as cut."""

    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/playground")
        await page.get_by_label("Message", exact=True).fill("Tell me everything")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("Answering…").wait_for()
        if by == "button":
            await page.get_by_role("button", name="Stop").click()
        else:
            await page.keyboard.press("Escape")
        await page.get_by_text("Stopped.").wait_for()
        assert await page.get_by_role("button", name="Stop").is_hidden()
        assert await page.locator(".turn.assistant p").inner_text()

    async with gateways(tables=SLOW) as gateway:
        ann = await logged_in(gateway)
        await browser.visit(walk, url=gateway.url, cookies=ann.cookies)
        async with asyncio.timeout(60):
            while (cut := await gateway.database["usage"].find_one({})) is None:
                await asyncio.sleep(0.05)
    assert cut["outcome"] == "client_gone"


async def test_without_money_the_draft_is_kept(gateways: Gateways, browser: Browser) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/playground")
        await page.get_by_label("Message", exact=True).fill("Hello there")
        await page.get_by_role("button", name="Send").click()
        trouble = page.get_by_role("alert")
        await trouble.get_by_text("Request req_").wait_for()
        await trouble.get_by_role("link", name="Top up your balance").click()
        await page.wait_for_url("**/billing")
        await page.goto(f"{gateway.url}/playground")
        assert await page.get_by_label("Message", exact=True).input_value() == "Hello there"

    async with gateways(tables=TABLES, credit="0") as gateway:
        ann = await logged_in(gateway)
        await browser.visit(walk, url=gateway.url, cookies=ann.cookies, allowed=["402 POST"])


@pytest.mark.parametrize("opened", [False, True], ids=["talk", "code"])
async def test_the_playground_seen(gateways: Gateways, browser: Browser, opened: bool) -> None:
    async def prepare(page: Any) -> None:
        if opened:
            await page.get_by_role("button", name="View code").click()
            return
        await page.get_by_label("Message", exact=True).fill("Why is the sky blue?")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("See its bill").wait_for()

    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        await browser.inspect(gateway.url, ["/playground"], cookies=ann.cookies, prepare=prepare)
