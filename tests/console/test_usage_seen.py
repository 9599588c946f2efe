"""The usage pages in Chromium."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from ezkielyna.testing.browser import Browser
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.history import month, settled
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import logged_in

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


async def test_the_usage_page(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        await settled(gateway.database, month(gateway.account, gateway.key_id, datetime.now(UTC)))
        ann = await logged_in(gateway)
        await browser.inspect(gateway.url, ["/usage?range=7d"], cookies=ann.cookies)


async def test_overview_and_activity(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        records = month(gateway.account, gateway.key_id, datetime.now(UTC))[-8:]
        failed = [record for record in records if record.outcome != "ok"]
        await settled(gateway.database, records)
        ann = await logged_in(gateway)
        one = f"/activity/{(failed or records)[0].request_id}"
        paths = ["/overview", "/activity", f"/activity/{records[-1].request_id}"]
        await browser.inspect(gateway.url, [*paths, one], cookies=ann.cookies, themes=("light",))
        await browser.inspect(
            gateway.url, ["/overview"], cookies=ann.cookies, themes=("dark",), widths=(375,)
        )


async def test_the_usage_page_otherwise(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        look: dict[str, Any] = {"cookies": ann.cookies, "widths": (375,), "themes": ("light",)}
        await browser.inspect(gateway.url, ["/usage"], **look)
        await settled(gateway.database, month(gateway.account, gateway.key_id, datetime.now(UTC)))
        lines = "/usage?range=7d&metric=latency&group=outcome&scale=log"
        await browser.inspect(gateway.url, [lines], **look)


async def test_a_choice_takes_effect_and_stays_in_the_address(
    gateways: Gateways, browser: Browser
) -> None:
    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/usage")
        await page.get_by_label("Group by").select_option("Key")
        await page.wait_for_url("**group=key**")
        await page.get_by_role("checkbox", name="Logarithmic").check()
        await page.wait_for_url("**scale=log**")
        assert "group=key" in page.url
        assert await page.get_by_label("Group by").input_value() == "key"
        await page.get_by_role("link", name="7 days").click()
        await page.wait_for_url("**range=7d**")
        assert "group=key" in page.url
        await page.go_back()
        await page.wait_for_url("**scale=log**")
        async with page.expect_download() as expected:
            await page.get_by_role("link", name="Export CSV", exact=True).click()
        path = await (await expected.value).path()
        assert len(path.read_text().splitlines()) == len(records) + 1

    async with gateways() as gateway:
        records = month(gateway.account, gateway.key_id, datetime.now(UTC))
        await settled(gateway.database, records)
        ann = await logged_in(gateway)
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)


async def test_a_call_appears_while_somebody_looks(gateways: Gateways, browser: Browser) -> None:
    """Live at once, still when the page is hidden, paused on demand, never frozen in silence."""

    async def walk(page: Any) -> None:
        await page.goto(f"{gateway.url}/live")
        await page.get_by_text("Live", exact=True).and_(page.locator(".badge")).wait_for()
        call = asyncio.run_coroutine_threadsafe(post(gateway.url, gateway.key, CHAT), loop)
        answer = await asyncio.wrap_future(call)
        assert answer.status == 200
        row = page.locator("[data-live-feed] tbody tr")
        await row.get_by_text("gpt-lab").wait_for()
        assert await row.count() == 1
        await page.locator("[data-live=minute-requests]").get_by_text("1", exact=True).wait_for()
        await page.get_by_role("button", name="Pause").click()
        await page.locator(".badge").get_by_text("Paused").wait_for()
        await page.get_by_role("button", name="Resume").click()
        await page.locator(".badge").get_by_text("Live", exact=True).wait_for()
        assert await row.count() == 1, "what was seen before is not there twice"
        await page.context.set_offline(True)
        await page.evaluate("window.dispatchEvent(new Event('pagehide'))")
        await page.evaluate("window.dispatchEvent(new Event('pageshow'))")
        await page.locator(".badge").get_by_text("Reconnecting").wait_for()
        await page.context.set_offline(False)
        await page.locator(".badge").get_by_text("Live", exact=True).wait_for()

    loop = asyncio.get_running_loop()
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        ann = await logged_in(gateway)
        look: dict[str, Any] = {"cookies": ann.cookies, "widths": (375, 1280)}
        await browser.visit(walk, cookies=ann.cookies, url=gateway.url)
        await browser.inspect(gateway.url, ["/live"], **look)
