"""Billing in Chromium: every state in both themes and widths, and a top-up from end to end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ezkielyna.contract.money import nano
from ezkielyna.contract.payment import PaymentEvent, PaymentState
from ezkielyna.defaults.vouchers import KIND, create_voucher
from ezkielyna.ledger.payments import new_order
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.payments import Notes, Payment
from ezkielyna.testing.browser import Browser
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.visitor import logged_in

TABLES: dict[str, Any] = {
    "plugins": ["openai", "simulator"],
    "payments": {"test": {"kind": "test"}, "more": {"kind": "test", "title": "Another test"}},
    "accounts": {"contact": "desk@example.com"},
}


async def with_every_state(gateway: RunningGateway) -> dict[str, str]:
    """Make a payment of every state; return their ids."""
    account = await Accounts(gateway.database).by_id(gateway.account)
    payments = gateway.app.payments
    states: list[PaymentState] = ["processing", "failed", "paid", "refunded"]
    made: dict[str, Payment] = {
        state: await payments.order(account, "test", nano(10 * number), new_order())
        for number, state in enumerate(states, 1)
    }
    for state, payment in made.items():
        event = PaymentEvent(
            "paid", payment.id, f"pi_{state}", payment.amount, "usd", datetime.now(UTC)
        )
        method = payments.methods["test"]
        if state == "failed":
            event = replace(event, state="failed", reason="Your card was declined.")
        if state != "processing":
            await payments._apply(method, event)
        if state == "refunded":
            back = replace(event, state="refunded", refund_id="re_1")
            await payments._apply(method, back)
    return {state: payment.id for state, payment in made.items()}


PAGES = (
    "/billing",
    "/billing/ledger",
    "/billing/payments",
    "/billing/payments/{processing}",
    "/billing/payments/{failed}",
    "/billing/payments/{refunded}/receipt",
)


async def test_every_page_is_seen(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables=TABLES) as gateway:
        ids = await with_every_state(gateway)
        ann = await logged_in(gateway)
        paths = [path.format(**ids) for path in PAGES]
        await browser.inspect(gateway.url, paths, cookies=ann.cookies)


async def test_billing_without_a_method_is_seen(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables={"accounts": TABLES["accounts"]}, credit="0") as gateway:
        ann = await logged_in(gateway)
        await browser.inspect(gateway.url, ["/billing?nothing"], cookies=ann.cookies)


async def test_a_customer_tops_up_and_redeems(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables={**TABLES, "payments": {"test": {"kind": "test"}}}) as gateway:
        ann = await logged_in(gateway)
        desk = Notes(gateway.database, SECRET, KIND)
        code = await create_voucher(desk, nano("10"), None)

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/billing")
            assert await page.get_by_label("10 USD").is_checked()
            await page.get_by_label("25 USD").check(force=True)
            await page.get_by_role("button", name="Continue to payment").click()
            await page.get_by_role("button", name="Leave it processing").click()
            await page.get_by_text("We are waiting for Test payment").wait_for()
            # Another tab pays; this one finds out by itself.
            tab = await page.context.new_page()
            await tab.goto(page.url)
            await tab.get_by_role("button", name="Pay with test money").click()
            await tab.get_by_role("heading", name="$25.00 added to your balance").wait_for()
            await page.get_by_role("heading", name="$25.00 added to your balance").wait_for()
            await page.get_by_role("link", name="Receipt").click()
            await page.get_by_role("heading", name="Receipt").wait_for()
            await page.goto(f"{gateway.url}/billing")
            await page.get_by_label("Voucher code").fill("wrong")
            await page.get_by_role("button", name="Redeem").click()
            await page.get_by_text("There is no such voucher").wait_for()
            await page.get_by_label("Voucher code").fill(code.lower())
            await page.get_by_role("button", name="Redeem").click()
            await page.get_by_text("10.00 USD were added to your balance").wait_for()
            assert await page.get_by_role("link", name="Balance $40.00").is_visible()

        await browser.visit(walk, cookies=ann.cookies, url=gateway.url, allowed=["422 POST"])


async def test_a_top_up_needs_no_scripts(gateways: Gateways, browser: Browser) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)

        async def walk(page: Any) -> None:
            await page.goto(f"{gateway.url}/billing")
            await page.get_by_label("Another amount").fill("12.50")
            assert await page.get_by_label("Test payment", exact=False).is_checked()
            await page.get_by_label("Another test").check()
            await page.get_by_role("button", name="Continue to payment").click()
            await page.get_by_role("button", name="Decline the payment").click()
            await page.get_by_text("The test payment was declined.").wait_for()
            await page.get_by_role("link", name="Try again").click()
            assert await page.get_by_label("Another amount").input_value() == "12.50"

        await browser.visit(walk, cookies=ann.cookies, url=gateway.url, scripts=False)
