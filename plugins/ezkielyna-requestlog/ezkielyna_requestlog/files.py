"""A file that several processes append to and any of them rotates."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class RotatingFile:
    """Appends lines; `NAME` becomes `NAME.1` from `max_bytes` on, and `NAME.1` becomes `NAME.2`.

    Lines are never torn or mixed: what is written at once is one append of the system's. A lock
    on `NAME.lock` lets one process rotate; the others notice that their file has another name.
    Raises OSError where the folder cannot be written to.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._opened()

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines that end with a line break."""
        if self._moved():
            self._reopen()
        elif os.fstat(self._file).st_size >= self._max_bytes:
            self._rotate()
        data = b"".join(lines)
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def rotated(self, number: int) -> Path:
        """Return the path of a rotated file; 1 is the newest."""
        return self.path.with_name(f"{self.path.name}.{number}")

    def _opened(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _reopen(self) -> None:
        os.close(self._file)
        self._file = self._opened()

    def _moved(self) -> bool:
        """True when another process rotated the file, or somebody removed it."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return True
        ours = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _rotate(self) -> None:
        with self._locked():
            if not self._moved():
                self.rotated(self._keep).unlink(missing_ok=True)
                for number in range(self._keep - 1, 0, -1):
                    if self.rotated(number).exists():
                        self.rotated(number).rename(self.rotated(number + 1))
                self.path.rename(self.rotated(1))
            self._reopen()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
