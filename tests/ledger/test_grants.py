"""Many requests of one account, while it is asked for money."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from ezkielyna.ledger.books import Ledger
from ezkielyna.testing.ledger import MemoryVault, accepted, end


async def test_who_comes_during_a_grant_is_served_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests never stop coming: without it, everyone's grant would begin with the one before."""
    vault = MemoryVault(available={"ann": 10**9})
    ledger = Ledger(vault, tmp_path)
    await ledger.open()
    grants, grant = 0, vault.grant

    async def slow(*of: Any) -> Any:
        nonlocal grants
        grants += 1
        await asyncio.sleep(0.05)
        return await grant(*of)

    monkeypatch.setattr(vault, "grant", slow)
    waits: list[float] = []

    async def request(number: int) -> None:
        began = time.monotonic()
        reservation = await ledger.reserve(accepted("ann", f"req_{number}"), 100, 100)
        waits.append(time.monotonic() - began)
        end(reservation, 100)

    async with asyncio.TaskGroup() as running:
        for number in range(60):
            running.create_task(request(number))
            await asyncio.sleep(0.005)
    assert grants <= 4, "the lease held plenty after the first few"
    assert sorted(waits)[30] < 0.01, waits
    await ledger.close()
