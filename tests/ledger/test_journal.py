from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ezkielyna.contract.money import Bill
from ezkielyna.contract.usage import Usage
from ezkielyna.ledger import encoding, segments
from ezkielyna.ledger.journal import END_ROOM, SPARE_ROOM, Ended, Journal
from ezkielyna.ledger.record import Attempt, UsageRecord
from ezkielyna.ledger.replay import Story, read
from ezkielyna.ledger.segments import (
    LONGEST,
    WINDOW,
    Damage,
    JournalError,
    Segments,
    mappable,
    records,
    segment_path,
    segment_paths,
)
from ezkielyna.testing.ledger import accepted, priced

SEGMENT = 256 * 1024
BIG = 4 * 1024 * 1024


def now() -> float:
    return 1_700_000_000.0


def closed(record: UsageRecord, cost: int) -> UsageRecord:
    record.usage, record.bill = priced(cost)
    record.outcome, record.status = "ok", 200
    record.first_byte_at, record.ended_at = now() + 1, now() + 2
    record.attempts = [Attempt("lab", "m-1", now(), now() + 2, 200)]
    return record


@pytest.fixture(params=[True, False], ids=["mapped", "written"], autouse=True)
def mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the journal is written through memory, or by system calls."""
    through_memory: bool = request.param
    monkeypatch.setattr(segments, "mappable", lambda folder: through_memory)
    return through_memory


@pytest.fixture
def journal(tmp_path: Path, mapped: bool) -> Iterator[Journal]:
    journal = Journal(tmp_path, "p1", segment=SEGMENT, wall=now)
    yield journal
    journal.close()


def story_of(journal: Journal) -> Story:
    return read(journal.folder)


def full(journal: Journal) -> list[UsageRecord]:
    """Write a request of every kind; return their records: open, told, ended, fixed, known."""
    made = [accepted("ann", f"req_{name}", now()) for name in ("open", "told", "end", "fix", "ack")]
    for record in made:
        journal.begin(record, 100)
    journal.progress(made[1], *priced(7))
    ended = [journal.end(closed(record, 10 + n)) for n, record in enumerate(made[2:])]
    journal.batch(1, now(), ended[2:])
    journal.ack(1)
    journal.batch(2, now(), ended[1:2])
    return made


async def test_what_was_written_is_told(journal: Journal) -> None:
    opened, told, ended, fixed, known = full(journal)
    story = story_of(journal)
    assert story.damage == []
    assert list(story.requests) == ["req_open", "req_told", "req_end", "req_fix"]
    assert story.requests["req_end"] == ended
    assert story.requests["req_fix"] == fixed
    assert story.requests["req_open"] == opened
    assert story.batches == {2: (now(), ["req_fix"])}
    assert story.last_batch == 2
    assert known.request_id not in story.requests
    story.close()
    assert [record.request_id for record in story.rest()] == ["req_open", "req_told", "req_end"]
    assert story.requests["req_told"].bill.cost == 7
    assert story.requests["req_open"].bill.cost == 0
    assert story.requests["req_told"].outcome == "crashed"
    assert story.requests["req_told"].ended_at is not None
    assert told.ended_at is None


async def test_every_bucket_line_and_flag_survives(journal: Journal) -> None:
    record = accepted("ann", "req_1", now())
    journal.begin(record, 0)
    record.usage = Usage(1, 2, 3, 4, 5, 6, 7, 8, "counted")
    items = [(bucket, count, 1234567) for bucket, count in record.usage.quantities()]
    record.bill = Bill.of(items, "v9")
    record.flags.append("absurd_usage")
    record.provider = "second"
    record.outcome, record.status, record.ended_at = "client_gone", 499, now() + 0.123456
    ended = journal.end(record)
    assert story_of(journal).requests["req_1"] == ended.record() == record
    assert record.billed_at == "v9"


def written(tmp_path: Path) -> tuple[bytes, list[bytes], list[int]]:
    """Return a segment's written bytes, its records, and where each begins, with the end."""
    journal = Journal(tmp_path, "source", segment=SEGMENT, wall=now)
    full(journal)
    data = segment_path(journal.folder, 1).read_bytes()
    journal.close(keep=True)
    payloads = list(records(data))
    starts = [0]
    for payload in payloads:
        starts.append(starts[-1] + 8 + len(payload))
    return data[: starts[-1]], payloads, starts


