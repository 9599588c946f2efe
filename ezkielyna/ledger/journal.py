"""The journal of one process: what it owes to the database, on its own disk.

`data/journal/<process>/` holds the segments and `LOCK`, on which the owner has an advisory lock as
long as it lives; whoever can take that lock owns what is written there. BEGIN comes before a
request is sent upstream, END when it is over, BATCH before a settlement, ACK after it. Room for the
END of every open request is kept, so a full disk refuses new requests and loses none.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger import encoding
from ezkielyna.ledger.crash import crash_point
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.segments import SEGMENT, Allocate, JournalError, Segments, allocate

FLUSH_S = 0.05
END_ROOM = encoding.LONGEST_END + 64
BATCH_SHARE = 64
"""Bytes of BATCH and ACK for one ended request."""

SPARE_ROOM = 64 * 1024
CARRY_AT = 4
"""With more segments than this, requests that are still open move out of the oldest."""

log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """An ended request as it waits for its settlement: as bytes, for many wait where none settles.

    `segment` has its BEGIN; `end` tells all, also where the END on the disk had to be short.
    """

    request_id: str
    segment: int
    begin: bytes
    end: bytes

    def record(self) -> UsageRecord:
        """Return what the bytes tell, as recovery would read it."""
        return encoding.whole(self.begin, self.end)


class Journal:
    """An open journal; `process` must never have been used before. Raises OSError, JournalError."""

    def __init__(
        self,
        folder: Path,
        process: str,
        *,
        segment: int = SEGMENT,
        allocate: Allocate = allocate,
        wall: Callable[[], float],
    ) -> None:
        self.folder = folder / process
        self._process = process
        self._wall = wall
        self._lock = _locked(folder, process)
        self._segments = Segments(self.folder, segment, allocate)
        self._open: dict[str, tuple[int, bytes]] = {}  # the segment of every BEGIN, and itself
        self._progress: dict[str, bytes] = {}
        self.unacknowledged = 0
        """How many requests are not acknowledged by the database, open ones included."""
        self._live: defaultdict[int, int] = defaultdict(int)
        self._oldest = 1
        self._batches: dict[int, Sequence[Ended]] = {}
        self._sessions: set[str] = set()
        self._full = False
        self._flushing = False
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "journal")
        self._append(encoding.head(process, 1))

    @property
    def ready(self) -> bool:
        """True when another request can be begun."""
        more = not (self._full or self._segments.spare)
        return not self._segments.failed and (more or self._segments.room >= self._owed(1))

    @property
    def open(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._open)

    def begin(self, record: UsageRecord, amount: Nano) -> None:
        """Write that a request is accepted; raises JournalError, then it must not be served."""
        request, segments = record.request_id, self._segments
        assert request not in self._open, request
        payload = encoding.begin(record, amount)
        if segments.failed:
            raise JournalError("the journal cannot be written")
        # At most this is owed. To know how much it is takes longer, and seldom matters.
        most_owed = (self.unacknowledged + 1) * END_ROOM + SPARE_ROOM
        if segments.left - len(payload) < most_owed:
            self._make_room(payload)
        segment = segments.append(payload)
        self._open[request] = segment, payload
        self._live[segment] += 1
        self.unacknowledged += 1
        if not self._flushing:
            self._flush_soon()

    def progress(self, record: UsageRecord, usage: Usage, bill: Bill) -> None:
        """Write what was delivered; left out where room is short, for END matters more."""
        assert record.request_id in self._open, record.request_id
        payload = encoding.progress(record, usage, bill, self._wall())
        if self._segments.room - len(payload) < self._owed(0):
            return
        self._try(payload)
        self._progress[record.request_id] = payload

    def end(self, record: UsageRecord) -> Ended:
        """Write that a request is over. Never raises: memory has it, if the disk does not."""
        request = record.request_id
        begun = self._open.pop(request, None)
        assert begun is not None, request
        if self._progress:
            self._progress.pop(request, None)
        payload = whole = encoding.whole_end(record)
        if len(whole) > encoding.LONGEST_END:
            payload = encoding.whole_end(record, ())
        try:  # as `_append` does, a call less for every request
            if len(payload) > self._segments.left:
                self._rotate()
            self._segments.append(payload)
        except JournalError as error:
            log.error("an end is only in memory: %s", error)
        if not self._flushing:
            self._flush_soon()
        return tuple.__new__(Ended, (request, *begun, whole))  # as `Ended(…)`, in half the time

    def batch(self, n: int, at: float, ended: Sequence[Ended]) -> None:
        """Fix which requests batch `n` settles; raises JournalError."""
        self._append(encoding.batch(n, at, [one.request_id for one in ended]))
        self._batches[n] = ended

    def ack(self, n: int) -> None:
        """Write that batch `n` is in, and drop the segments that nothing needs any more."""
        self._try(encoding.ack(n))
        settled = self._batches.pop(n)
        self.unacknowledged -= len(settled)
        for one in settled:
            self._live[one.segment] -= 1
        self._drop()

    def session(self, id_: str) -> None:
        """Note a database session, so that recovery can end what is left running in it."""
        if id_ not in self._sessions:
            self._try(encoding.session(id_))
            self._sessions.add(id_)

    async def sync(self) -> None:
        """Return when everything written so far is safe from power loss; raises JournalError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._segments.flush)

    async def probe(self) -> None:
        """Make room ahead and try a journal that failed again; call it every second."""
        self._full = False
        await asyncio.get_running_loop().run_in_executor(self._thread, self._prepared)
        try:
            if self._segments.failed:
                self._rotate()
                await self.sync()
                self._segments.failed = False
        except JournalError as error:
            log.info("the journal cannot be written yet: %s", error)

    def close(self, *, keep: bool = False) -> None:
        """Release the journal; remove it when all is acknowledged, else recovery takes it."""
        self._closed = True
        self._thread.shutdown(wait=True)
        self._segments.close()
        if not self.unacknowledged and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _make_room(self, begin: bytes) -> None:
        """Make room for a BEGIN and all that it owes, unless there is; raises JournalError."""
        segments, needed = self._segments, len(begin) + self._owed(1)
        if segments.room < needed and (not self._prepared() or segments.room < needed):
            raise JournalError("no room for the journal")
        if len(begin) > segments.left:
            self._rotate()

    def _owed(self, more: int) -> int:
        """Return the room that must be left for what is open, and `more` requests beside."""
        ended = self.unacknowledged - len(self._open)
        return (len(self._open) + more) * END_ROOM + ended * BATCH_SHARE + SPARE_ROOM

    def _prepared(self) -> bool:
        """Make room ahead; False when the disk was found full since the last probe."""
        if self._full:
            return False
        try:
            self._segments.prepare()
        except OSError as error:
            self._full = True
            log.info("no room for the journal: %s", error.strerror)
        return not self._full

    def _try(self, payload: bytes) -> None:
        try:
            self._append(payload)
        except JournalError as error:
            log.error("a record is only in memory: %s", error)

    def _append(self, payload: bytes) -> None:
        if len(payload) > self._segments.left:
            self._rotate()
        self._segments.append(payload)
        if not self._flushing:
            self._flush_soon()

    def _rotate(self) -> None:
        self._segments.rotate()
        crash_point("after_rotation")
        if not self._closed:
            self._thread.submit(self._prepared)
        number = self._segments.number
        self._segments.append(encoding.head(self._process, number))
        for session in self._sessions:
            self._segments.append(encoding.session(session))
        if number - self._oldest > CARRY_AT:
            self._carry(self._oldest)
        self._drop()

    def _carry(self, oldest: int) -> None:
        """Write what is open in the oldest segment once more, here, so that it can be dropped."""
        for request, (segment, begin) in self._open.items():
            if segment != oldest:
                continue
            progress = self._progress.get(request, b"")
            if not self._segments.fits(begin + progress + bytes(END_ROOM)):
                return
            copied = self._segments.append(begin)
            if progress:
                self._segments.append(progress)
            self._live[oldest] -= 1
            self._live[copied] += 1
            self._open[request] = copied, begin

    def _drop(self) -> None:
        """Drop segments from the oldest on, as long as no unacknowledged request began there."""
        current = self._segments.number
        while self._oldest < current and not self._live.get(self._oldest):
            self._live.pop(self._oldest, None)
            self._segments.drop(self._oldest)
            self._oldest += 1

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._flushing = True
        loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._closed:
            self._thread.submit(self._flushed)

    def _flushed(self) -> None:
        try:
            self._segments.flush()
        except JournalError as error:
            log.error("%s", error)


def _locked(folder: Path, process: str) -> int:
    """Make the journal's folder with its lock taken; it appears under its name only then."""
    if (folder / process).exists():
        raise FileExistsError(
            errno.EEXIST, "this process had a journal before", str(folder / process)
        )
    hidden = folder / f".{process}"
    hidden.mkdir(parents=True, mode=0o700)
    lock = os.open(hidden / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(folder / process)
    return lock
