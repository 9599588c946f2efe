"""Batches are as large as the database takes them; money is asked for between two of them."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.settlement import MOST_USAGES
from ezkielyna.ledger.settler import LEAST_USAGES, LONGEST_S
from ezkielyna.storage.batches import Settlement
from ezkielyna.testing.ledger import MemoryVault, accepted, end

COST = 1000


class SlowVault(MemoryVault):
    """Takes its time for every settlement, and notes how many usages each had."""

    def __init__(self, slow_s: float) -> None:
        super().__init__(available={"ann": 10**9})
        self.slow_s = slow_s
        self.sizes: list[int] = []

    async def settle(self, settlement: Settlement) -> bool:
        """Write a batch, slowly."""
        await asyncio.sleep(self.slow_s)
        self.sizes.append(len(settlement.usages))
        return await super().settle(settlement)


async def ended(ledger: Ledger, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        end(await ledger.reserve(accepted("ann", f"req_{number}"), COST, COST), COST)


async def settled(ledger: Ledger) -> None:
    while ledger.backlog:
        await ledger.settle_some()


async def test_batches_shrink_and_grow_with_the_time_they_take(tmp_path: Path) -> None:
    vault = SlowVault(LONGEST_S + 0.05)
    ledger = Ledger(vault, tmp_path)
    await ledger.open()
    await ended(ledger, 1000)
    await settled(ledger)
    assert vault.sizes == [MOST_USAGES, 250, 125, LEAST_USAGES, 25]
    vault.slow_s, vault.sizes = 0.0, []
    await ended(ledger, 1300, first=1000)
    await settled(ledger)
    assert vault.sizes[0] < vault.sizes[-2] <= MOST_USAGES, "a quick database gets larger ones"
    await ledger.close()
    assert vault.available["ann"] == 10**9 - 2300 * COST


async def test_batches_grow_while_more_than_one_waits_however_long_they_take(
    tmp_path: Path,
) -> None:
    vault = SlowVault(LONGEST_S + 0.05)
    ledger = Ledger(vault, tmp_path)
    await ledger.open()
    await ended(ledger, 1000)
    await settled(ledger)
    vault.sizes = []
    await ended(ledger, 1600, first=1000)
    await settled(ledger)
    assert vault.sizes[:4] == [LEAST_USAGES, 200, 400, MOST_USAGES]
    await ledger.close()


async def test_money_waits_behind_one_batch_and_not_behind_the_backlog(tmp_path: Path) -> None:
    vault = SlowVault(0.25)
    ledger = Ledger(vault, tmp_path)
    await ledger.open()
    await ended(ledger, 8 * MOST_USAGES)
    draining = asyncio.create_task(ledger._settler.drain())
    waits: list[float] = []
    await asyncio.sleep(0.05)
    for number in range(2):
        began = time.monotonic()
        everything = vault.available["ann"] // 4
        reservation = await ledger.reserve(accepted("ann", f"req_big_{number}"), everything, COST)
        waits.append(time.monotonic() - began)
        end(reservation, COST)
    assert not draining.done(), "there was no backlog to wait behind"
    assert max(waits) < 4 * vault.slow_s, waits
    await draining
    await ledger.close()


async def test_what_waits_for_the_database_is_bytes_and_no_work_for_the_collector(
    tmp_path: Path,
) -> None:
    ledger = Ledger(MemoryVault(available={"ann": 10**9}), tmp_path)
    await ledger.open()
    await ended(ledger, 1)
    gc.collect()
    before = len(gc.get_objects())
    await ended(ledger, 1000, first=1)
    gc.collect()
    assert len(gc.get_objects()) - before < 1100, "one object for every request"
    await settled(ledger)
    await ledger.close()
