"""The settler: takes ended requests to the database, batch by batch, exactly once each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ezkielyna.contract.money import Price
from ezkielyna.ledger.crash import crash_point
from ezkielyna.ledger.holdings import Holdings
from ezkielyna.ledger.journal import Ended, Journal
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.segments import JournalError
from ezkielyna.ledger.settlement import MOST_USAGES, batch_id, settlement, usage_document
from ezkielyna.ledger.vault import Vault
from ezkielyna.storage.batches import Settlement
from ezkielyna.storage.errors import Duplicate, StorageAway, StorageError
from ezkielyna.storage.usage import encoded

GATHER_S = 0.4
"""How long a batch waits for company, from its first request on, if it is not full before."""

SLICE = 50
"""Usage documents that are made in one turn of the loop: about a millisecond."""

LONGEST_S = 0.3
"""Batches that take longer are made smaller, unless more than one waits behind them: a grant of
money waits behind one at most."""

LEAST_USAGES = 100
"""Smaller batches cost this process more for each usage than they save in waiting."""

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    n: int
    at: float
    ended: list[Ended]


class Settler:
    """Settles what has ended, in the order of its end. A batch is tried until it is in."""

    def __init__(
        self,
        vault: Vault,
        journal: Journal,
        holdings: Holdings,
        process: str,
        wall: Callable[[], float],
        prices: Collection[Price] = (),
    ) -> None:
        self._vault = vault
        self._journal = journal
        self._holdings = holdings
        self._process = process
        self._wall = wall
        self._prices = prices
        self._ended: deque[Ended] = deque()
        self._batch: _Batch | None = None
        self.backlog = 0
        """How many ended requests have no usage document yet."""
        self._n = 0
        self._most = MOST_USAGES
        self._some = asyncio.Event()
        self._full = asyncio.Event()

    def add(self, one: Ended) -> None:
        """Take an ended request."""
        ended = self._ended
        ended.append(one)
        self.backlog += 1
        count = len(ended)
        if count == 1:
            self._some.set()
        if count == MOST_USAGES:
            self._full.set()

    async def run(self) -> None:
        """Settle for ever."""
        while True:
            await self._some.wait()
            await self._gather()
            await self.drain()

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(GATHER_S):
                await self._full.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Settle until nothing is left, however long the database is away."""
        pause = SHORTEST_PAUSE_S
        while self.backlog:
            try:
                await self.step()
                pause = SHORTEST_PAUSE_S
            except (StorageError, JournalError) as error:
                self._failed(error)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)

    def _failed(self, error: StorageError | JournalError) -> None:
        level = logging.INFO if isinstance(error, StorageAway) else logging.ERROR
        log.log(level, "%d ended requests wait for their settlement: %s", self.backlog, error)

    async def keep_prices(self) -> None:
        """Keep the prices that bills are made at, once, before the bills. Raises StorageError."""
        if self._prices:
            await self._vault.keep_prices(self._prices)
            self._prices = ()

    async def step(self) -> None:
        """Try one batch; raises StorageError or JournalError, then the same one is tried again."""
        batch = self._batch or self._next()
        if batch is None:
            return
        await self._journal.sync()
        await self.keep_prices()
        crash_point("after_batch")
        plan = await self._plan(batch)
        async with self._holdings.turns(plan.costs):
            crash_point("before_commit")
            began = time.monotonic()
            await self._write(batch, plan)
            self._adapt(len(batch.ended), time.monotonic() - began)
            crash_point("after_commit")
            self._holdings.settled(plan.costs)
        self._journal.ack(batch.n)
        crash_point("after_ack")
        self.backlog -= len(batch.ended)
        self._batch = None

    def _adapt(self, usages: int, seconds: float) -> None:
        """Choose how many usages the next batch may have, by how long the last one took.

        Half of a batch's time is the same for few and for many: whoever falls behind gets larger
        ones, however long they take, or would fall behind for ever.
        """
        behind = len(self._ended) > usages
        if usages >= self._most and (behind or seconds < LONGEST_S / 2):
            self._most = min(MOST_USAGES, self._most * 2)
        elif seconds > LONGEST_S and not behind:
            self._most = max(LEAST_USAGES, min(self._most, usages) // 2)

    async def _plan(self, batch: _Batch) -> Settlement:
        """Make the usage documents a few at a time: streams go on between them."""
        name = batch_id(self._process, batch.n)
        records: list[UsageRecord] = []
        usages: list[Mapping[str, Any]] = []
        for first in range(0, len(batch.ended), SLICE):
            some = [one.record() for one in batch.ended[first : first + SLICE]]
            records += some
            usages += [encoded(usage_document(record, name)) for record in some]
            await asyncio.sleep(0)
        return settlement(self._process, batch.n, records, batch.at, usages)

    async def _write(self, batch: _Batch, plan: Settlement) -> None:
        try:
            await self._vault.settle(plan)
        except Duplicate:
            await self._without_settled(batch)

    async def _without_settled(self, batch: _Batch) -> None:
        """Settle a batch of which a request has its document under another key already."""
        settled = await self._vault.settled([one.request_id for one in batch.ended])
        log.error("request ids came twice: %s", ", ".join(sorted(settled)))
        new = [one.record() for one in batch.ended if one.request_id not in settled]
        await self._vault.settle(settlement(self._process, batch.n, new, batch.at))

    def _next(self) -> _Batch | None:
        """Fix the next batch in the journal; raises JournalError."""
        if not self._ended:
            return None
        count = min(self._most, len(self._ended))
        ended = [self._ended[position] for position in range(count)]
        batch = _Batch(self._n + 1, self._wall(), ended)
        crash_point("before_batch")
        self._journal.batch(batch.n, batch.at, ended)
        for _ in range(count):
            self._ended.popleft()
        if not self._ended:
            self._some.clear()
        if len(self._ended) < MOST_USAGES:
            self._full.clear()
        self._n, self._batch = batch.n, batch
        return batch
