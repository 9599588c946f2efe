"""A stream in pieces: cut everywhere, or at random, as a network may cut it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from random import Random

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """Return the stream cut at these places, which are in order and inside of it."""
    return [stream[start:end] for start, end in pairwise([0, *places, len(stream)])]


def cut_at_every_byte(stream: bytes) -> Iterator[list[bytes]]:
    """Yield the stream in pieces, again and again, until it was cut at every byte once.

    A cut concerns the event that it goes through, so that every event is cut each time, at the
    first byte, at the second, and so on; those that are shorter than that stay whole.
    """
    starts = [0, *(end.end() for end in _END.finditer(stream))]
    events = [(start, end) for start, end in pairwise([*starts, len(stream)]) if start < end]
    for offset in range(max(end - start for start, end in events)):
        places = [start + offset for start, end in events if 0 < start + offset < end]
        if places:
            yield cut(stream, places)


def cut_at_random(stream: bytes, chance: Random, places: int = 50) -> Iterator[list[bytes]]:
    """Yield the stream in pieces until it was cut at so many places, ten at a time."""
    chosen = chance.sample(range(1, len(stream)), min(places, len(stream) - 1))
    for first in range(0, len(chosen), 10):
        yield cut(stream, sorted(chosen[first : first + 10]))


def splits(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """Yield the bytes in pieces of the given sizes (each at least 1), the rest in one piece."""
    start = 0
    for size in sizes:
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]
