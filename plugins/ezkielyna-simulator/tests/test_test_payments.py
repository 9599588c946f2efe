"""The test payment: a signed form, believed like any provider's notification."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from ezkielyna import Continuation, Order, PaymentRefused
from ezkielyna_simulator import TestPayments

ORDER = Order(
    id="pay_1",
    account="acc_1",
    email="ann@example.com",
    amount=10**10,
    currency="usd",
    code="",
    page="http://gateway/billing/payments/pay_1",
    webhook="http://gateway/payments/test/webhook",
)


class Lent:
    """A desk with a key."""

    key = bytes(32)

    async def remember(self, name: str, note: Mapping[str, str | int | None]) -> bool:
        raise NotImplementedError

    async def recall(self, name: str) -> Mapping[str, Any] | None:
        raise NotImplementedError


async def opened() -> tuple[TestPayments, Continuation]:
    method = TestPayments("test", TestPayments.Settings())
    await method.open(Lent())
    way = await method.start(ORDER)
    assert isinstance(way, Continuation)
    return method, way


async def test_it_says_that_it_is_a_test() -> None:
    method, way = await opened()
    assert method.pretends
    assert "No real money" in way.note
    assert way.url == ORDER.webhook
    assert all(button.name == "outcome" for button in way.buttons)


@pytest.mark.parametrize("outcome", ["paid", "processing", "failed"])
async def test_every_button_is_an_event(outcome: str) -> None:
    method, way = await opened()
    assert outcome in [button.value for button in way.buttons]
    event = await method.verify(urlencode({**way.fields, "outcome": outcome}).encode(), {})
    assert event is not None
    assert (event.state, event.order, event.payment_id) == (outcome, "pay_1", "test_pay_1")
    assert (event.amount, event.currency) == (10**10, "usd")
    assert bool(event.reason) is (outcome == "failed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": "99000000000"}, "signature"),
        ({"order": "pay_2"}, "signature"),
        ({"currency": "eur"}, "signature"),
        ({"signature": "0" * 64}, "signature"),
        ({"signature": "é"}, "no form"),
        ({"at": "soon"}, "no form"),
        ({"outcome": "refunded"}, "no form"),
    ],
)
async def test_nothing_can_be_changed(changes: dict[str, str], reason: str) -> None:
    method, way = await opened()
    body = urlencode({**way.fields, "outcome": "paid", **changes}).encode()
    with pytest.raises(PaymentRefused, match=reason):
        await method.verify(body, {})


async def test_an_old_form_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    method, way = await opened()
    body = urlencode({**way.fields, "outcome": "paid"}).encode()
    monkeypatch.setattr("ezkielyna_simulator.payments.STALE_S", -1)
    with pytest.raises(PaymentRefused, match="stale"):
        await method.verify(body, {})


async def test_garbage_is_refused() -> None:
    method, _ = await opened()
    outcomes = await asyncio.gather(
        *(method.verify(body, {}) for body in (b"", b"\xff", b"a=b", b"{}")),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, PaymentRefused) for outcome in outcomes)
