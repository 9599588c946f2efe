"""The whole way, as a new customer goes it, with a browser, a mailbox and a program."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from typing import Any

from ezkielyna.contract.money import nano
from ezkielyna.storage.accounts import Accounts
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering

EMAIL = "ann@example.com"
PASSWORD = "correct horse battery"
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


class Aside:
    """Lets a walk in the browser's loop wait for what happens in the test's own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run it in the test's loop and return its result."""

        async def run() -> Any:
            return await work()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))


async def become_a_customer(page: Any, gateway: RunningGateway, aside: Aside) -> None:
    """Sign up, take the link from the mail, log in."""
    await page.goto(gateway.url)
    await page.get_by_role("link", name="Create account").first.click()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_role("textbox", name="Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await page.get_by_text(EMAIL).wait_for()
    letter = await aside.do(lambda: gateway.mailbox.letter(EMAIL))
    await page.goto(gateway.url + letter.path)
    await page.get_by_role("button", name="Verify e-mail").click()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in", exact=True).click()
    await page.get_by_text("$0.50").first.wait_for()


async def make_a_key(page: Any, gateway: RunningGateway) -> str:
    """Create a key in the console, see it once, and return it."""
    await page.goto(f"{gateway.url}/keys")
    await page.get_by_role("button", name="Create key").click()
    await page.get_by_label("Name").fill("laptop")
    await page.get_by_role("button", name="Create", exact=True).click()
    key = str(await page.get_by_label("Your new key").inner_text())
    await page.reload()
    assert key not in await page.content()
    return key


async def see_it_live(page: Any, gateway: RunningGateway, key: str, aside: Aside) -> None:
    """Call the API while the live monitor is open, and see the call come in."""
    await page.goto(f"{gateway.url}/live")
    await page.locator("[data-live-state].good").wait_for()
    answer = await aside.do(lambda: post(gateway.url, key, CHAT))
    assert answer.status == 200, answer.body
    row = page.locator("[data-live-feed] tbody tr")
    await row.get_by_text("gpt-lab").wait_for()
    assert "laptop" in await row.inner_text()
    await row.get_by_role("link").click()
    await page.get_by_role("heading", name="The bill").wait_for()
    assert await page.locator("#charged").inner_text() == "$0.00004"


async def see_it_in_the_chart(page: Any, gateway: RunningGateway) -> str:
    """Find the call in the chart's table, export the CSV, and return the file's text."""
    await page.goto(f"{gateway.url}/usage")
    figure = page.locator("figure.chart")
    await figure.get_by_text("gpt-lab").first.wait_for()
    assert await figure.locator("tfoot td").first.get_attribute("title") == "0.00004 USD"
    async with page.expect_download() as expected:
        await page.get_by_role("link", name="Export CSV", exact=True).click()
    return str((await (await expected.value).path()).read_text())


async def test_from_sign_up_to_the_export(gateways: Gateways, browser: Browser) -> None:
    exported: list[str] = []
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        aside = Aside()

        async def walk(page: Any) -> None:
            await become_a_customer(page, gateway, aside)
            key = await make_a_key(page, gateway)
            await see_it_live(page, gateway, key, aside)
            exported.append(await see_it_in_the_chart(page, gateway))

        await browser.visit(walk)
        account = await Accounts(gateway.database).by_email(EMAIL)
        assert account.verified
        entries = gateway.database["ledger"].find({"account": account.id, "kind": "settlement"})
        charged = -sum([int(entry["amount"]) async for entry in entries])
    rows = list(csv.DictReader(io.StringIO(exported[0])))
    assert [row["model"] for row in rows] == ["gpt-lab"]
    assert sum(nano(row["cost_usd"]) for row in rows) == charged == 40_000
