"""Money that comes in: credited once, given back once, whatever is said however often."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ezkielyna.contract.payment import (
    Continuation,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
    PaymentSettings,
)
from ezkielyna.defaults.vouchers import KIND, Vouchers, create_voucher
from ezkielyna.ledger.payments import Payments, new_order
from ezkielyna.ledger.verify import verify
from ezkielyna.storage import payments as stored
from ezkielyna.storage.accounts import AccountRecord, Accounts
from ezkielyna.storage.credits import credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Missing
from ezkielyna.storage.payments import Notes, Payment
from ezkielyna.testing.ledger import funded

DOLLAR = 10**9
SECRET = bytes(32)


class Lab(PaymentMethod):
    """Believes everything."""

    kind = "lab"
    title = "Laboratory"

    def __init__(self, name: str, settings: PaymentSettings) -> None:
        super().__init__(name, settings)
        self.starts: list[str] = []
        self.refusal = ""

    async def start(self, order: Order) -> Continuation | PaymentEvent:
        self.starts.append(order.id)
        if self.refusal:
            raise PaymentRefused(self.refusal)
        return Continuation(f"https://pay.example/{order.id}?back={order.page}")

    async def verify(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        said = json.loads(body)
        if said is None:
            return None
        at = datetime.fromtimestamp(said.pop("at", 1_800_000_000), UTC)
        return PaymentEvent(at=at, **said)


@asynccontextmanager
async def desk(database: Database) -> AsyncIterator[Payments]:
    methods = {
        "lab": Lab("lab", Lab.Settings()),
        "other": Lab("other", Lab.Settings()),
        "voucher": Vouchers("voucher", Vouchers.Settings()),
    }
    payments = Payments(database, SECRET, methods, "https://gateway.example")
    await payments.start()
    try:
        yield payments
    finally:
        await payments.close()


async def ann(database: Database) -> AccountRecord:
    await funded(database, "ann", DOLLAR)
    return await Accounts(database).by_id("ann")


async def ordered(payments: Payments, account: AccountRecord) -> Payment:
    return await payments.order(account, "lab", 10 * DOLLAR, new_order())


def said(payment: Payment, state: str = "paid", **more: Any) -> bytes:
    plain = {"order": payment.id, "payment_id": "pi_1", "amount": 10 * DOLLAR, "currency": "usd"}
    return json.dumps({"state": state, **plain, **more}).encode()


async def told(payments: Payments, *bodies: bytes) -> None:
    await asyncio.gather(*(payments.notify("lab", body, {}) for body in bodies))


async def balance(database: Database) -> int:
    return (await Accounts(database).by_id("ann")).balance


async def entries(database: Database) -> dict[str, int]:
    """Return what payments booked; asserts that the books balance."""
    verdict = await verify(database, pause_s=0)
    assert verdict.ok, verdict.faults
    found = database["ledger"].find({"kind": {"$in": ["top-up", "refund"]}})
    return {entry["_id"]: int(entry["amount"]) async for entry in found}


async def test_an_order_is_recorded_before_it_is_paid(database: Database) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        assert payment.state == "processing"
        assert payment.way is not None
        page = f"https://gateway.example/billing/payments/{payment.id}"
        assert payment.way.url == f"https://pay.example/{payment.id}?back={page}"
        assert await stored.read(database, payment.id, account="ann") == payment
        again = await payments.order(account, "lab", 10 * DOLLAR, payment.id)
        assert again == payment
        lab = payments.methods["lab"]
        assert isinstance(lab, Lab)
        assert lab.starts == [payment.id]
        with pytest.raises(Missing):
            await stored.read(database, payment.id, account="bob")
    assert await entries(database) == {}


async def test_ten_notifications_at_once_are_one_credit(database: Database) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        await told(payments, *[said(payment)] * 10)
        paid = await stored.read(database, payment.id)
    assert paid.state == "paid"
    assert await entries(database) == {"top-up:lab:pi_1": 10 * DOLLAR}
    assert await balance(database) == 11 * DOLLAR


async def test_ten_refunds_at_once_are_one_refund(database: Database) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        refund = said(payment, "refunded", refund_id="re_1", amount=4 * DOLLAR)
        await told(payments, *[said(payment), refund] * 5)
        after = await stored.read(database, payment.id)
    assert (after.state, after.refunded, after.owed) == ("paid", 4 * DOLLAR, 0)
    assert await entries(database) == {
        "top-up:lab:pi_1": 10 * DOLLAR,
        "refund:lab:re_1": -4 * DOLLAR,
    }


async def test_any_order_of_notifications_comes_to_the_same(database: Database) -> None:
    account = await ann(database)
    chance = random.Random(6)
    async with desk(database) as payments:
        for number in range(8):
            payment = await ordered(payments, account)
            id_ = f"pi_{number}"
            bodies = [
                said(payment, "processing", payment_id=id_, at=1),
                said(payment, "failed", payment_id=id_, at=2),
                said(payment, payment_id=id_),
                said(payment, "refunded", payment_id=id_, amount=DOLLAR, refund_id=f"{id_}a"),
                said(payment, "refunded", payment_id=id_, amount=9 * DOLLAR, refund_id=f"{id_}b"),
            ]
            bodies += chance.choices(bodies, k=5)
            chance.shuffle(bodies)
            await told(payments, *bodies[:5])
            await told(payments, *bodies[5:])
            ended = await stored.read(database, payment.id)
            assert (ended.state, ended.owed) == ("refunded", 0)
    assert sum((await entries(database)).values()) == 0
    assert await balance(database) == DOLLAR


async def test_a_refund_of_spent_money_is_owed_and_taken_when_there_is_some(
    database: Database,
) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        await told(payments, said(payment))
        await credit(database, "ann", -8 * DOLLAR, reference="spent", kind="correction", by="test")
        await told(payments, said(payment, "refunded", refund_id="re_1"))
        owing = await stored.read(database, payment.id)
        assert (owing.state, owing.owed) == ("refunded", 7 * DOLLAR)
        assert await balance(database) == 0
        assert (await entries(database))["refund:lab:re_1"] == -3 * DOLLAR
        # What was given by hand is taken by the collector, what was paid at once.
        await credit(database, "ann", 2 * DOLLAR, reference="gift", by="test")
        await payments.collect()
        second = await ordered(payments, account)
        await told(payments, said(second, payment_id="pi_2"))
        assert (await stored.read(database, payment.id)).owed == 0
        assert await stored.indebted(database) == []
    booked = await entries(database)
    assert booked["refund:lab:re_1:2"] == -2 * DOLLAR
    assert booked["refund:lab:re_1:3"] == -5 * DOLLAR
    assert await balance(database) == 5 * DOLLAR


async def test_an_order_that_nobody_pays_is_given_up_and_still_credited_when_paid(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await ann(database)
    now = datetime.now(UTC)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        await payments.give_up(now + timedelta(days=900))
        assert (await stored.read(database, payment.id)).state == "processing", "as it may last"
        monkeypatch.setattr(Lab, "lasts_s", 3600.0)
        await payments.give_up(now + timedelta(minutes=59))
        assert (await stored.read(database, payment.id)).state == "processing"
        await payments.give_up(now + timedelta(minutes=61))
        given_up = await stored.read(database, payment.id)
        assert (given_up.state, given_up.reason) == ("failed", "It was not paid in time.")
        await told(payments, said(payment))
        assert (await stored.read(database, payment.id)).state == "paid"
        await payments.give_up(now + timedelta(days=900))
        assert (await stored.read(database, payment.id)).state == "paid"
    assert await balance(database) == 11 * DOLLAR


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": 9 * DOLLAR}, "9.00 was paid, 10.00 was ordered"),
        ({"currency": "eur"}, "the currency is 'eur'"),
        ({"order": "pay_nobody"}, "an order that is not here"),
    ],
)
async def test_what_does_not_match_is_refused_and_logged(
    database: Database,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    reason: str,
) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        payment = await ordered(payments, account)
        with caplog.at_level(logging.WARNING), pytest.raises(PaymentRefused, match=reason):
            await payments.notify("lab", said(payment, **changes), {})
        assert reason in caplog.text
        assert (await stored.read(database, payment.id)).state == "processing"
    assert await entries(database) == {}


async def test_one_payment_pays_one_order_of_one_method(database: Database) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        first, second = [await ordered(payments, account) for _ in range(2)]
        await told(payments, said(first))
        with pytest.raises(PaymentRefused, match="credited to another order"):
            await payments.notify("lab", said(second), {})
        with pytest.raises(PaymentRefused, match="was made with lab"):
            await payments.notify("other", said(second, payment_id="pi_2"), {})
        for name in ("voucher", "nothing"):
            with pytest.raises(Missing):
                await payments.notify(name, said(second), {})
        assert await payments.notify("lab", b"null", {}) is None
    assert await entries(database) == {"top-up:lab:pi_1": 10 * DOLLAR}


@pytest.mark.parametrize("amount", [0, 4 * DOLLAR, 501 * DOLLAR, 10 * DOLLAR + 1, -5 * DOLLAR])
async def test_amounts_are_within_bounds_and_in_cents(database: Database, amount: int) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        with pytest.raises(PaymentRefused, match=r"between 5.00 and 500.00 USD, in whole cents"):
            await payments.order(account, "lab", amount, new_order())
        for name in ("voucher", "gone"):
            with pytest.raises(PaymentRefused, match="choose another"):
                await payments.order(account, name, 10 * DOLLAR, new_order())


async def test_a_method_that_refuses_an_order_is_a_failure_with_its_reason(
    database: Database,
) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        lab = payments.methods["lab"]
        assert isinstance(lab, Lab)
        lab.refusal = "Try another card."
        payment = await ordered(payments, account)
        assert (payment.state, payment.reason) == ("failed", "Try another card.")
        kept = await stored.read(database, payment.id)
        assert (kept.state, kept.reason) == ("failed", "Try another card.")


async def test_payments_are_listed_newest_first(database: Database) -> None:
    account = await ann(database)
    async with desk(database) as payments:
        made = [(await ordered(payments, account)).id for _ in range(3)]
        listed = [each.id async for each in stored.of_account(database, "ann", skip=1, limit=5)]
    assert listed == made[:2][::-1]


async def voucher(database: Database, amount: int, ends: datetime | None = None) -> str:
    return await create_voucher(Notes(database, SECRET, KIND), amount, ends)


async def test_a_voucher_is_redeemed_once_under_concurrency(database: Database) -> None:
    account = await ann(database)
    await funded(database, "bob", DOLLAR)
    bob = await Accounts(database).by_id("bob")
    code = await voucher(database, 10 * DOLLAR)
    async with desk(database) as payments:
        outcomes = await asyncio.gather(
            *(payments.redeem(who, "voucher", code) for who in [account, bob] * 5),
            return_exceptions=True,
        )
    redeemed = [each for each in outcomes if isinstance(each, Payment)]
    assert len(redeemed) == 1
    assert all("redeemed" in str(each) for each in outcomes if each not in redeemed)
    assert all(isinstance(each, PaymentRefused) for each in outcomes if each not in redeemed)
    assert list((await entries(database)).values()) == [10 * DOLLAR]
    listed = [each async for each in stored.of_account(database, redeemed[0].account)]
    assert [(each.state, each.amount) for each in listed] == [("paid", 10 * DOLLAR)]


async def test_codes_are_read_as_people_type_them_and_refused_with_a_reason(
    database: Database,
) -> None:
    account = await ann(database)
    code = await voucher(database, 10 * DOLLAR)
    stale = await voucher(database, DOLLAR, datetime.now(UTC) - timedelta(days=1))
    fresh = await voucher(database, DOLLAR, datetime.now(UTC) + timedelta(days=1))
    async with desk(database) as payments:
        typed = f"  {code.lower().replace('1', 'l').replace('0', 'o').replace('-', ' ')}"
        assert (await payments.redeem(account, "voucher", typed)).amount == 10 * DOLLAR
        assert (await payments.redeem(account, "voucher", fresh)).amount == DOLLAR
        for wrong, reason in [
            (code, "You redeemed this code before"),
            (stale, "This voucher expired on 20"),
            (code[:-1], "no such voucher"),
            ("", "no such voucher"),
            ("0" * 20, "no such voucher"),
            ("é" * 20, "no such voucher"),
        ]:
            with pytest.raises(PaymentRefused, match=reason):
                await payments.redeem(account, "voucher", wrong)
    kept = [note async for note in database["payment_notes"].find({})]
    assert not any(code.replace("-", "") in str(note) for note in kept)
