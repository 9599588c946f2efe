"""Every page in Chromium: both themes, small and large, accessible, nothing refused."""

from __future__ import annotations

from typing import Any

from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.visitor import logged_in


async def test_pages_for_strangers(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        await browser.inspect(gateway.url, ["/", "/login"])
        await browser.inspect(gateway.url, ["/nowhere"], allowed=["404 GET"])


async def test_pages_for_customers(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        await logged_in(gateway)
        await browser.inspect(gateway.url, ["/settings", "/logout"], cookies=ann.cookies)


async def test_the_landing_page_works_without_scripts(gateways: Gateways, browser: Browser) -> None:
    async def walk(page: Any) -> None:
        await page.goto(gateway.url)
        for example in ("curl -N", "from openai import", "import OpenAI from"):
            assert await page.get_by_text(example).is_visible()

    async with gateways() as gateway:
        await browser.visit(walk, scripts=False)


async def test_a_chosen_theme_is_kept(gateways: Gateways, browser: Browser) -> None:
    async def walk(page: Any) -> None:
        await page.goto(gateway.url)
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="Change theme").click()
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert light != dark
        await page.reload()
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"

    async with gateways() as gateway:
        await browser.visit(walk)