def survivors(data: bytes) -> tuple[list[bytes], bool]:
    """Return the records that are read, and whether there was damage."""
    found: list[bytes] = []
    try:
        for payload in records(data):
            found.append(payload)
    except Damage:
        return found, True
    return found, False


def test_every_truncation_keeps_what_is_whole(tmp_path: Path) -> None:
    data, payloads, starts = written(tmp_path)
    for length in range(len(data)):
        whole = sum(1 for start in starts[1:] if start <= length)
        for tail in (b"", bytes(64)):
            found, damaged = survivors(data[:length] + tail)
            assert found == payloads[:whole]
            assert damaged == any(data[starts[whole] : length]), length


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    data, payloads, starts = written(tmp_path)
    for position in range(len(data)):
        whole = sum(1 for start in starts[1:] if start <= position)
        for flip in (0x01, 0x80, 0xFF, data[position] or 0x10):
            broken = bytearray(data)
            broken[position] ^= flip
            found, damaged = survivors(bytes(broken) + bytes(64))
            assert damaged, (position, flip)
            assert found == payloads[:whole]


def test_a_record_at_another_place_is_damage(tmp_path: Path) -> None:
    data, _, starts = written(tmp_path)
    swapped = data[starts[1] : starts[2]] + data[starts[0] : starts[1]]
    assert survivors(swapped) == ([], True)


async def test_a_torn_tail_loses_nothing_that_came_before(journal: Journal) -> None:
    full(journal)
    path = segment_path(journal.folder, 1)
    data = bytearray(path.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end - 3 : end] = b"\0\0\0"
    path.write_bytes(data)
    story = story_of(journal)
    assert story.damage == [f"000001.log: damaged from byte {story.damage[0].split()[-1]}"]
    assert "req_end" in story.requests
    assert story.batches == {}


async def test_segments_are_dropped_when_acknowledged(journal: Journal) -> None:
    for n in range(1, 1000):
        record = accepted("ann", f"req_{n}", now())
        journal.begin(record, 100)
        journal.batch(n, now(), [journal.end(closed(record, 5))])
        journal.ack(n)
    numbers = [int(path.stem) for path in segment_paths(journal.folder)]
    assert len(numbers) == 1
    assert numbers[0] > 1
    assert story_of(journal).requests == {}


async def test_a_long_stream_moves_on_instead_of_keeping_every_segment(journal: Journal) -> None:
    long = accepted("ann", "req_long", now())
    journal.begin(long, 100)
    journal.progress(long, *priced(77))
    for n in range(1, 4000):
        record = accepted("ann", f"req_{n}", now())
        journal.begin(record, 100)
        journal.batch(n, now(), [journal.end(closed(record, 5))])
        journal.ack(n)
    assert len(segment_paths(journal.folder)) <= 6
    story = story_of(journal)
    story.close()
    assert list(story.requests) == ["req_long"]
    assert story.requests["req_long"].bill.cost == 77


