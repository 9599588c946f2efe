"""Server-sent events: any split of the bytes, and any line ends, give the same events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.wire import sse
from ezkielyna.wire.sse import Event, EventReader

LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
TEXT = st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20
).map(str.encode)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_.", max_size=12)
EVENTS = st.lists(
    st.builds(
        Event, NAMES, st.lists(TEXT, min_size=1, max_size=3).map(lambda lines: b"\n".join(lines))
    ),
    max_size=6,
)


def lines_of(event: Event) -> list[bytes]:
    lines = [b"event: " + event.name.encode()] if event.name else []
    return lines + [b"data: " + line for line in event.data.split(b"\n")]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def read(pieces: list[bytes]) -> list[Event]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


@given(EVENTS, st.data(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_and_any_line_ends_give_the_same_events(
    events: list[Event], data: st.DataObject, cuts: list[int]
) -> None:
    wire = b""
    for event in events:
        end = data.draw(LINE_ENDS)
        wire += b"".join(line + end for line in [*lines_of(event), b""])
    assert read(split(wire, cuts)) == events


@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=12))
def test_any_split_of_any_bytes_gives_the_same_events(noise: bytes, cuts: list[int]) -> None:
    assert read(split(noise, cuts)) == read([noise])


@given(st.lists(st.sampled_from([b"data: a", b"", b"\n", b"\r", b"\r\n", b": c", b"event: x"])))
def test_every_split_of_line_ends_gives_the_same_events(tokens: list[bytes]) -> None:
    wire = b"".join(tokens)
    whole = read([wire])
    assert read([wire[at : at + 1] for at in range(len(wire))]) == whole


def test_fields() -> None:
    wire = b"\xef\xbb\xbf: comment\nid: 7\nretry: 3\nevent: e\ndata:a\ndata:  b\ndata\n\n: ping\n\n"
    assert read([wire]) == [Event("e", b"a\n b\n")]


def test_separators_of_unicode_do_not_end_a_line() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf".encode()
    assert read([b"data: " + text + b"\n\n"]) == [Event("", text)]


def test_a_byte_order_mark_is_only_one_at_the_start() -> None:
    assert read([b"\xef", b"\xbb", b"\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"]) == [Event("", b"a")]


def test_an_event_without_its_blank_line_is_kept_at_the_end() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n\ndata: b") == [Event("", b"a")]
    assert reader.close() == [Event("", b"b")]
    assert reader.close() == []


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    reader = EventReader()
    reader.feed(b"data: " + b"x" * 900)
    with pytest.raises(UpstreamError):
        reader.feed(b"y" * 200)


def test_blocks_keep_comments() -> None:
    assert EventReader().blocks(b": c\r\ndata: x\r\n\r\n\r\n\r\n") == [b": c\ndata: x"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_large_event_in_small_pieces(size: int) -> None:
    data = b"x" * 30_000
    wire = b"data: " + data + b"\n\n"
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert read(pieces) == [Event("", data)]
