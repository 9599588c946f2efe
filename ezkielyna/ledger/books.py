"""The ledger as the gateway sees it: reserve, extend, settle or release; everything else is behind.

A reservation never waits for the database while the account's lease in memory covers it, and never
for a disk. What a request cost reaches the database within two seconds of its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path

from ezkielyna.contract.errors import Unavailable
from ezkielyna.contract.money import MAX_NANO, NO_BILL, Bill, Nano, Price, checked
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger.crash import ARMED, crash_point
from ezkielyna.ledger.holding import Holding
from ezkielyna.ledger.holdings import RENEW_S, Holdings
from ezkielyna.ledger.journal import Journal
from ezkielyna.ledger.lease import Ask
from ezkielyna.ledger.record import NO_USAGE, UsageRecord
from ezkielyna.ledger.recovery import Recovery
from ezkielyna.ledger.segments import SEGMENT, Allocate, JournalError, allocate
from ezkielyna.ledger.settlement import moment
from ezkielyna.ledger.settler import Settler
from ezkielyna.ledger.vault import StoredVault, Vault
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import StorageAway, StorageError

PROGRESS_S = 1.0
TICK_S = 1.0
RECOVERY_S = 2.0
SWEEP_S = 30.0
COMPACT_S = 60.0
CLOSED_S = 2 * 3600.0 + 60.0
"""How long after its beginning an hour's roll-ups are merged over the processes: two hours, when no
process asks any more who spent what in it (`gateway.spending`), and more than clocks differ."""

SWEEP_AFTER_S = 60.0
"""How long after its end a lease is swept; more than clocks of two machines differ."""

CLOSE_S = 15.0
CLOSE_PAUSE_S = 0.2
MOST_BACKLOG = 200_000
"""Ended requests that may wait for the database before new ones are refused."""

boot_clock: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Seconds since the machine started, where it can be the time it slept included."""

log = logging.getLogger(__name__)


