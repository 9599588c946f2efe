"""The counts of all workers of a data folder: each writes its own, one adds them up.

A scrape reaches one worker only. Every worker keeps its counts in `PROCESS.json` and holds a lock
on `PROCESS.lock` while it lives. The file of a worker that is gone is added to `ended.json` by the
next worker that starts or ends, so counts never fall, whatever is restarted; only gauges of the
dead are forgotten.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]
Counts = dict[tuple[str, Labels], float]
"""Samples by name and labels."""

ENDED = "ended"


class Shared(Collector):
    """Collects the sums of all workers; `own` are the counts of this one, read directly."""

    def __init__(self, folder: Path, own: CollectorRegistry) -> None:
        self._folder = folder
        self._own = own
        self._process = uuid.uuid4().hex[:12]
        self._lock: int | None = None
        self._writing = threading.Lock()

    def open(self) -> None:
        """Take a place in the folder and take over what dead workers left; raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_EX):
            self._lock = _opened(self._path(self._process, "lock"))
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._bury()
        self.write()

    def write(self) -> None:
        """Write this worker's counts where the others find them; from any thread."""
        with self._writing:
            self._put(self._process, _samples(self._own.collect()))

    def close(self) -> None:
        """Add this worker's counts to those of the ended."""
        if self._lock is None:
            return
        self.write()
        os.close(self._lock)
        self._lock = None
        with self._locked(fcntl.LOCK_EX):
            self._bury()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with the sums of all workers.

        What is shown was written before, so that no other worker shows less later.
        """
        self.write()
        others: Counts = {}
        with self._locked(fcntl.LOCK_SH):
            for path in self._folder.glob("*.json"):
                if path.stem != self._process:
                    _add(others, self._left(path))
        for metric in self._own.collect():
            yield _summed(metric, others)

    def _bury(self) -> None:
        """Add what workers left that hold their locks no more; the folder is locked."""
        gone = [path for path in self._folder.glob("*.lock") if self._is_gone(path)]
        if not gone:
            return
        counts = _read(self._path(ENDED, "json"))
        for path in gone:
            _add(counts, self._left(self._path(path.stem, "json")))
        self._put(ENDED, counts)
        for path in gone:
            self._path(path.stem, "json").unlink(missing_ok=True)
            path.unlink()

    def _left(self, path: Path) -> Counts:
        """Return a worker's counts; what is so now only while it lives."""
        counts = _read(path)
        lock = path.with_suffix(".lock")
        if lock.exists() and not self._is_gone(lock):
            return counts
        return {key: count for key, count in counts.items() if _lasts(key[0])}

    def _is_gone(self, path: Path) -> bool:
        if path.stem == "folder" or (path.stem == self._process and self._lock is not None):
            return False
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _put(self, name: str, counts: Counts) -> None:
        new = self._path(name, "new")
        rows = [[sample, dict(labels), count] for (sample, labels), count in counts.items()]
        new.write_bytes(orjson.dumps(rows))
        new.replace(self._path(name, "json"))

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / f"{name}.{ending}"

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        descriptor = _opened(self._path("folder", "lock"))
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _read(path: Path) -> Counts:
    try:
        rows = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return {(name, tuple(sorted(labels.items()))): count for name, labels, count in rows}


def _add(counts: Counts, more: Counts) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0.0) + count


def _samples(metrics: Iterable[Metric]) -> Counts:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def _lasts(name: str) -> bool:
    """True for what counts, as opposed to what is so now."""
    return name.endswith(("_total", "_count", "_sum", "_bucket"))


def _summed(metric: Metric, others: Counts) -> Metric:
    """Return a metric with the others' samples added to its own."""
    own = _samples([metric])
    belonging = tuple(f"{metric.name}{end}" for end in ("", "_total", "_count", "_sum", "_bucket"))
    _add(own, {key: count for key, count in others.items() if key[0] in belonging})
    summed = Metric(metric.name, metric.documentation, metric.type)
    for (name, labels), count in own.items():
        summed.add_sample(name, dict(labels), count)
    return summed
