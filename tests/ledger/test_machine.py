"""The ledger of two processes against a model that has no leases, no journal and no batches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ezkielyna.contract.errors import InsufficientBalance, Unavailable
from ezkielyna.contract.money import Nano
from ezkielyna.ledger.books import Ledger, Reservation
from ezkielyna.storage.errors import StorageError
from ezkielyna.testing.ledger import MemoryVault, accepted, end, priced

T = TypeVar("T")
ACCOUNTS = ("ann", "bob")
SLOTS = (0, 1)
MEMORY = Path("/dev/shm")
"""Where flushing costs nothing; what flushing is for is tested elsewhere."""
amounts = st.integers(1, 100)


@dataclass
class Model:
    """What must be true whatever breaks: who paid what, and what runs."""

    paid_in: dict[str, Nano] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    costs: dict[str, tuple[str, Nano]] = field(default_factory=dict)
    running: dict[str, tuple[int, Reservation]] = field(default_factory=dict)
    told: dict[str, Nano] = field(default_factory=dict)
    overrun: set[str] = field(default_factory=set)

    def balance(self, account: str) -> Nano:
        return self.paid_in[account] - sum(c for a, c in self.costs.values() if a == account)

    def reserved(self, account: str) -> Nano:
        running = (r for _, r in self.running.values())
        return sum(r.amount for r in running if r.record.account == account)

    def ended(self, request: str, cost: Nano) -> None:
        _, reservation = self.running.pop(request)
        self.costs[request] = reservation.record.account, cost
        if cost > reservation.amount:
            self.overrun.add(reservation.record.account)

    def crashed(self, slot: int) -> None:
        for request in [r for r, (where, _) in self.running.items() if where == slot]:
            self.ended(request, self.told.get(request, 0))


class Books(RuleBasedStateMachine):
    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.data = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.vault = MemoryVault()
        self.model = Model()
        self.time = 1_000_000.0
        self.number = self.away_for = 0
        self.ledgers: dict[int, Ledger] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self.time += 1.5
        try:
            return self.loop.run_until_complete(work)
        finally:
            self.away_for -= 1
            self.vault.away = self.away_for > 0

    def now(self) -> float:
        return self.time

    @initialize()
    def both_start(self) -> None:
        for slot in SLOTS:
            self.begin(slot)
        for account in ACCOUNTS:
            self.top_up(account, 150)

    def begin(self, slot: int) -> None:
        self.number += 1
        ledger = Ledger(
            self.vault, self.data, f"p{self.number}", self.now, self.now, segment=256 * 1024
        )
        self.run(ledger.open())
        self.ledgers[slot] = ledger

    @rule(account=st.sampled_from(ACCOUNTS), amount=amounts)
    def top_up(self, account: str, amount: Nano) -> None:
        self.number += 1
        self.vault.post(f"top-up:{self.number}", account, amount)
        self.vault.post(f"top-up:{self.number}", account, amount)
        self.model.paid_in[account] += amount

    @rule(account=st.sampled_from(ACCOUNTS), amount=amounts)
    def take_back(self, account: str, amount: Nano) -> None:
        self.number += 1
        with contextlib.suppress(InsufficientBalance):
            self.vault.post(f"correction:{self.number}", account, -amount)
            self.model.paid_in[account] -= amount

    @rule(
        target=running,
        slot=st.sampled_from(SLOTS),
        account=st.sampled_from(ACCOUNTS),
        most=st.integers(1, 60) | st.just(0),
        least=st.integers(0, 60),
    )
    def reserve(self, slot: int, account: str, most: Nano, least: Nano) -> Any:
        self.number += 1
        request = f"req_{self.number}"
        record, away = accepted(account, request, self.time), self.vault.away
        try:
            reservation = self.run(self.ledgers[slot].reserve(record, most, min(most, least)))
        except InsufficientBalance:
            assert most > 0
            return multiple()
        except Unavailable:
            assert away or self.vault.lost
            return multiple()
        assert min(most, least) <= reservation.amount <= most
        self.model.running[request] = slot, reservation
        return request

    @rule(
        slot=st.sampled_from(SLOTS),
        account=st.sampled_from(ACCOUNTS),
        amount=amounts,
        part=st.sampled_from((1, 0.5, 1.2, 0)),
        settled=st.booleans(),
    )
    def serve(self, slot: int, account: str, amount: Nano, part: float, settled: bool) -> None:
        request = self.reserve(slot, account, amount, 1)
        if isinstance(request, str):
            self.settle(request, part)
        if settled:
            self.batch(slot)

    @precondition(lambda self: self.model.running)
    @rule(request=running, more=amounts)
    def extend(self, request: str, more: Nano) -> None:
        if request in self.model.running:
            reservation = self.model.running[request][1]
            self.run(self._extended(reservation, reservation.amount + more))

    async def _extended(self, reservation: Reservation, to: Nano) -> None:
        before = reservation.amount
        reservation.extend(to)
        assert before <= reservation.amount <= to
        await asyncio.sleep(0)

    @precondition(lambda self: self.model.running)
    @rule(request=running, part=st.sampled_from((1, 0.5)))
    def progress(self, request: str, part: float) -> None:
        if request in self.model.running:
            reservation = self.model.running[request][1]
            cost = max(self.model.told.get(request, 0), int(reservation.amount * part))
            self.time += 1.5
            reservation.progress(*priced(cost))
            self.model.told[request] = cost

    @precondition(lambda self: self.model.running)
    @rule(request=consumes(running), part=st.sampled_from((1, 0.5, 1.2, 0)))
    def settle(self, request: str, part: float) -> None:
        if request in self.model.running:
            reservation = self.model.running[request][1]
            cost = int(reservation.amount * part)
            end(reservation, cost, self.time)
            self.model.ended(request, cost)

    @precondition(lambda self: self.model.running)
    @rule(request=consumes(running))
    def release(self, request: str) -> None:
        if request in self.model.running:
            self.model.running[request][1].release()
            self.model.ended(request, 0)

    @precondition(lambda self: self.backlog())
    @rule(slot=st.sampled_from(SLOTS))
    def batch(self, slot: int) -> None:
        with contextlib.suppress(StorageError):
            self.run(self.ledgers[slot].settle_some())

    @rule(slot=st.sampled_from(SLOTS), wait=st.integers(0, 10))
    def tick(self, slot: int, wait: int) -> None:
        self.time += wait
        with contextlib.suppress(StorageError):
            self.run(self.ledgers[slot].tick())

    @precondition(lambda self: self.model.running or self.backlog())
    @rule(slot=st.sampled_from(SLOTS), killed=st.booleans())
    def end_of_a_process(self, slot: int, killed: bool) -> None:
        ledger = self.ledgers.pop(slot)
        self.run(ledger.abandon() if killed or self.vault.away else ledger.close())
        self.model.crashed(slot)
        self.begin(slot)

    def backlog(self) -> int:
        return sum(ledger.backlog for ledger in self.ledgers.values())

    @rule(slot=st.sampled_from(SLOTS))
    def recover_and_replay(self, slot: int) -> None:
        with contextlib.suppress(StorageError):
            self.run(self.ledgers[slot].recover())

    @rule()
    def sweep(self) -> None:
        with contextlib.suppress(StorageError):
            self.run(self.ledgers[0].sweep())

    @rule(steps=st.integers(1, 4))
    def database_goes(self, steps: int) -> None:
        self.away_for, self.vault.away = steps, True

    @rule()
    def next_reply_is_lost(self) -> None:
        self.vault.lose = 1

    @invariant()
    def money_is_where_it_belongs(self) -> None:
        for account in ACCOUNTS:
            booked = sum(amount for who, amount in self.vault.entries.values() if who == account)
            leased = [x.held for x in self.vault.leases.values() if x.account == account]
            available = self.vault.available.get(account, 0)
            assert available + sum(leased) == booked
            assert available >= 0
            if account not in self.model.overrun:
                assert min(leased, default=0) >= 0
                assert self.model.reserved(account) <= self.model.balance(account)

    @invariant()
    def nothing_is_settled_that_did_not_happen(self) -> None:
        for request, cost in self.vault.usage.items():
            assert self.model.costs[request][1] == cost

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.loop.close()
            shutil.rmtree(self.data)

    def finish(self) -> None:
        self.away_for, self.vault.away, self.vault.lose = 0, False, 0
        for slot, ledger in self.ledgers.items():
            self.run(ledger.close())
            self.model.crashed(slot)
        self.begin(0)
        self.run(self.ledgers[0].close())
        assert self.vault.usage == {r: cost for r, (_, cost) in self.model.costs.items()}
        for account in ACCOUNTS:
            leased = [x for x in self.vault.leases.values() if x.account == account]
            assert all(lease.held < 0 for lease in leased) or not leased
            total = self.vault.available.get(account, 0) + sum(x.held for x in leased)
            assert total == self.model.balance(account)
        assert list((self.data / "journal").iterdir()) == []


def test_books_equal_the_model() -> None:
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=10_000 if os.environ.get("EZKIELYNA_SOAK") else 300,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