class Ledger:
    """The money of this process; one object a process.

    `data` is the folder that has `journal/`; siblings on this machine share it. `process` is an id
    that no process had before. `clock` never goes back and counts seconds. `prices` are those that
    bills may name.
    """

    def __init__(
        self,
        database: Database | Vault,
        data: Path,
        process: str | None = None,
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], float] = time.time,
        *,
        prices: Collection[Price] = (),
        segment: int = SEGMENT,
        allocate: Allocate = allocate,
    ) -> None:
        self.process = process or f"{int(wall()):x}-{secrets.token_hex(6)}"
        assert ":" not in self.process, self.process
        self._vault = database if isinstance(database, Vault) else StoredVault(database)
        self._folder = data / "journal"
        self._clock = clock
        self._wall = wall
        self._prices = prices
        self._segment = segment
        self._allocate = allocate
        self._tasks: list[asyncio.Task[None]] = []
        self._journal: Journal
        self._settler: Settler
        self._holdings = Holdings(self._vault, self.process, clock, wall)
        self._recovery = Recovery(self._vault, self._folder, wall)
        self._running = False

    async def open(self) -> None:
        """Open the journal and recover dead siblings; raises OSError.

        A database that is away does not keep the ledger from opening.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._journal = Journal(
            self._folder,
            self.process,
            segment=self._segment,
            allocate=self._allocate,
            wall=self._wall,
        )
        self._vault.note_session = self._journal.session
        self._settler = Settler(
            self._vault, self._journal, self._holdings, self.process, self._wall, self._prices
        )
        await self._journal.probe()
        await asyncio.to_thread(self._recovery.tidy)
        await self._patiently(self._settler.keep_prices)()
        await self._patiently(self.recover)()
        self._running = True

    async def start(self) -> None:
        """Open, and do from now on what has to be done behind the requests; raises OSError."""
        await self.open()
        work = (
            self._settler.run(),
            self._every(TICK_S, self.tick),
            self._every(RENEW_S, self.renew),
            self._every(RECOVERY_S, self.recover),
            self._every(SWEEP_S, self.sweep),
            self._every(COMPACT_S, self.compact),
        )
        self._tasks = [asyncio.get_running_loop().create_task(task) for task in work]

    async def close(self) -> None:
        """Settle what has ended and give the leases back, within `CLOSE_S`.

        What cannot be finished stays in the journal for a sibling or the next start. Nothing
        happens where the ledger is not open.
        """
        if not self._running:
            return
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        finished = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._settler.drain()
                finished = not self._journal.open and await self._leases_returned()
        self._journal.close(keep=not finished)

    async def abandon(self) -> None:
        """Leave everything as a killed process would, but for memory; for tests of recovery."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._holdings.stop()
        self._journal.close(keep=True)

    @property
    def ready(self) -> bool:
        """True when a request can be accepted."""
        return (
            self._running
            and self._journal.ready
            and self._settler.backlog < MOST_BACKLOG
            and not self._holdings.fenced
        )

    @property
    def backlog(self) -> int:
        """How many ended requests are not in the database yet."""
        return self._settler.backlog

    def reserve_now(self, record: UsageRecord, most: Nano) -> Reservation | None:
        """Reserve as `reserve` does; None where the account has to be asked for money first."""
        now, holdings = self._clock(), self._holdings
        settling = self._running and self._settler.backlog < MOST_BACKLOG
        if not settling or now > holdings.fence_at:
            raise _unaccountable()
        account = record.account
        holding = holdings.reserve(account, most, now) if most else holdings.of(account)
        return None if holding is None else self._begin(holding, record, most)

    def open_requests(self, account: str) -> int:
        """Return how many requests of an account have begun here and not ended."""
        return self._holdings.open(account)

    @property
    def busy(self) -> bool:
        """True while any request runs here."""
        return self._running and self._journal.open > 0

    async def reserve(self, record: UsageRecord, most: Nano, least: Nano) -> Reservation:
        """Reserve between `least` and `most` and write BEGIN; waits only where the lease is short.

        `most` 0 is a free request: it needs no money. Raises InsufficientBalance where the account
        cannot pay (`retry_after_s` while other requests hold its money), Unavailable where nobody
        can tell or the journal cannot be written.
        """
        reservation = self.reserve_now(record, most)
        if reservation is None:
            if not self._journal.ready:
                raise _unaccountable()
            holding = self._holdings.of(record.account)
            amount = await self._holdings.ask(holding, Ask(most, max(1, least)))
            reservation = self._begin(holding, record, amount)
        return reservation

    def _begin(self, holding: Holding, record: UsageRecord, amount: Nano) -> Reservation:
        if ARMED:
            crash_point("before_begin")
        try:
            self._journal.begin(record, amount)
        except JournalError as error:
            holding.lease.give_back(amount)
            log.info("a request is refused: %s", error)
            raise _unaccountable() from None
        if ARMED:
            crash_point("after_begin")
        holding.open += 1
        return Reservation(self, holding, record, amount)

    def extend(self, reservation: Reservation, to: Nano) -> bool:
        """See `Reservation.extend`."""
        holding, need = reservation.holding, to - reservation.amount
        account = holding.lease.account
        if need <= 0 or self._holdings.reserve(account, need, self._clock()):
            reservation.amount = max(to, reservation.amount)
            reservation.short = False
            return True
        part = holding.lease.take_some(need, 1, self._clock())
        reservation.amount += part or 0
        if not self._running or not self._holdings.top_up(holding, need - (part or 0)):
            return False
        again, reservation.short = reservation.short, True
        return again

    def progress(self, reservation: Reservation, usage: Usage, bill: Bill) -> None:
        """See `Reservation.progress`."""
        now = self._clock()
        if now - reservation.told_at < PROGRESS_S:
            return
        reservation.told_at = now
        self._journal.progress(reservation.record, usage, bill)
        crash_point("after_progress")

    def settle(self, reservation: Reservation) -> None:
        """See `Reservation.settle`."""
        record = reservation.record
        assert record.ended_at is not None, record.request_id
        assert record.outcome != "open", record.request_id
        if ARMED:
            crash_point("before_end")
        cost, holding = record.bill.cost, reservation.holding
        if cost > MAX_NANO:
            checked(cost)  # raises MoneyError, before anything is charged
        holding.open -= 1
        holding.lease.spend(reservation.amount, cost, self._clock())
        self._settler.add(self._journal.end(record))
        if ARMED:
            crash_point("after_end")

    def now(self) -> float:
        """Return Unix seconds."""
        return self._wall()

    async def renew(self) -> None:
        """Put off the end of the leases; lifts the fence. Raises StorageError."""
        await self._holdings.renew()

    async def sweep(self) -> None:
        """Give back the leases of processes that never return. Raises StorageError.

        A process whose journal is on this machine is alive, or recovery takes care of it.
        """
        before = moment(self._wall() - SWEEP_AFTER_S)
        known = self._recovery.processes() | {self.process}
        for lease in await self._vault.expired(before, known):
            if await self._vault.dissolve(lease):
                log.info("swept lease %s of %d nano-dollars", lease.id, lease.held)

    async def _leases_returned(self) -> bool:
        while True:
            try:
                await self._holdings.close()
            except StorageError as error:
                log.info("leases are not returned yet: %s", error)
                await asyncio.sleep(CLOSE_PAUSE_S)
            else:
                return True

    async def recover(self) -> None:
        """Finish what dead siblings left in their journals. Raises StorageError."""
        await self._recovery.step()

    async def settle_some(self) -> None:
        """Take one batch of ended requests to the database. Raises StorageError, JournalError."""
        await self._settler.step()

    async def tick(self) -> None:
        """Make room in the journal and return idle money. Raises StorageError."""
        await self._journal.probe()
        await self._holdings.tick()

    async def compact(self) -> None:
        """Merge the processes' roll-ups of hours that are over. Raises StorageError."""
        await self._vault.compact(moment(self._wall() - CLOSED_S))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        patient = self._patiently(work)
        while True:
            await asyncio.sleep(seconds)
            await patient()

    def _patiently(self, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Return the work such that a database that is away, or a full disk, does not end it."""

        async def patient() -> None:
            try:
                await work()
            except StorageAway as error:
                log.info("%s: %s", work.__name__, error)
            except (StorageError, OSError, ValueError) as error:
                log.error("%s: %s", work.__name__, error)

        return patient


def _unaccountable() -> Unavailable:
    return Unavailable("The gateway cannot account for requests now. Try again.")


class Reservation:
    """Money that is promised to one request. Ends with exactly one `settle` or `release`."""

    __slots__ = ("_ledger", "_over", "amount", "holding", "record", "short", "told_at")

    def __init__(self, ledger: Ledger, holding: Holding, record: UsageRecord, amount: Nano) -> None:
        self._ledger = ledger
        self._over = False
        self.holding = holding
        self.record = record
        self.amount = amount
        self.short = False
        self.told_at = 0.0

    def extend(self, to: Nano) -> bool:
        """Reserve up to `to` in all, from the lease in memory; never waits.

        False: not all of it is there; `amount` says what is, and more is being asked for in the
        background. Go on to the end of `amount` and ask again: then True is also the answer while
        the account is still being asked, and False means that the money has ended.
        """
        return self._ledger.extend(self, to)

    def progress(self, usage: Usage, bill: Bill) -> None:
        """Note what was delivered so far; written at most once a second."""
        self._ledger.progress(self, usage, bill)

    def settle(self) -> None:
        """End the request: the record is complete and its bill is charged. Never waits or fails."""
        assert not self._over, f"request {self.record.request_id} was settled before"
        self._over = True
        self._ledger.settle(self)

    def release(self) -> None:
        """End a request that was never sent upstream: nothing is charged, and that is recorded."""
        record = self.record
        record.usage, record.bill = NO_USAGE, NO_BILL
        if record.ended_at is None:
            record.ended_at = self._ledger.now()
        if record.outcome == "open":
            record.outcome = "failed"
        self.settle()
