"""Leases over time: sizes, idle money, wanted money, the fence, the sweeper, extensions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.errors import InsufficientBalance, Unavailable
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.ledger.holdings import FENCE_S, LEASE_S
from ezkielyna.ledger.lease import IDLE_S, PLENTY, SHARE, Ask, Lease, grant_size
from ezkielyna.storage.errors import StorageAway
from ezkielyna.testing.ledger import MemoryVault, accepted, end

HOUR = 3600.0


class World:
    """Two processes, one vault, and a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.time = 1_000_000.0
        self.folder = folder
        self.vault = MemoryVault()
        self.ledgers = [
            Ledger(self.vault, folder, name, self.now, self.now, segment=256 * 1024)
            for name in ("p1", "p2")
        ]
        self._number = 0

    def now(self) -> float:
        return self.time

    async def open(self, balance: int) -> tuple[Ledger, Ledger]:
        self.vault.post("credit:1", "ann", balance)
        for ledger in self.ledgers:
            await ledger.open()
        return self.ledgers[0], self.ledgers[1]

    async def reserve(self, ledger: Ledger, most: int, least: int | None = None) -> Reservation:
        self._number += 1
        record = accepted("ann", f"req_{self._number}", self.time)
        return await ledger.reserve(record, most, most if least is None else least)

    def held(self, process: str) -> int:
        leases = self.vault.leases.values()
        return sum(lease.held for lease in leases if lease.process == process)

    async def close(self) -> None:
        for ledger in self.ledgers:
            await ledger.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


asks = st.lists(
    st.tuples(st.integers(1, 100), st.integers(1, 100)).map(lambda t: Ask(max(t), min(t))),
    max_size=8,
)


@given(st.integers(0, 10_000), st.integers(-50, 200), asks, st.integers(0, 5_000))
def test_a_grant_is_never_more_than_there_is_nor_hoards(
    available: int, free: int, wanted: list[Ask], wish: int
) -> None:
    amount = grant_size(available, free, wanted, wish)
    need = sum(ask.most for ask in wanted) - free
    assert 0 <= amount <= available
    if need > 0 and available >= need * PLENTY:
        assert need <= amount <= need + available // SHARE
    elif need > 0:
        assert amount <= need
    else:
        assert amount == 0 or free + amount <= available // SHARE


@given(st.integers(0, 1_000), asks)
def test_near_empty_somebody_is_served_if_anybody_can_be(available: int, wanted: list[Ask]) -> None:
    amount = grant_size(available, 0, wanted, 0)
    if any(ask.least <= available for ask in wanted):
        assert amount >= min(ask.least for ask in wanted)
    elif wanted:
        assert amount == 0


def test_a_lease_expects_what_it_spent() -> None:
    lease = Lease("ann", 0.0)
    lease.held = 10**9
    for second in range(300):
        assert lease.take(100, float(second))
        lease.spend(100, 100, float(second))
    assert 2700 < lease.expected(300.0) < 3300
    assert lease.expected(600.0) < 3


async def test_a_rich_account_is_asked_once_for_many_requests(world: World) -> None:
    first, _ = await world.open(1_000_000)
    for _ in range(4):
        end(await world.reserve(first, 10), 10, world.time)
    assert world.vault.leases["p1:ann"].turn == 1
    await world.close()


async def test_a_busy_rich_account_can_do_without_the_database_for_a_minute(world: World) -> None:
    first, _ = await world.open(1_000_000_000)

    async def second_of_traffic() -> None:
        for _ in range(10):
            end(await world.reserve(first, 1_000), 900, world.time)
        world.time += 1

    for _ in range(90):
        await second_of_traffic()
        await asyncio.sleep(0)
    turns = world.vault.leases["p1:ann"].turn
    assert turns < 20
    world.vault.away = True
    for _ in range(60):
        await second_of_traffic()
    world.vault.away = False
    await world.close()
    assert world.vault.available["ann"] == 1_000_000_000 - 150 * 10 * 900


