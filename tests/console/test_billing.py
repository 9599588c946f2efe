"""Billing over HTTP: topping up, vouchers, what came of it, and who may see it."""

from __future__ import annotations

import asyncio
import html
import logging
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from ezkielyna.contract.money import nano
from ezkielyna.defaults.vouchers import KIND, create_voucher
from ezkielyna.ledger.payments import new_order
from ezkielyna.ledger.verify import verify
from ezkielyna.storage import payments as stored
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.payments import Notes
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.visitor import Answer, Visitor, logged_in

TABLES: dict[str, Any] = {
    "plugins": ["openai", "simulator"],
    "payments": {"test": {"kind": "test"}},
    "accounts": {"contact": "desk@example.com", "refund_policy": "Refunds within 14 days."},
}
FORM = re.compile(r'<input type="hidden" name="(order|amount|currency|at|signature)" value="(.*?)"')


async def balance(gateway: RunningGateway) -> int:
    return (await Accounts(gateway.database).by_id(gateway.account)).balance


async def ordered(ann: Visitor, amount: str = "20", **fields: str) -> str:
    """Send the form and return the path of the payment's page."""
    sent = await ann.post("/billing/top-up", {"other": amount, "method": "test", **fields})
    assert sent.status == 303, sent.text
    path, _, query = sent.location.partition("?")
    assert query == "go=1"
    return path


async def form(ann: Visitor, path: str) -> dict[str, str]:
    """Return the fields of the test payment's form."""
    page = await ann.get(path)
    fields = {name: html.unescape(text) for name, text in FORM.findall(page.raw)}
    assert len(fields) == 5, page.text
    return fields


async def pressed(ann: Visitor, path: str, outcome: str, **changes: str) -> Answer:
    """Press a button of the test payment's form, as a browser without a session would."""
    return await notified(ann.url, {**await form(ann, path), "outcome": outcome, **changes})


async def notified(url: str, fields: dict[str, str], **headers: str) -> Answer:
    return await Visitor(url).send("POST", "/payments/test/webhook", urlencode(fields), headers)


