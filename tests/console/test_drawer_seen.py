"""What opens over a page, and keys for who likes keys: the drawer, the list of shortcuts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from ezkielyna.storage.accounts import Accounts
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import SESSION, logged_in

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


async def test_a_request_opens_over_the_list(gateways: Gateways, browser: Browser) -> None:
    """By keyboard: opened, read line by line, closed; the focus is where it was."""

    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/activity")
        link = page.locator("#requests tbody a").first
        await link.focus()
        await page.keyboard.press("Enter")
        drawer = page.get_by_role("dialog", name="Request")
        await drawer.get_by_role("heading", name="The bill").wait_for()
        for line in ("input tokens", "$2.50 per million", "output tokens", "$10.00 per million"):
            assert await drawer.get_by_text(line).count() == 1, line
        assert await drawer.locator("#charged").inner_text() == "$0.00004"
        assert page.url.endswith("/activity")
        assert await page.locator("h1").count() == 1
        focused = "document.activeElement"
        assert await page.evaluate(f"{focused}.textContent") == "Close"
        await page.keyboard.press("Escape")
        await drawer.wait_for(state="hidden")
        assert "/activity/req_" in await page.evaluate(f"{focused}.href")
        await link.click()
        await drawer.get_by_role("button", name="Copy request id").click()
        await drawer.get_by_text("Copied").wait_for()
        await drawer.get_by_role("button", name="Close").click()
        await drawer.wait_for(state="hidden")
        await link.click()
        await drawer.get_by_role("link", name="Open as a page").click()
        await page.wait_for_url("**/activity/req_*")
        await page.get_by_role("heading", level=1, name="Request").wait_for()

    async def opened(page: Any) -> None:
        await page.locator("#requests tbody a").first.click()
        await page.get_by_role("dialog", name="Request").wait_for()

    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        assert (await post(gateway.url, gateway.key, CHAT)).status == 200
        ann = await logged_in(gateway)
        async with asyncio.timeout(60):
            while "No requests" in (await ann.get("/activity")).text:
                await asyncio.sleep(0.1)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)
        await browser.inspect(gateway.url, ["/activity"], cookies=ann.cookies, prepare=opened)


async def test_without_scripts_a_request_is_a_page(gateways: Gateways, browser: Browser) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/activity")
        await page.locator("#requests tbody a").first.click()
        await page.get_by_role("heading", level=1, name="Request").wait_for()
        assert await page.get_by_role("heading", name="The bill").is_visible()

    async with gateways() as gateway:
        record = ended(gateway.account, gateway.key_id, datetime.now(UTC), cost=1)
        await settled(gateway.database, [record])
        ann = await logged_in(gateway)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url, scripts=False)


async def test_keys_lead_to_pages_and_leave_fields_alone(
    gateways: Gateways, browser: Browser
) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/overview")
        for key, path in (("u", "/usage"), ("a", "/activity"), ("k", "/keys")):
            await page.keyboard.press("g")
            await page.keyboard.press(key)
            await page.wait_for_url(f"**{path}")
        search = page.get_by_role("searchbox")
        await page.keyboard.press("/")
        await page.keyboard.type("gu/?")
        assert await search.input_value() == "gu/?"
        assert page.url.endswith("/keys")
        await search.blur()
        await page.keyboard.press("Control+g")
        await page.keyboard.press("u")
        opener = page.get_by_role("button", name="Keyboard shortcuts")
        await opener.focus()
        await page.keyboard.press("?")
        listed = page.get_by_role("dialog", name="Keyboard shortcuts")
        assert "Usage" in await listed.inner_text()
        await page.keyboard.press("Escape")
        await listed.wait_for(state="detached")
        assert await opener.evaluate("one => one === document.activeElement")
        assert page.url.endswith("/keys")

    async def opened(page: Any) -> None:
        await page.get_by_role("button", name="Keyboard shortcuts").click()

    async with gateways() as gateway:
        ann = await logged_in(gateway)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)
        await browser.inspect(
            gateway.url, ["/settings"], cookies=ann.cookies, widths=(375,), prepare=opened
        )


async def test_the_balance_on_top_follows_the_requests(
    gateways: Gateways, browser: Browser
) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/usage")
        await page.get_by_role("link", name="Balance $5.00").wait_for()
        call = asyncio.run_coroutine_threadsafe(post(gateway.url, gateway.key, CHAT), loop)
        assert (await asyncio.wrap_future(call)).status == 200
        await page.get_by_role("link", name="Balance $4.99").wait_for()

    loop = asyncio.get_running_loop()
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables={"models": {"gpt-lab": {"output": "5000"}}}) as gateway,
    ):
        ann = await logged_in(gateway)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)


MODEL = "publisher/family-of-models-2026-11-22-preview-instruct"
WIDTHS = (320, 768, 1440)
STRANGERS = ("/", "/login", "/signup", "/reset", "/models", "/docs", "/docs/errors", "/nowhere")
CUSTOMERS = (
    "/overview",
    "/usage",
    "/usage?group=key&metric=tokens",
    "/activity",
    "/live",
    "/keys",
    "/billing",
    "/billing/ledger",
    "/billing/payments",
    "/playground",
    "/settings",
    "/settings/history",
    "/settings/delete",
    "/verify",
    "/logout",
)


BOSS = "the-one-who-answers-for-all-of-this@operations.example.com"
OPERATORS = ("/admin", "/admin/accounts", "/admin/providers", "/admin/models", "/admin/plugins")


async def test_nothing_is_wider_than_the_screen(gateways: Gateways, browser: Browser) -> None:
    """Every page in the narrowest and the widest, with names that do not break by themselves."""

    async def seen(page: Any, path: str) -> None:
        await page.goto(gateway.url + path)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 900})
            wide = await page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                too_wide.append(f"{path} is {wide} px wide on a screen of {width} px")

    async def walk(page: Any) -> None:
        for path in STRANGERS:
            await seen(page, path)
        named = [{"name": n, "value": v, "url": gateway.url} for n, v in ann.cookies.items()]
        await page.context.add_cookies(named)
        for path in (*CUSTOMERS, f"/activity/{records[0].request_id}"):
            await seen(page, path)
        cookie = {"name": SESSION, "value": boss.cookies[SESSION], "url": gateway.url}
        await page.context.add_cookies([cookie])
        named_model = f"/admin/models?name={MODEL}"
        for path in (*OPERATORS, named_model, f"/admin/accounts/{gateway.account}"):
            await seen(page, path)

    too_wide: list[str] = []
    tables = {
        "accounts": {"operators": [BOSS]},
        "models": {MODEL: {"provider": "lab", "input": 1, "output": 2}},
    }
    async with gateways(tables=tables) as gateway:
        operator = await Accounts(gateway.database).create(BOSS, "default", verified=True)
        boss = await logged_in(gateway, operator.id)
        records = [
            ended(
                gateway.account,
                gateway.key_id,
                datetime.now(UTC) - timedelta(hours=n),
                model=MODEL,
                cost=10**9 * n,
            )
            for n in range(1, 4)
        ]
        await settled(gateway.database, records)
        ann = await logged_in(gateway)
        await browser.visit(walk, url=gateway.url, allowed=["404 GET"])
    assert not too_wide