async def test_a_poor_account_leases_exactly_what_runs(world: World) -> None:
    first, second = await world.open(30)
    one = await world.reserve(first, 20)
    assert (world.held("p1"), world.vault.available["ann"]) == (20, 10)
    other = await world.reserve(second, 20, 5)
    assert other.amount == 10
    with pytest.raises(InsufficientBalance) as refused:
        await world.reserve(second, 5)
    assert refused.value.retry_after_s == 2
    end(one, 20, world.time)
    end(other, 10, world.time)
    await world.close()
    assert world.vault.available["ann"] == 0


async def test_idle_money_goes_back(world: World) -> None:
    first, _ = await world.open(1_000)
    end(await world.reserve(first, 10), 4, world.time)
    await first.settle_some()
    world.time += IDLE_S - 0.5
    await first.tick()
    assert world.held("p1") > 0
    world.time += 1
    await first.tick()
    assert world.held("p1") == 0
    assert world.vault.available["ann"] == 996
    await world.close()


async def test_wanted_money_goes_back_at_once(world: World) -> None:
    first, second = await world.open(1_000)
    end(await world.reserve(first, 900), 1, world.time)
    running = await world.reserve(first, 50)
    with pytest.raises(InsufficientBalance) as refused:
        await world.reserve(second, 800)
    assert refused.value.retry_after_s is not None
    await first.tick()
    world.time += 1
    end(await world.reserve(second, 800), 800, world.time)
    end(running, 50, world.time)
    await world.close()
    assert world.vault.available["ann"] == 149


async def test_a_return_with_a_lost_reply_is_done_once(world: World) -> None:
    first, _ = await world.open(1_000)
    end(await world.reserve(first, 10), 0, world.time)
    world.time += IDLE_S
    world.vault.lose = 1
    with pytest.raises(Exception, match="reply was lost"):
        await first.tick()
    assert world.vault.available["ann"] == 1_000
    with pytest.raises(InsufficientBalance):
        await world.reserve(first, 1_001)
    world.time += 1
    await first.tick()
    assert world.vault.available["ann"] == 1_000
    end(await world.reserve(first, 1_000), 1_000, world.time)
    await world.close()
    assert world.vault.available["ann"] == 0


async def test_money_whose_return_is_in_doubt_is_not_spent_when_a_second_try_fails(
    world: World,
) -> None:
    first, second = await world.open(1_000)
    end(await world.reserve(first, 10), 0, world.time)
    world.time += IDLE_S
    world.vault.lose = 1
    with pytest.raises(StorageAway, match="reply was lost"):
        await first.tick()
    world.vault.away = True
    with pytest.raises(Unavailable):
        await world.reserve(first, 1)
    world.vault.away = False
    end(await world.reserve(second, 1_000), 1_000, world.time)
    with pytest.raises(InsufficientBalance):
        await world.reserve(first, 1)
    await world.close()
    assert world.vault.available["ann"] == 0


async def test_without_the_database_a_lease_goes_on_and_the_rest_is_unavailable(
    world: World,
) -> None:
    first, _ = await world.open(10_000)
    end(await world.reserve(first, 100), 100, world.time)
    world.vault.away = True
    world.time += 120
    end(await world.reserve(first, 100), 100, world.time)
    with pytest.raises(Unavailable):
        await world.reserve(first, 5_000)
    assert first.ready
    assert first.backlog == 2
    world.vault.away = False
    await world.close()
    assert world.vault.available["ann"] == 9_800


async def test_a_process_that_is_cut_off_fences_itself_before_it_is_swept(world: World) -> None:
    first, second = await world.open(1_000)
    running = await world.reserve(first, 10)
    world.time += FENCE_S + 1
    assert not first.ready
    with pytest.raises(Unavailable):
        await world.reserve(first, 10)
    await second.sweep()
    assert world.held("p1") > 0
    end(running, 10, world.time)
    await world.close()
    assert world.vault.available["ann"] == 990


async def test_the_sweeper_returns_leases_of_other_machines(tmp_path: Path) -> None:
    world = World(tmp_path / "here")
    first, _ = await world.open(1_000)
    elsewhere = Ledger(
        world.vault, tmp_path / "there", "p9", world.now, world.now, segment=256 * 1024
    )
    await elsewhere.open()
    end(await world.reserve(elsewhere, 100), 60, world.time)
    await first.sweep()
    assert world.held("p9") > 0
    world.time += LEASE_S + 100
    await first.sweep()
    assert world.held("p9") == 0
    assert world.vault.available["ann"] == 1_000
    await elsewhere.close()
    assert world.vault.available["ann"] == 940
    assert not world.vault.leases
    await world.close()