async def test_from_an_amount_to_the_receipt(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        page = await ann.get("/billing")
        assert "$5.00" in page.text
        assert "Refunds within 14 days." in page.text
        assert "no real money moves" in page.text
        path = await ordered(ann)
        waiting = await ann.get(path)
        assert "This is a test payment" in waiting.text
        assert 'action="/payments/test/webhook"' in waiting.raw
        assert (await ann.get(f"{path}/receipt")).status == 404
        assert "processing" in (await ann.get("/billing")).text
        answer = await pressed(ann, path, "paid")
        assert (answer.status, answer.text) == (200, '{"status": "paid"}')
        assert await balance(gateway) == nano("25")
        assert "$20.00 added to your balance" in (await ann.get(path)).text
        receipt = await ann.get(f"{path}/receipt")
        assert "20.00 USD" in receipt.text
        assert "No real money moved" in receipt.text
        assert gateway.email in receipt.text
        billing = await ann.get("/billing")
        assert "+$20.00" in billing.text
        assert f'href="{path}/receipt"' in billing.raw
        assert (await verify(gateway.database, pause_s=0)).ok


async def test_ten_webhooks_at_once_are_one_credit(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        path = await ordered(ann)
        fields = {**await form(ann, path), "outcome": "paid"}
        answers = await asyncio.gather(*(notified(gateway.url, fields) for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert await balance(gateway) == nano("25")


async def test_a_browser_that_notifies_is_led_back(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        path = await ordered(ann)
        fields = {**await form(ann, path), "outcome": "processing"}
        answer = await notified(gateway.url, fields, Sec_Fetch_Mode="navigate")
        assert (answer.status, answer.location) == (303, path)
        assert "We are waiting for Test payment" in (await ann.get(path)).text


@pytest.mark.parametrize(
    "changes", [{"amount": "99000000000"}, {"currency": "eur"}, {"signature": "0" * 64}]
)
async def test_what_is_forged_is_refused_and_logged(
    gateways: Gateways, caplog: pytest.LogCaptureFixture, changes: dict[str, str]
) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        path = await ordered(ann)
        with caplog.at_level(logging.WARNING):
            answer = await pressed(ann, path, "paid", **changes)
        assert answer.status == 400
        assert "the signature is wrong" in answer.text
        assert "payment notification to test refused: the signature is wrong" in caplog.text
        assert await balance(gateway) == nano("5")


async def test_only_methods_that_are_there_are_notified(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        visitor = Visitor(gateway.url)
        for name in ("voucher", "nothing"):
            answer = await visitor.send("POST", f"/payments/{name}/webhook", "x=y", {})
            assert answer.status == 404
        large = await visitor.send("POST", "/payments/test/webhook", "x" * 600_000, {})
        assert large.status == 413
        assert (await visitor.get("/payments/test/webhook")).status == 405


async def test_a_decline_says_why_and_offers_another_try(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        path = await ordered(ann, "$12,50")
        state = await ann.get(f"{path}/state")
        assert '"processing"' in state.text
        assert (await pressed(ann, path, "failed")).status == 200
        page = await ann.get(path)
        assert "The test payment was declined." in page.text
        assert 'href="/billing?amount=12.50"' in page.raw
        assert 'value="12.50"' in (await ann.get("/billing?amount=12.50")).raw
        assert "failed" in (await ann.get("/billing")).text


async def test_a_form_that_is_sent_twice_is_one_order(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        order = new_order()
        paths = await asyncio.gather(*(ordered(ann, order=order) for _ in range(3)))
        assert set(paths) == {f"/billing/payments/{order}"}
        bob = await logged_in(gateway, await another(gateway))
        stolen = await bob.post("/billing/top-up", {"other": "20", "order": order})
        assert stolen.status == 404


async def another(gateway: RunningGateway) -> str:
    return (await Accounts(gateway.database).create("bob@example.com", "default")).id


async def test_payments_of_others_are_not_there(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        path = await ordered(ann)
        await pressed(ann, path, "paid")
        bob = await logged_in(gateway, await another(gateway))
        for page in ("", "/state", "/receipt"):
            assert (await bob.get(path + page)).status == 404
        assert "$20.00" not in (await bob.get("/billing")).text
        for page in (path, f"{path}/state", "/billing", "/billing/ledger", "/billing/payments"):
            sent = await Visitor(gateway.url).get(page)
            assert sent.location.startswith("/login?next=")


async def test_amounts_that_cannot_be_are_explained(gateways: Gateways) -> None:
    bounds, words = "Choose an amount between 5.00 and 500.00 USD", "such as 20 or 12.50"
    cases = {"1": bounds, "1000": bounds}
    cases |= dict.fromkeys(("abc", "", "10.001", "-10", "1e2", "\u0661\u0660"), words)
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        token = await ann.token("/billing")
        for amount, reason in cases.items():
            shown = await ann.post("/billing/top-up", {"other": amount}, token=token)
            assert (shown.status, reason in shown.text) == (422, True), amount


async def voucher(database: Database, amount: str = "10") -> str:
    return await create_voucher(Notes(database, SECRET, KIND), nano(amount), None)


async def test_a_voucher_is_redeemed_once(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        assert 'for="field-code">Voucher code' in (await ann.get("/billing")).raw
        code = await voucher(gateway.database)
        token = await ann.token("/billing")
        answers = await asyncio.gather(
            *(ann.post("/billing/voucher", {"code": code}, token=token) for _ in range(4))
        )
        assert sorted(answer.status for answer in answers) == [303, 422, 422, 422]
        assert "10.00 USD were added" in (await ann.get("/billing")).text
        assert await balance(gateway) == nano("15")
        assert (await verify(gateway.database, pause_s=0)).ok


async def test_who_guesses_codes_waits(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        token = await ann.token("/billing")
        statuses = [
            (await ann.post("/billing/voucher", {"code": str(n)}, token=token)).status
            for n in range(7)
        ]
        assert statuses[:5] == [422] * 5
        assert statuses[-1] == 429
        code = await voucher(gateway.database)
        refused = await ann.post("/billing/voucher", {"code": code}, token=token)
        assert refused.status == 429
        assert "Too many failed attempts" in refused.text
        assert int(refused.headers["retry-after"]) >= 1


async def test_without_a_method_the_operator_is_named(gateways: Gateways) -> None:
    async with gateways(tables={"accounts": TABLES["accounts"]}) as gateway:
        ann = await logged_in(gateway)
        page = await ann.get("/billing")
        assert "Ask the operator" in page.text
        assert 'href="mailto:desk@example.com"' in page.raw
        assert "Redeem" in page.text
        refused = await ann.post("/billing/top-up", {"other": "20"})
        assert refused.status == 422


async def test_forms_of_other_sites_are_refused(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        for path in ("/billing/top-up", "/billing/voucher"):
            assert (await ann.post(path, {"other": "20"}, token="")).status == 403
            forged = await ann.post(path, {"other": "20"}, Sec_Fetch_Site="cross-site")
            assert forged.status == 403
        assert [each async for each in stored.of_account(gateway.database, gateway.account)] == []


async def test_the_ledger_is_paged_and_complete(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        for number in range(60):
            await credit(
                gateway.database, gateway.account, nano(1), reference=f"gift-{number}", by="test"
            )
        ann = await logged_in(gateway)
        first = await ann.get("/billing/ledger")
        older = re.search(r'href="(/billing/ledger\?after=[^"]+)"', first.raw)
        assert older is not None
        second = await ann.get(html.unescape(older[1]))
        shown = re.findall(
            r'<code class="clip"[^>]*>((?:gift|opening)-\w+)</code>', first.raw + second.raw
        )
        assert len(shown) == len(set(shown)) == 61
        assert shown[0] == "gift-59"
        assert shown[-1].startswith("opening-")
        assert (await ann.get("/billing/ledger?after=x.y")).status == 400


async def test_top_ups_are_paged(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        ann = await logged_in(gateway)
        account = await Accounts(gateway.database).by_id(gateway.account)
        payments = gateway.app.payments
        for cents in range(27):
            await payments.order(account, "test", nano(f"10.{cents:02d}"), new_order())
        assert "All top-ups" in (await ann.get("/billing")).text
        first, second = (
            await ann.get("/billing/payments"),
            await ann.get("/billing/payments?page=2"),
        )
        assert ("$10.26" in first.text, "$10.00" in first.text) == (True, False)
        assert ("$10.26" in second.text, "$10.00" in second.text) == (False, True)
        for wrong in ("0", "x", "99999999"):
            assert (await ann.get(f"/billing/payments?page={wrong}")).status == 404


async def test_what_people_wrote_is_text(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        evil = "<script>alert(1)</script>"
        await credit(
            gateway.database, gateway.account, nano(1), reference=evil, by="test", note=evil
        )
        ann = await logged_in(gateway)
        for page in ("/billing", "/billing/ledger", f"/billing?amount={evil}"):
            assert evil not in (await ann.get(page)).raw
        assert evil not in (await ann.post("/billing/voucher", {"code": evil})).raw
        assert evil not in (await ann.post("/billing/top-up", {"other": evil})).raw
