"""Every invariant is broken once, in the documents, and named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson.int64 import Int64

from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.verify import verify
from ezkielyna.storage import audit, payments
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.credits import CreditKind, credit
from ezkielyna.storage.database import Database
from ezkielyna.storage.payments import Payment, Refund
from ezkielyna.testing.ledger import accepted, funded

PRICE = Price("v1", {"input": 2_500_000_000, "cached_input": 1_250_000_000, "output": 10**10})


async def books(database: Database, data: Path) -> None:
    """Fill a database with two accounts and their requests, over two hours."""
    ledger = Ledger(database, data, prices=[PRICE])
    await ledger.open()
    for account in ("ann", "bob"):
        await funded(database, account, 10**9)
        for number in range(6):
            record = accepted(account, f"req_{account}_{number}")
            record.started_at -= 3600 * (number % 2)
            reservation = await ledger.reserve(record, 10**7, 1)
            record.usage = Usage(input=1000 + number, cached_input=7, output=31)
            record.bill = PRICE.bill(record.usage)
            record.outcome, record.status = "ok", 200
            record.ended_at = record.started_at + 1
            reservation.settle()
            if number == 3:
                await ledger.settle_some()
    await ledger.close()


Break = Callable[[Database], Awaitable[object]]


def money_from_nowhere(database: Database) -> Awaitable[object]:
    return database["accounts"].update_one({"_id": "ann"}, {"$inc": {"available": Int64(1)}})


def lease_forgotten(database: Database) -> Awaitable[object]:
    lease = {"_id": "p:ann", "process": "p", "account": "ann", "held": Int64(5)}
    return database["leases"].insert_one(lease)


def entry_lost(database: Database) -> Awaitable[object]:
    return database["ledger"].delete_one({"kind": "settlement", "account": "bob"})


def usage_lost(database: Database) -> Awaitable[object]:
    return database["usage"].delete_one({"_id": "req_bob_2"})


def cost_changed(database: Database) -> Awaitable[object]:
    return database["usage"].update_one({"_id": "req_ann_1"}, {"$inc": {"cost": Int64(1)}})


def tokens_changed(database: Database) -> Awaitable[object]:
    change = {"$inc": {"tokens.output": Int64(1)}}
    return database["usage"].update_one({"_id": "req_ann_1"}, change)


def rate_changed(database: Database) -> Awaitable[object]:
    return database["usage"].update_one({"_id": "req_ann_1"}, {"$inc": {"bill.0.rate": Int64(1)}})


def whole_bill_changed(database: Database) -> Awaitable[object]:
    """Bill less than the price says, in a way that adds up."""
    line = {"bucket": "input", "quantity": 1000, "rate": Int64(10**6), "amount": Int64(1000)}
    tokens = {"input": 1000}
    return database["usage"].update_one(
        {"_id": "req_ann_0"}, {"$set": {"bill": [line], "tokens": tokens, "cost": Int64(1000)}}
    )


def price_changed(database: Database) -> Awaitable[object]:
    return database["prices"].update_one({"_id": "v1"}, {"$inc": {"rates.output": Int64(1)}})


def price_lost(database: Database) -> Awaitable[object]:
    return database["prices"].delete_one({"_id": "v1"})


def roll_up_changed(database: Database) -> Awaitable[object]:
    return database["usage_hourly"].update_one({"account": "bob"}, {"$inc": {"requests": Int64(1)}})


def never_ended(database: Database) -> Awaitable[object]:
    return database["usage"].update_one({"_id": "req_ann_0"}, {"$set": {"outcome": "open"}})


BREAKS: list[tuple[Break, set[str], str]] = [
    (money_from_nowhere, {"I1"}, "accounts/ann"),
    (lease_forgotten, {"I1"}, "accounts/ann"),
    (entry_lost, {"I1", "I3"}, "accounts/bob"),
    (usage_lost, {"I3", "I4", "I6"}, "batches/"),
    (cost_changed, {"I3", "I5", "I6"}, "usage/req_ann_1"),
    (tokens_changed, {"I5", "I6"}, "usage/req_ann_1"),
    (rate_changed, {"I5"}, "usage/req_ann_1"),
    (whole_bill_changed, {"I3", "I5", "I6"}, "usage/req_ann_0"),
    (price_changed, {"I5"}, "usage/req_bob_5"),
    (price_lost, {"I5"}, "usage/req_ann_1"),
    (roll_up_changed, {"I6"}, "usage_sums/bob:"),
    (never_ended, {"I4", "I6"}, "usage/req_ann_0"),
]


@pytest.mark.parametrize(
    ("broken", "invariants", "document"), BREAKS, ids=[case[0].__name__ for case in BREAKS]
)
async def test_a_fault_is_found_and_named(
    broken: Break, invariants: set[str], document: str, database: Database, tmp_path: Path
) -> None:
    await books(database, tmp_path)
    sound = await verify(database, pause_s=0)
    assert sound.ok, sound.faults
    assert sound.checked == {"I1": 2, "I2": 2, "I3": 4, "I4": 3, "I5": 12, "I6": 16}
    await broken(database)
    verdict = await verify(database, pause_s=0)
    assert not verdict.ok
    assert {fault.invariant for fault in verdict.faults} == invariants
    assert any(fault.document.startswith(document) for fault in verdict.faults)
    assert verdict.document()["fault_count"] == len(verdict.faults)


async def paid(database: Database) -> None:
    """Fill a database with one payment, a part of which was given back."""
    await funded(database, "ann", 10**9)
    now = datetime.now(UTC)
    payment = Payment("pay_1", "ann", "cards", "lab", 10**10, "usd", now, paid_at=now)
    entries = ("top-up:lab:pi_1", 10**10), ("refund:lab:re_1", -(10**9))
    refunds = (Refund("re_1", 3 * 10**9, now, taken=10**9, parts=1),)
    payment = replace(payment, state="paid", entries=entries, refunds=refunds)
    await payments.add(database, payment)
    kinds: list[CreditKind] = ["top-up", "refund"]
    for kind, (name, amount) in zip(kinds, entries, strict=True):
        reference = name.partition(":")[2]
        await credit(database, "ann", amount, reference=reference, kind=kind, by="test")


def credit_lost(database: Database) -> Awaitable[object]:
    return database["ledger"].delete_one({"_id": "top-up:lab:pi_1"})


def credited_without_payment(database: Database) -> Awaitable[object]:
    return database["payments"].delete_one({"_id": "pay_1"})


def refund_forgotten(database: Database) -> Awaitable[object]:
    return database["payments"].update_one({"_id": "pay_1"}, {"$set": {"refunds": []}})


def debt_forgotten(database: Database) -> Awaitable[object]:
    return database["payments"].update_one({"_id": "pay_1"}, {"$unset": {"owed": ""}})


def never_paid(database: Database) -> Awaitable[object]:
    return database["payments"].update_one({"_id": "pay_1"}, {"$set": {"paid_at": None}})


@pytest.mark.parametrize(
    ("broken", "document"),
    [
        (credit_lost, "ledger/top-up:lab:pi_1"),
        (credited_without_payment, "ledger/refund:lab:re_1"),
        (refund_forgotten, "payments/pay_1"),
        (debt_forgotten, "payments/pay_1"),
        (never_paid, "payments/pay_1"),
    ],
)
async def test_payments_and_ledger_prove_each_other(
    broken: Break, document: str, database: Database
) -> None:
    await paid(database)
    sound = await verify(database, pause_s=0)
    assert sound.ok, sound.faults
    assert sound.checked["I7"] == 3
    assert sound.owed == {"pay_1": 2 * 10**9}
    await broken(database)
    verdict = await verify(database, pause_s=0)
    assert document in {fault.document for fault in verdict.faults if fault.invariant == "I7"}


async def test_an_empty_database_balances(database: Database) -> None:
    assert (await verify(database)).ok


async def test_a_debt_is_shown_and_is_no_fault(database: Database) -> None:
    await funded(database, "ann", 10)
    await database["accounts"].update_one({"_id": "ann"}, {"$set": {"available": Int64(15)}})
    lease = {"_id": "p:ann", "process": "p", "account": "ann", "held": Int64(-5)}
    await database["leases"].insert_one(lease)
    verdict = await verify(database, pause_s=0)
    assert verdict.ok
    assert verdict.debts == {"p:ann": -5}


async def test_a_live_system_verifies(database: Database, tmp_path: Path) -> None:
    account = await funded(database, "ann", 10**9)
    ledger = Ledger(database, tmp_path, prices=[PRICE])
    await ledger.start()
    served = 0

    async def traffic() -> None:
        nonlocal served
        while True:
            record = accepted(account, f"req_{served}")
            reservation = await ledger.reserve(record, 1000, 1)
            record.usage = Usage(input=10)
            record.bill = PRICE.bill(record.usage)
            record.outcome, record.ended_at = "ok", datetime.now(UTC).timestamp()
            reservation.settle()
            served += 1
            await asyncio.sleep(0.001)

    task = asyncio.ensure_future(traffic())
    ends = datetime.now(UTC) + timedelta(seconds=1.5)
    while datetime.now(UTC) < ends:
        verdict = await verify(database, pause_s=0.1)
        assert verdict.faults == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ledger.close()
    assert (await verify(database)).checked["I5"] == served > 100


async def test_compaction_changes_no_sum(database: Database, tmp_path: Path) -> None:
    await books(database, tmp_path)
    extra = Ledger(database, tmp_path)
    await extra.open()
    for outcome in ("ok", "failed"):
        record = accepted("ann", f"req_extra_{outcome}")
        reservation = await extra.reserve(record, 10**7, 1)
        record.usage = Usage(input=5)
        record.bill = PRICE.bill(record.usage)
        record.outcome, record.ended_at = outcome, record.started_at + 1  # type: ignore[assignment]
        reservation.settle()
    await extra.close()
    now = datetime.now(UTC)
    rows = [row async for row in audit.unmerged(database)]
    assert await database["usage_hourly"].count_documents({}) == 6, "what failed is apart"
    assert await compact(database, now - timedelta(hours=3)) == 0
    merged = await asyncio.gather(compact(database, now), compact(database, now))
    assert max(merged) >= 2
    assert await database["usage_hourly"].count_documents({}) == 0
    assert [row async for row in audit.merged_hours(database)] == rows
    assert await compact(database, now) == 0
    sound = await verify(database, pause_s=0)
    assert sound.ok, sound.faults
    for grain, faults in (("day", 1), ("hour", 2)):
        of = {"account": "ann", "by": "model", "grain": grain}
        await database["usage_sums"].update_one(of, {"$inc": {"rows.0.cost": Int64(1)}})
        broken = await database["usage_sums"].find_one({**of, "rows.0.value": "fast"})
        assert broken is not None
        found = (await verify(database, pause_s=0)).faults
        assert [fault.invariant for fault in found] == ["I6"] * faults
        assert f"usage_sums/{broken['_id']} fast" in {fault.document for fault in found}
        await database["usage_sums"].update_one(of, {"$inc": {"rows.0.cost": Int64(-1)}})