async def test_a_fenced_process_that_comes_back_learns_that_it_was_swept(tmp_path: Path) -> None:
    world = World(tmp_path / "here")
    first, _ = await world.open(1_000)
    elsewhere = Ledger(
        world.vault, tmp_path / "there", "p9", world.now, world.now, segment=256 * 1024
    )
    await elsewhere.open()
    end(await world.reserve(elsewhere, 100), 0, world.time)
    world.time += LEASE_S + 100
    await first.renew()
    await first.sweep()
    end(await world.reserve(first, 1_000), 1_000, world.time)
    await first.settle_some()
    await elsewhere.renew()
    assert elsewhere.ready
    with pytest.raises(InsufficientBalance):
        await world.reserve(elsewhere, 100)
    await elsewhere.close()
    await world.close()
    assert world.vault.available["ann"] == 0


async def test_an_extension_comes_from_the_lease(world: World) -> None:
    first, _ = await world.open(100_000)
    stream = await world.reserve(first, 100)
    assert stream.extend(150)
    assert stream.amount == 150
    end(stream, 130, world.time)
    await world.close()
    assert world.vault.available["ann"] == 99_870


async def test_an_extension_beyond_the_lease_asks_in_the_background(world: World) -> None:
    first, _ = await world.open(1_000)
    stream = await world.reserve(first, 100)
    assert not stream.extend(500)
    assert stream.extend(500), "while the account is asked, a stream goes on"
    await asyncio.sleep(0.01)
    assert stream.extend(500)
    assert stream.amount == 500
    end(stream, 500, world.time)
    await world.close()
    assert world.vault.available["ann"] == 500


async def test_an_extension_ends_when_the_money_does(world: World) -> None:
    first, _ = await world.open(120)
    stream = await world.reserve(first, 100)
    assert not stream.extend(200)
    await asyncio.sleep(0.01)
    assert not stream.extend(200)
    assert stream.amount == 120
    assert not stream.extend(200)
    end(stream, 120, world.time)
    await world.close()
    assert world.vault.available["ann"] == 0


async def test_what_a_stream_cost_beyond_its_reservation_is_paid_by_the_next_top_up(
    world: World,
) -> None:
    first, _ = await world.open(100)
    stream = await world.reserve(first, 100)
    end(stream, 130, world.time)
    await world.close()
    assert world.vault.available["ann"] == 0
    assert world.held("p1") == -30
    world.vault.post("top-up:1", "ann", 50)
    world.time += LEASE_S + HOUR
    third = Ledger(world.vault, world.folder, "p3", world.now, world.now)
    await third.open()
    await third.sweep()
    assert world.vault.available["ann"] == 20
    assert not world.vault.leases
    await third.close()


async def test_a_free_request_needs_no_money_and_is_recorded(world: World) -> None:
    first, _ = await world.open(0)
    free = await world.reserve(first, 0)
    end(free, 0, world.time)
    await world.close()
    assert world.vault.usage == {"req_1": 0}
    assert not world.vault.leases


async def test_a_released_request_costs_nothing_and_is_recorded(world: World) -> None:
    first, _ = await world.open(100)
    reservation = await world.reserve(first, 50)
    reservation.release()
    assert reservation.record.outcome == "failed"
    with pytest.raises(AssertionError, match="settled before"):
        reservation.settle()
    await world.close()
    assert world.vault.usage == {"req_1": 0}
    assert world.vault.available["ann"] == 100


async def test_a_request_that_gave_up_leaves_its_money(world: World) -> None:
    first, _ = await world.open(100)
    waiting = [asyncio.ensure_future(world.reserve(first, 50)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    kept = await waiting[1]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    end(await world.reserve(first, 50), 50, world.time)
    end(kept, 50, world.time)
    await world.close()
    assert world.vault.available["ann"] == 0
