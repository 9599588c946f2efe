from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.ledger.books import Ledger
from ezkielyna.storage.database import Database
from ezkielyna.storage.idempotency import Claims
from ezkielyna.testing.ledger import accepted, balance, end, funded

CENT = 10_000_000


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
        reservation = await ledger.reserve(accepted(account, f"req_{1}"), 5 * CENT, CENT)
        assert reservation.amount == 5 * CENT
        end(reservation, 2 * CENT)
        assert ledger.backlog == 1
        while ledger.backlog:
            await asyncio.sleep(0.05)
    assert (await account_of(database, account))["available"] == 98 * CENT
    assert await balance(database, account) == 98 * CENT
    usage = await database["usage"].find_one({"_id": "req_1"})
    assert usage is not None
    assert usage["cost"] == 2 * CENT
    assert usage["outcome"] == "ok"
    assert await database["leases"].count_documents({}) == 0
    assert list((tmp_path / "journal").iterdir()) == []


async def test_money_for_ten_serves_exactly_ten(database: Database, tmp_path: Path) -> None:
    account = await funded(database, "ann", 10 * CENT)

    async def one(ledger: Ledger, number: int) -> int:
        try:
            reservation = await ledger.reserve(accepted(account, f"req_{number}"), CENT, CENT)
        except InsufficientBalance:
            return 0
        await asyncio.sleep(0.01)
        end(reservation, CENT)
        return 1

    async with opened(database, tmp_path) as first, opened(database, tmp_path) as second:
        ledgers = [first, second]
        paid = await asyncio.gather(*(one(ledgers[n % 2], n) for n in range(200)))
    assert sum(paid) == 10
    assert await balance(database, account) == 0
    assert await database["usage"].count_documents({}) == 10


async def test_an_empty_account_is_refused_without_a_retry(
    database: Database, tmp_path: Path
) -> None:
    account = await funded(database, "ann", CENT)
    async with opened(database, tmp_path) as ledger:
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.reserve(accepted(account, f"req_{1}"), 5 * CENT, 2 * CENT)
        assert refused.value.retry_after_s is None


async def test_closing_what_is_not_open_does_nothing(database: Database, tmp_path: Path) -> None:
    ledger = Ledger(database, tmp_path)
    assert not ledger.ready
    await ledger.close()
    await ledger.open()
    await ledger.close()
    await ledger.close()
    assert not ledger.ready


async def test_a_dead_process_loses_its_claims_and_a_living_one_does_not(
    database: Database, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    dead = Ledger(database, tmp_path)
    await dead.open()
    async with opened(database, tmp_path) as living:
        sibling = Claims(database, living.process)

        async def claimed(claims: Claims, id_: str) -> bool:
            until = now + timedelta(minutes=11)
            return await claims.claim(id_, f"req-{id_}", b"same body", now, until) is None

        assert await claimed(Claims(database, dead.process), "its own")
        assert await claimed(sibling, "another's")
        await living.recover()
        assert not await claimed(sibling, "its own"), "its owner lives"
        await dead.abandon()
        await living.recover()
        assert await claimed(sibling, "its own")
        assert not await claimed(sibling, "another's")
