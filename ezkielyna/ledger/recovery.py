"""Recovery: finish what a dead process left in its journal, once, whoever does it how often ever.

A journal whose lock can be taken has no owner. Its open requests are closed with what they had
delivered, unacknowledged batches are settled under their own keys and the rest under new ones, the
leases go back to their accounts, and the journal is removed. An answer that was kept for retries
tells how its request ended, if the journal does not; claims without an answer are released, also
where the process died before it wrote that the request began. Nothing is written to the journal, so
a recovery that dies is begun again by the next; what is in the database already is left alone.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ezkielyna.ledger.crash import crash_point
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.replay import Story, read
from ezkielyna.ledger.settlement import MOST_USAGES, settlement
from ezkielyna.ledger.vault import Vault
from ezkielyna.storage.errors import Duplicate

ABANDONED_S = 60.0

log = logging.getLogger(__name__)


class Recovery:
    """Watches a folder of journals for those without an owner."""

    def __init__(self, vault: Vault, folder: Path, wall: Callable[[], float]) -> None:
        self._vault = vault
        self._folder = folder
        self._wall = wall

    def processes(self) -> set[str]:
        """Return the processes whose journals are here, dead or alive."""
        if not self._folder.is_dir():
            return set()
        names = (path.name for path in self._folder.iterdir() if path.is_dir())
        return {name for name in names if not name.startswith(".")}

    async def step(self) -> list[str]:
        """Recover every dead process here and return their ids. Raises StorageError."""
        recovered: list[str] = []
        for process in sorted(self.processes()):
            with _taken(self._folder / process) as ours:
                if ours:
                    await self._recover(process)
                    recovered.append(process)
        return recovered

    def tidy(self) -> None:
        """Remove what is left of journals whose making or removal was cut short."""
        for folder in self._folder.glob(".*"):
            if folder.stat().st_mtime < self._wall() - ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)

    async def _recover(self, process: str) -> None:
        folder = self._folder / process
        story = await asyncio.to_thread(read, folder)
        await self._close(process, story)
        for damage in story.damage:
            log.error("journal of %s: %s; what came before is kept", process, damage)
        crash_point("in_recovery")
        await self._vault.end_sessions(story.sessions)
        await self._settle(process, story)
        for lease in await self._vault.leases_of(process):
            if not await self._vault.dissolve(lease):
                log.info("lease %s is a debt of %d", lease.id, -lease.held)
        crash_point("before_journal_removed")
        await asyncio.to_thread(_removed, folder)
        log.info("recovered process %s: %d requests", process, len(story.requests))

    async def _close(self, process: str, story: Story) -> None:
        """End the requests that were open, those whose answers were kept as these say."""
        left = story.open()
        for start in range(0, max(1, len(left)), MOST_USAGES):
            ends = await self._vault.close_claims(process, left[start : start + MOST_USAGES])
            for request, end in ends.items():
                story.end(request, end)
        story.close()

    async def _settle(self, process: str, story: Story) -> None:
        for n, (at, requests) in sorted(story.batches.items()):
            known = [story.requests[r] for r in requests if r in story.requests]
            await self._batch(process, n, known, at)
            crash_point("after_recovered_batch")
        rest = await self._new(story.rest())
        while rest:
            n = max(story.last_batch, await self._vault.last_batch(process)) + 1
            try:
                await self._vault.settle(settlement(process, n, rest[:MOST_USAGES], self._wall()))
            except Duplicate:
                log.info("process %s: some requests are settled already", process)
            crash_point("after_recovered_batch")
            rest = await self._new(rest)

    async def _batch(self, process: str, n: int, records: Sequence[UsageRecord], at: float) -> None:
        """Settle a batch under its own key; a request that is in under another one is left out."""
        try:
            await self._vault.settle(settlement(process, n, records, at))
        except Duplicate:
            new = await self._new(records)
            if new:
                await self._vault.settle(settlement(process, n, new, at))

    async def _new(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        """Return those that have no usage document yet."""
        new: list[UsageRecord] = []
        for start in range(0, len(records), MOST_USAGES):
            part = records[start : start + MOST_USAGES]
            settled = await self._vault.settled([record.request_id for record in part])
            new += [record for record in part if record.request_id not in settled]
        return new


@contextmanager
def _taken(folder: Path) -> Iterator[bool]:
    """Hold a journal's lock; False when its owner lives or it is gone."""
    try:
        lock = os.open(folder / "LOCK", os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _removed(folder: Path) -> None:
    """Remove a journal such that no other process finds half of it."""
    gone = folder.with_name(f".{folder.name}.done")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