class Disk:
    """A disk that is full from a given moment on."""

    def __init__(self) -> None:
        self.full = False

    def allocate(self, descriptor: int, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.posix_fallocate(descriptor, 0, size)


def fill(journal: Journal, begun: list[UsageRecord]) -> None:
    for n in range(10_000):
        record = accepted("ann", f"req_{n}", now())
        journal.begin(record, 100)
        begun.append(record)


async def test_a_full_disk_refuses_new_requests_and_ends_the_others(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, "p1", segment=SEGMENT, allocate=disk.allocate, wall=now)
    await journal.probe()
    disk.full = True
    begun: list[UsageRecord] = []
    with pytest.raises(JournalError):
        fill(journal, begun)
    assert not journal.ready
    assert len(begun) > (2 * SEGMENT - SPARE_ROOM) // (END_ROOM + 400)
    for record in begun:
        journal.progress(record, *priced(3))
    ended: list[Ended] = []
    for record in begun:
        record.flags = ["x" * 600]
        ended.append(journal.end(closed(record, 9)))
    for start in range(0, len(ended), 100):
        journal.batch(start, now(), ended[start : start + 100])
        journal.ack(start)
    assert story_of(journal).requests == {}
    disk.full = False
    await journal.probe()
    await journal.probe()
    assert journal.ready
    journal.begin(accepted("ann", "req_again", now()), 1)
    journal.close()


@pytest.mark.parametrize(
    ("mapped", "broken"),
    [(True, "fdatasync"), (False, "fdatasync"), (False, "pwrite")],
    indirect=["mapped"],
)
async def test_ends_that_cannot_be_written_are_said_aloud(
    journal: Journal,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal.begin(accepted("ann", "req_1", now()), 100)
    record = accepted("ann", "req_2", now())
    journal.begin(record, 100)

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, refuse)
        if broken == "fdatasync":  # a disk that failed is not written through memory any more
            with pytest.raises(JournalError):
                await journal.sync()
            patch.setattr(os, "pwrite", refuse)
        journal.end(closed(record, 5))
        with pytest.raises(JournalError):
            journal.begin(accepted("ann", "req_3", now()), 1)
        assert not journal.ready
        await journal.probe()
        assert not journal.ready
    assert [entry.levelno for entry in caplog.records][:1] == [logging.ERROR]
    await journal.probe()
    assert journal.ready
    journal.begin(accepted("ann", "req_4", now()), 1)
    assert list(story_of(journal).requests) == ["req_1", "req_2", "req_4"]


def test_the_window_follows_the_log(tmp_path: Path, mapped: bool) -> None:
    assert WINDOW * 3 < BIG
    sizes = [70_000] * 40 + [LONGEST] * 4 + [BIG - 4 * 8 - 3 * LONGEST]
    payloads = [bytes([n % 251 + 1]) * size for n, size in enumerate(sizes)]
    log = Segments(tmp_path, BIG)
    numbers = {log.append(payload) for payload in payloads}
    log.flush()
    assert numbers == {1, 2}
    assert log.left == -8, "the last record filled its file"
    assert [
        one for path in segment_paths(tmp_path) for one in records(path.read_bytes())
    ] == payloads
    log.close()


def test_what_copies_pages_is_not_written_through_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = os.stat(tmp_path).st_dev
    mount = f"29 1 {os.major(device)}:{os.minor(device)} / /data rw shared:1 - {{}} /dev/vda rw\n"
    for kind, expected in (("ext4", True), ("xfs", True), ("btrfs", False), ("zfs", False)):
        monkeypatch.setattr(Path, "read_text", lambda _, kind=kind: mount.format(kind))
        assert mappable(tmp_path) is expected, kind


def test_an_end_is_never_longer_than_the_room_for_it() -> None:
    record = closed(accepted("ann", "req_1", now()), 5)
    record.attempts = [
        record.attempts[0]._replace(upstream_model="m" * 256, error="e" * 900) for _ in range(9)
    ]
    encoded = encoding.end(record)
    assert len(encoded) <= encoding.LONGEST_END
    told = accepted("ann", "req_1", record.started_at)
    encoding.ended(told, encoding.fields(encoded))
    assert told == replace(record, attempts=[])


async def test_attempts_that_do_not_fit_on_the_disk_are_settled_from_memory(
    journal: Journal,
) -> None:
    record = accepted("ann", "req_1", now())
    journal.begin(record, 100)
    closed(record, 5).attempts *= 30
    ended = journal.end(record)
    assert ended.record() == record
    assert story_of(journal).requests["req_1"] == replace(record, attempts=[])


async def test_the_lock_is_held_until_the_journal_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "p1", segment=SEGMENT, wall=now)
    with pytest.raises(FileExistsError):
        Journal(tmp_path, "p1", segment=SEGMENT, wall=now)
    journal.begin(accepted("ann", "req_1", now()), 1)
    journal.close()
    assert (tmp_path / "p1" / "LOCK").exists()


async def test_a_group_of_records_is_flushed_soon(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    real = os.fdatasync

    def flush(descriptor: int) -> None:
        flushed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", flush)
    for n in range(50):
        journal.begin(accepted("ann", f"req_{n}", now()), 1)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if flushed:
            break
    assert len(flushed) == 1
