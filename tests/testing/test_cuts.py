"""Streams in pieces: nothing is lost, and nowhere is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, repeat
from random import Random

import pytest

from ezkielyna.testing.cuts import cut_at_every_byte, cut_at_random, splits

STREAM = b"data: one\n\n: two\r\n\r\ndata: three\r\rdata: four and no end"


def places(ways: Iterable[list[bytes]], stream: bytes) -> Counter[int]:
    """Return where these pieces were cut, and how often."""
    found: Counter[int] = Counter()
    for pieces in ways:
        assert b"".join(pieces) == stream
        assert all(pieces)
        found.update(list(accumulate(map(len, pieces)))[:-1])
    return found


@pytest.mark.parametrize("stream", [STREAM, STREAM + b"\n\n", b"no event", b"\n\n\n\n\n\n", b"x"])
def test_a_stream_is_cut_at_every_byte_once(stream: bytes) -> None:
    assert places(cut_at_every_byte(stream), stream) == Counter(range(1, len(stream)))


def test_a_stream_is_cut_at_so_many_places() -> None:
    found = places(cut_at_random(STREAM, Random(1), 33), STREAM)
    assert (len(found), set(found.values())) == (33, {1})
    assert len(list(cut_at_random(STREAM, Random(1), 33))) == 4
    short = places(cut_at_random(b"short", Random(1)), b"short")
    assert short == Counter(range(1, 5))


def test_splits_keep_every_byte() -> None:
    assert list(splits(b"abcdefg", iter([1, 2]))) == [b"a", b"bc", b"defg"]
    assert b"".join(splits(b"abcdefg", repeat(3))) == b"abcdefg"
