"""From the billing page to the ledger and back, against localstripe as a process."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import stripe

from ezkielyna.contract.money import nano
from ezkielyna.ledger.verify import verify
from ezkielyna.storage.accounts import Accounts
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import Answer, Visitor, logged_in

Open = Callable[[], AbstractAsyncContextManager[Any]]

SECRET = "whsec_0123456789abcdef"
HOOK = "/payments/cards/webhook"


@asynccontextmanager
async def selling(
    gateways: Gateways, open_shop: Open
) -> AsyncIterator[tuple[RunningGateway, Any, Visitor]]:
    async with open_shop() as opened:
        assert opened.secret == SECRET
        table = {"kind": "stripe", "api_key": opened.api_key, "webhook_secret": SECRET}
        tables = {
            "plugins": ["openai", "stripe"],
            "payments": {"cards": {**table, "base_url": opened.url}},
        }
        async with gateways(tables=tables) as gateway:
            yield gateway, opened, await logged_in(gateway)


async def ordered(ann: Visitor, amount: str = "20") -> tuple[str, str]:
    """Order at the billing page; return the payment's page and its PaymentIntent."""
    sent = await ann.post("/billing/top-up", {"other": amount, "method": "cards"})
    assert sent.status == 303, sent.text
    page = await ann.get(sent.location)
    wait, _, url = page.headers["refresh"].partition(";url=")
    assert wait == "0"
    assert f'href="{url}"' in page.raw
    return sent.location.partition("?")[0], url.rpartition("/")[2]


async def notified(gateway: RunningGateway, body: bytes, signature: str) -> Answer:
    sender = Visitor(gateway.url)
    return await sender.send("POST", HOOK, body.decode(), {"Stripe-Signature": signature})


def signed(event: dict[str, Any], at: float | None = None) -> tuple[bytes, str]:
    """Sign an event as Stripe does, for those that localstripe does not send."""
    body = json.dumps(event)
    header = stripe.WebhookSignature.generate_signature_header(body, SECRET, int(at or time.time()))
    return body.encode(), header


async def balance(gateway: RunningGateway) -> int:
    return (await Accounts(gateway.database).by_id(gateway.account)).balance


async def booked(gateway: RunningGateway) -> dict[str, int]:
    verdict = await verify(gateway.database, pause_s=0)
    assert verdict.ok, verdict.faults
    found = gateway.database["ledger"].find({"kind": {"$in": ["top-up", "refund"]}})
    return {entry["_id"]: int(entry["amount"]) async for entry in found}


