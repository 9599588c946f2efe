"""Every page in Chromium: both themes, small and large, accessible, nothing refused."""

from __future__ import annotations

import asyncio
from typing import Any

from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.visitor import Visitor, logged_in

EMAIL = "ann@example.com"
STRENGTHS = {
    "correct horse battery staple": "Strong",
    "Tr0ub4dor&3": "Could be longer",
    "Password1234": "Easy to guess",
    "aaaaaaaaaaaaaaaaaaaa": "Easy to guess",
    "short": "Too short",
}
"""Passwords, and what the meter says of them; the last one is sent, for the meter never blocks."""


async def test_pages_for_strangers(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = Visitor(gateway.url)
        await ann.post("/reset", {"email": gateway.email}, page="/reset")
        reset = (await gateway.mailbox.letter(gateway.email)).path
        fields = {"email": EMAIL, "password": "correct horse battery"}
        await ann.post("/signup", fields, page="/signup")
        link = (await gateway.mailbox.letter(EMAIL)).path
        paths = ("/", "/login", "/signup", "/reset", reset, link, "/verify")
        await browser.inspect(gateway.url, paths, cookies=ann.cookies)


async def test_pages_that_say_no(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables={"accounts": {"signup": False}}) as gateway:
        paths = ["/signup", "/nowhere", "/verify?ticket=x"]
        await browser.inspect(gateway.url, paths, allowed=["404 GET", "410 GET"])


async def test_pages_for_customers(gateways: Gateways, browser: Browser) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        await logged_in(gateway)
        pages = ("/settings", "/settings/history", "/settings/delete", "/logout")
        await browser.inspect(gateway.url, pages, cookies=ann.cookies)


async def test_a_form_with_errors(gateways: Gateways, browser: Browser) -> None:
    async def filled(page: Any) -> None:
        await page.get_by_label("E-mail").fill("nobody")
        strength = page.get_by_role("meter", name="Strength")
        assert not await strength.is_visible()
        for typed, says in STRENGTHS.items():
            await page.get_by_role("textbox", name="Password").fill(typed)
            await page.get_by_text(says, exact=True).wait_for()
        await page.get_by_role("button", name="Create account").last.click()
        await page.get_by_text("not an e-mail address").wait_for()
        described = await page.get_by_label("E-mail").get_attribute("aria-describedby")
        assert "e-mail address" in await page.locator(f"#{described}").inner_text()
        await page.get_by_role("textbox", name="Password").fill(next(iter(STRENGTHS)))
        await strength.wait_for()

    async with gateways() as gateway:
        await browser.inspect(gateway.url, ["/signup"], prepare=filled, allowed=["422 POST"])


async def test_the_page_that_waits_moves_on(gateways: Gateways, browser: Browser) -> None:
    """The mail is read on a phone; the laptop finds out by itself."""
    async with gateways() as gateway:
        laptop, phone = Visitor(gateway.url), Visitor(gateway.url)
        fields = {"email": EMAIL, "password": "correct horse battery"}
        await laptop.post("/signup", fields, page="/signup")
        letter = await gateway.mailbox.letter(EMAIL)
        shown = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/verify")
            await page.get_by_text(EMAIL).wait_for()
            assert await page.get_by_role("button", name="Send it again in").is_disabled()
            loop.call_soon_threadsafe(shown.set)
            await page.wait_for_url("**/login")
            await page.get_by_text("Your e-mail address is verified").wait_for()

        async def verify() -> None:
            await shown.wait()
            await phone.post("/verify", {"ticket": letter.ticket}, page=letter.path)

        await asyncio.gather(browser.visit(walk, url=gateway.url, cookies=laptop.cookies), verify())


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
