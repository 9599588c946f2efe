"""Answers in memory, as many as fit; who was not asked for longest makes room."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ezkielyna import Usage

OVERHEAD = 500
"""What an answer takes beside its body, in bytes; about."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer and what it took; `age_s` is in seconds."""

    body: bytes
    usage: Usage | None
    age_s: float = 0.0


class Shelf:
    """Keeps answers for `ttl_s` seconds, and `max_bytes` of them at most."""

    def __init__(
        self, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max = max_bytes
        self._ttl = ttl_s
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, Kept]] = OrderedDict()
        self.bytes = 0

    def get(self, place: bytes) -> Kept | None:
        """Return what is kept there; None when there is nothing, or it is too old."""
        entry = self._entries.get(place)
        if entry is None:
            return None
        since, kept = entry
        age = self._clock() - since
        if age >= self._ttl:
            self._drop(place)
            return None
        self._entries.move_to_end(place)
        return Kept(kept.body, kept.usage, age)

    def put(self, place: bytes, body: bytes, usage: Usage | None) -> None:
        """Keep an answer in the place of what was there."""
        self._drop(place)
        size = len(body) + OVERHEAD
        if size > self._max:
            return
        while self._entries and self.bytes + size > self._max:
            self._drop(next(iter(self._entries)))
        self._entries[place] = self._clock(), Kept(body, usage)
        self.bytes += size

    def _drop(self, place: bytes) -> None:
        entry = self._entries.pop(place, None)
        if entry is not None:
            self.bytes -= len(entry[1].body) + OVERHEAD