async def test_pay_and_refund_once_each(gateways: Gateways, open_shop: Open) -> None:
    async with selling(gateways, open_shop) as (gateway, opened, ann):
        path, payment = await ordered(ann)
        await opened.pay(payment)
        webhook = await opened.heard_of(payment)
        answers = await asyncio.gather(*(notified(gateway, *webhook) for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert await booked(gateway) == {f"top-up:stripe:{payment}": nano(20)}
        assert await balance(gateway) == nano(25)
        assert "$20.00 added to your balance" in (await ann.get(path)).text

        refund = await opened.call("/v1/refunds", {"payment_intent": payment, "amount": 500})
        event = {"type": "refund.created", "created": refund["created"]}
        webhook = signed({**event, "data": {"object": refund}})
        answers = await asyncio.gather(*(notified(gateway, *webhook) for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert await booked(gateway) == {
            f"top-up:stripe:{payment}": nano(20),
            f"refund:stripe:{refund['id']}": nano(-5),
        }
        assert "partly refunded" in (await ann.get(path)).text


async def test_webhooks_of_stripe_itself_arrive(gateways: Gateways, open_shop: Open) -> None:
    async with selling(gateways, open_shop) as (gateway, opened, ann):
        await opened.notify(gateway.url + HOOK)
        path, payment = await ordered(ann)
        assert "We are waiting for Card and more" in (await ann.get(f"{path}?paid=1")).text
        await opened.pay(payment)
        await shown(ann, path, "$20.00 added to your balance")
        opened.card = opened.bad_card
        path, payment = await ordered(ann, "30")
        await opened.pay(payment, expect=402)
        await shown(ann, path, "Your card was declined.")
        assert await balance(gateway) == nano(25)


async def shown(ann: Visitor, path: str, text: str) -> None:
    deadline = time.monotonic() + 40
    while text not in (await ann.get(path)).text:
        assert time.monotonic() < deadline, f"{text!r} is never shown"
        await asyncio.sleep(0.1)


async def test_what_is_not_from_stripe_is_refused(
    gateways: Gateways, open_shop: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with selling(gateways, open_shop) as (gateway, opened, ann):
        _, payment = await ordered(ann)
        await opened.pay(payment)
        body, signature = await opened.heard_of(payment)
        event = json.loads(body)
        old = time.time() - 301
        other = stripe.WebhookSignature.generate_signature_header(body.decode(), "whsec_other")
        with caplog.at_level(logging.WARNING):
            for case, forged in {
                "the signature is wrong": (body.replace(b"2000", b"9000"), signature),
                "another secret": (body, other),
                "no signature": (body, ""),
                "garbage": (body, "t=x,v1=é"),
                "the signature is older than 300 s": signed(event, old),
                "the event is no JSON": signed_text("{"),
                "not the shape": signed({"type": "payment_intent.succeeded", "created": 1}),
                "not a whole": signed(_changed(event, amount=20.5)),
                "not an object": signed_text("[]"),
            }.items():
                answer = await notified(gateway, *forged)
                assert answer.status == 400, case
        assert "the signature is older than 300 s" in caplog.text
        assert caplog.text.count("payment notification to cards refused") == 9
        assert await booked(gateway) == {}
        assert (await notified(gateway, body, signature)).status == 200
        assert await booked(gateway) == {f"top-up:stripe:{payment}": nano(20)}


def signed_text(text: str) -> tuple[bytes, str]:
    return text.encode(), stripe.WebhookSignature.generate_signature_header(text, SECRET)


def _changed(event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    thing = {**event["data"]["object"], **fields}
    return {**event, "data": {"object": thing}}


async def test_another_amount_or_currency_is_refused(
    gateways: Gateways, open_shop: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with selling(gateways, open_shop) as (gateway, opened, ann):
        path, _ = await ordered(ann)
        order = path.rpartition("/")[2]
        for cents, currency, reason in [
            (1, "usd", "0.01 was paid, 20.00 was ordered"),
            (2000, "eur", "the currency is 'eur'"),
        ]:
            payment = await opened.payment(order, cents, currency)
            await opened.pay(payment)
            answer = await notified(gateway, *await opened.heard_of(payment))
            assert (answer.status, reason in answer.text) == (400, True)
            assert reason in caplog.text
        stranger = await opened.payment("", 2000)
        await opened.pay(stranger)
        answer = await notified(gateway, *await opened.heard_of(stranger))
        assert (answer.status, answer.text) == (200, '{"status": "ignored"}')
        unknown = await opened.payment("pay_of_another_gateway", 2000)
        await opened.pay(unknown)
        answer = await notified(gateway, *await opened.heard_of(unknown))
        assert answer.status == 400
        assert await booked(gateway) == {}


async def test_the_session_says_what_is_bought(gateways: Gateways, open_shop: Open) -> None:
    async with selling(gateways, open_shop) as (gateway, opened, ann):
        path, _ = await ordered(ann, "12.50")
        [session] = opened.sessions
        assert opened.keys == [path.rpartition("/")[2]]
        assert session["line_items[0][price_data][unit_amount]"] == "1250"
        assert session["line_items[0][price_data][currency]"] == "usd"
        assert session["customer_email"] == gateway.email
        assert session["success_url"] == f"{gateway.url}{path}?paid=1"
        assert session["cancel_url"] == f"{gateway.url}{path}"
        assert session["mode"] == "payment"
