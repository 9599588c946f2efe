from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.storage import ledger as entries
from ezkielyna.storage.database import Database

CENT = 10_000_000


async def funded(database: Database, name: str, amount: Nano) -> str:
    now = datetime.now(UTC)
    await database["accounts"].insert_one(
        {
            "_id": name,
            "email": f"{name}@example.com",
            "status": "active",
            "plan": "default",
            "available": entries.Int64(0),
            "verified": True,
            "created_at": now,
        }
    )
    await entries.post(database, entries.Entry.of("credit", name, amount, f"first-{name}", now))
    return name


def request(account: str, number: int) -> UsageRecord:
    return UsageRecord(
        request_id=f"req_{account}_{number}",
        account=account,
        key="key_1",
        model="fast",
        provider="lab",
        endpoint="chat.completions",
        started_at=time.time(),
        price_version="v1",
    )


def done(reservation: Reservation, cost: Nano) -> None:
    record = reservation.record
    record.usage = Usage(input=cost)
    record.bill = Bill.of([("input", cost, 1_000_000)])
    record.outcome, record.status, record.ended_at = "ok", 200, time.time()
    reservation.settle()


@asynccontextmanager
async def opened(database: Database, data: Path, **options: Any) -> AsyncIterator[Ledger]:
    ledger = Ledger(database, data, **options)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def account_of(database: Database, account: str) -> dict[str, Any]:
    found = await database["accounts"].find_one({"_id": account})
    assert found is not None
    return found


async def test_a_request_is_reserved_settled_and_booked(database: Database, tmp_path: Path) -> None:
    account = await funded(database, "ann", 100 * CENT)
    async with opened(database, tmp_path) as ledger:
        reservation = await ledger.reserve(request(account, 1), 5 * CENT, CENT)
        assert reservation.amount == 5 * CENT
        done(reservation, 2 * CENT)
        assert ledger.backlog == 1
        while ledger.backlog:
            await asyncio.sleep(0.05)
    assert (await account_of(database, account))["available"] == 98 * CENT
    assert await entries.balance(database, account) == 98 * CENT
    usage = await database["usage"].find_one({"_id": "req_ann_1"})
    assert usage is not None
    assert usage["cost"] == 2 * CENT
    assert usage["outcome"] == "ok"
    assert await database["leases"].count_documents({}) == 0
    assert list((tmp_path / "journal").iterdir()) == []


async def test_money_for_ten_serves_exactly_ten(database: Database, tmp_path: Path) -> None:
    account = await funded(database, "ann", 10 * CENT)

    async def one(ledger: Ledger, number: int) -> int:
        try:
            reservation = await ledger.reserve(request(account, number), CENT, CENT)
        except InsufficientBalance:
            return 0
        await asyncio.sleep(0.01)
        done(reservation, CENT)
        return 1

    async with opened(database, tmp_path) as first, opened(database, tmp_path) as second:
        ledgers = [first, second]
        paid = await asyncio.gather(*(one(ledgers[n % 2], n) for n in range(200)))
    assert sum(paid) == 10
    assert await entries.balance(database, account) == 0
    assert await database["usage"].count_documents({}) == 10


async def test_an_empty_account_is_refused_without_a_retry(
    database: Database, tmp_path: Path
) -> None:
    account = await funded(database, "ann", CENT)
    async with opened(database, tmp_path) as ledger:
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.reserve(request(account, 1), 5 * CENT, 2 * CENT)
        assert refused.value.retry_after_s is None
