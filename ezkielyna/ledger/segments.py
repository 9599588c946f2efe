"""Segments: an append-only log of checked records in preallocated files.

A record is its length and the CRC-32 of its payload, each four bytes, little-endian, then the
payload; the CRC begins with the record's place, so that no stray copy passes. Unwritten room is
zeros. A record that was appended is safe from the death of the process; `flush` makes it safe
from the death of the machine.

Where the file system allows it, the part of a file that is written next is mapped into memory: what
is stored there is in the file, without a system call.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from zlib import crc32

SEGMENT = 16 * 1024 * 1024
"""Bytes of one file."""

LONGEST = 1024 * 1024

WINDOW = 1024 * 1024
"""Bytes of a file that are mapped at a time."""

MAPPABLE = frozenset({"ext4", "tmpfs", "xfs"})
"""File systems on which room that a file was given can be written, however full the disk is. On
those that copy what they write, a store into a mapped page of a full disk kills the process."""

_FRAME = struct.Struct("<II")

Allocate = Callable[[int, int], None]
"""Make room for so many bytes in a file descriptor's file; raises OSError without room."""


class JournalError(Exception):
    """The journal cannot be written now."""


class Damage(Exception):
    """A segment holds something other than whole records and unwritten room, from `at` on."""

    def __init__(self, at: int) -> None:
        super().__init__(f"damaged from byte {at}")
        self.at = at


def allocate(descriptor: int, size: int) -> None:
    """Make room on the disk, so that writing it later cannot fail for the want of it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.pwrite(descriptor, bytes(size), 0)


def mappable(folder: Path) -> bool:
    """True where a log may be written through memory."""
    device = folder.stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    place = f"{os.major(device)}:{os.minor(device)}"
    kinds = [one.partition(" - ")[2].split()[0] for one in mounts if one.split()[2] == place]
    return not MAPPABLE.isdisjoint(kinds)


class Segments:
    """The files of one log; `append` belongs to one thread, `flush` and `prepare` to any."""

    def __init__(self, folder: Path, size: int = SEGMENT, allocate: Allocate = allocate) -> None:
        self._folder = folder
        self._size = size
        self._allocate = allocate
        # Two locks: going on in a new file must not wait for a flush of the old one.
        self._flushing = Lock()
        self._sparing = Lock()
        self._retired: deque[int] = deque()
        self._spare: int | None = None
        self.number = 0
        self._fd = -1
        self._end = size - _FRAME.size
        self._mapping = mappable(folder)
        self._window: mmap.mmap | None = None
        self.left = 0
        """Bytes of payload that still go into the current file as one record."""
        self.failed = False
        """True once something could not be written; who tried again with success clears it."""
        self._rotate()

    @property
    def room(self) -> int:
        """Bytes that can be appended for certain, however full the disk is."""
        left = self.left + _FRAME.size
        return left + (0 if self._spare is None else self._size)

    @property
    def spare(self) -> bool:
        """True when the next file is made already."""
        return self._spare is not None

    def fits(self, payload: bytes) -> bool:
        """True when the record goes into the current file."""
        return len(payload) <= self.left

    def append(self, payload: bytes) -> int:
        """Write a record and return the number of its segment.

        Raises JournalError; then nothing was appended, and the next try takes the same place.
        """
        if len(payload) > self.left:
            self._rotate()
        at = self._end - self.left
        data = _FRAME.pack(len(payload), crc32(payload, at)) + payload
        # A disk that failed is written with system calls, which can fail: a store can only kill.
        if self._window is None or self.failed:
            self._write(at, data)
        else:
            try:
                self._window.write(data)
            except ValueError:  # it ends here
                self._write(at, data)
        self.left -= len(data)
        return self.number

    def prepare(self) -> None:
        """Keep one spare file of preallocated room; raises OSError when the disk is full."""
        with self._sparing:
            if self._spare is None:
                self._spare = self._made()

    def flush(self) -> None:
        """Make everything appended so far safe from power loss; raises JournalError."""
        try:
            with self._flushing:
                while self._retired:
                    _put_away(self._retired.popleft())
                os.utime(self._fd)  # stores do not say when they came
                os.fdatasync(self._fd)
        except OSError as error:
            self.failed = True
            raise JournalError(f"cannot flush the journal: {error.strerror}") from error

    def drop(self, number: int) -> None:
        """Remove a finished segment; never the current one."""
        assert number < self.number, number
        segment_path(self._folder, number).unlink(missing_ok=True)

    def rotate(self) -> None:
        """Go on in a new file; raises JournalError without room for one."""
        self._rotate()

    def close(self) -> None:
        """Flush what can be flushed and close the files."""
        self._unmap()
        with self._flushing, self._sparing:
            descriptors = [*self._retired, self._fd]
            if self._spare is not None:
                descriptors.append(self._spare)
            self._retired.clear()
            for descriptor in descriptors:
                _put_away(descriptor)

    def _write(self, at: int, data: bytes) -> None:
        """Write with a system call, and map what follows, unless the disk has failed."""
        self._unmap()
        try:
            written = os.pwrite(self._fd, data, at)
        except OSError as error:
            self.failed = True
            raise JournalError(f"cannot write the journal: {error.strerror}") from error
        if written != len(data):
            self.failed = True
            raise JournalError("cannot write the journal: a short write")
        if self._mapping and not self.failed:
            self._map(at + len(data))

    def _map(self, at: int) -> None:
        first = at - at % mmap.ALLOCATIONGRANULARITY
        if first < self._size:
            with contextlib.suppress(OSError):  # no memory for it: a system call needs none
                self._window = mmap.mmap(self._fd, min(WINDOW, self._size - first), offset=first)
                self._window.seek(at - first)

    def _unmap(self) -> None:
        if self._window is not None:
            self._window.close()
        self._window = None

    def _rotate(self) -> None:
        with self._sparing:
            spare = self._spare
            try:
                made = self._made() if spare is None else spare
                os.rename(self._folder / "spare", segment_path(self._folder, self.number + 1))
            except OSError as error:
                self.failed = True
                raise JournalError(f"no room for the journal: {error.strerror}") from error
            if self._fd >= 0:
                self._retired.append(self._fd)
            self._unmap()
            self._fd, self._spare = made, None
            self.number += 1
            self.left = self._end

    def _made(self) -> int:
        path = self._folder / "spare"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._allocate(descriptor, self._size)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return descriptor


def _put_away(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def segment_path(folder: Path, number: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{number:06d}.log"


def segment_paths(folder: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    return sorted(folder.glob("[0-9]*.log"))


def records(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of a segment; raises Damage where something else than zeros follows."""
    at, end = 0, len(data)
    while at + _FRAME.size <= end:
        length, check = _FRAME.unpack_from(data, at)
        if length == check == 0:
            return
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        if not 0 < length <= LONGEST or len(payload) < length or crc32(payload, at) != check:
            raise Damage(at)
        yield payload
        at += _FRAME.size + length
    if any(data[at:]):
        raise Damage(at)
