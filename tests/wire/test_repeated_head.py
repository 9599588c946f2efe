"""A head that comes again is recognised by its bytes, and never makes another request of them."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.wire.listener import ListenerLimits
from ezkielyna.wire.request_connection import Context, RequestConnection
from ezkielyna.wire.request_reader import TRIES, RequestReader
from ezkielyna.wire.server_connection import ServerConnection

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX-A: 1\r\n\r\n"
LAST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nX-A: 1\r\ncontent-length: %d\r\n\r\n"

Seen = tuple[Any, list[tuple[str, str]], bytes, bool, bool, bool]


class Server:
    """What a reader needs of its connection."""

    def __init__(self) -> None:
        self.limits = ListenerLimits(max_body=200)
        self.context = Context("127.0.0.1")
        self.queue: deque[RequestConnection] = deque()


class CountedReader(RequestReader):
    """Counts how often the parser is asked."""

    parsed = 0

    def _parse(self, data: bytes) -> None:
        self.parsed += 1
        super()._parse(data)


class Reading:
    """A reader, and what it made of the bytes."""

    def __init__(self, tries: int = TRIES) -> None:
        self.server = Server()
        self.reader = CountedReader(cast(ServerConnection, self.server))
        self.reader._tries = tries

    def feed(self, data: bytes) -> None:
        if self.reader.fault is None:  # as a connection does
            self.reader.feed(data)

    def requests(self) -> list[Seen]:
        return [
            (
                one.start_line,
                sorted(one.headers.get_all()),
                b"".join(one.pieces),
                one.received == len(b"".join(one.pieces)),
                one.complete,
                one.keep_alive,
            )
            for one in self.server.queue
        ]


def whole(head: bytes, body: bytes) -> bytes:
    return head % len(body) + body


@pytest.mark.parametrize("head", [HEAD, LAST])
def test_the_parser_is_asked_once_while_the_head_comes_again(head: bytes) -> None:
    reading = Reading()
    bodies = [b"one", b"", b"three" * 10, b'{"a": "\r\n\r\n"}']
    for body in bodies:
        reading.feed(whole(head, body))
    assert [body for _, _, body, *_ in reading.requests()] == bodies
    assert reading.reader.parsed == 1
    notes = [one.headers.notes for one in reading.server.queue]  # type: ignore[attr-defined]
    assert all(each is notes[0] for each in notes)
    lengths = [dict(headers)["Content-Length"] for _, headers, *_ in reading.requests()]
    assert lengths == [str(len(body)) for body in bodies]


def test_heads_that_never_come_again_are_kept_no_more_after_a_few() -> None:
    reading = Reading()
    for number in range(3 * TRIES):
        reading.feed(whole(HEAD.replace(b"X-A: 1", b"X-A: %d" % (100 + number)), b"body"))
        assert (reading.reader._tries == 0) == (number + 1 >= TRIES)
    assert reading.reader.parsed == 3 * TRIES == len(reading.requests())


def test_a_body_that_is_too_large_is_refused_as_ever() -> None:
    reading = Reading()
    reading.feed(whole(HEAD, b"small"))
    reading.feed(whole(HEAD, b"x" * 201))
    assert len(reading.requests()) == 1
    assert reading.reader.fault is not None
    assert reading.reader.fault.status == 413


TAILS = (b"\r\nHost: h\r\n", b"\r\nHost: other\r\n", b"\nHost: h\n")
EXTRAS = (
    b"",
    b"X-Twice: 1\r\nX-Twice: 2\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
    b"X-Text: content-length: 3\r\n",
)
LENGTHS = (b"Content-Length: %d\r\n", b"CONTENT-LENGTH:%d\r\n", b"Content-Length:  %d \r\n", b"")
BODIES = (b"", b"{}", b"hello", b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nab", b"7\r\nabc")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(BODIES))
    length = draw(st.sampled_from(LENGTHS))
    head = b"POST /v1/x HTTP/1.1" + draw(st.sampled_from(TAILS)) + draw(st.sampled_from(EXTRAS))
    if length:
        head += length % (len(body) + draw(st.sampled_from((0, 0, 0, 0, 1, -1))) if body else 0)
    elif draw(st.booleans()):
        head, body = (
            head + b"Transfer-Encoding: chunked\r\n",
            b"%x\r\n%b\r\n0\r\n\r\n"
            % (
                len(body) or 1,
                body or b"x",
            ),
        )
    return draw(st.sampled_from((b"", b"", b"", b"\r\n"))) + head + b"\r\n" + body


@given(
    st.lists(requests(), min_size=1, max_size=3),
    st.lists(st.integers(0, 2), min_size=2, max_size=8),
    st.lists(st.integers(0, 2000), max_size=4),
)
def test_any_reads_make_the_requests_that_the_parser_makes(
    pool: list[bytes], order: list[int], cuts: list[int]
) -> None:
    reads: list[bytes] = []
    for number, choice in enumerate(order):
        data = pool[choice % len(pool)]
        at = cuts[number] % (len(data) + 1) if number < len(cuts) else 0
        reads += [part for part in (data[:at], data[at:]) if part]
    quick, slow = Reading(), Reading(tries=0)
    for data in reads:
        quick.feed(data)
        slow.feed(data)
        assert quick.requests() == slow.requests()
        assert type(quick.reader.fault) is type(slow.reader.fault)
        assert quick.reader.in_head == slow.reader.in_head
        assert (quick.reader.incoming is None) == (slow.reader.incoming is None)
    assert quick.reader.parsed <= slow.reader.parsed


def test_what_was_noted_of_a_head_is_not_said_of_another() -> None:
    reading = Reading()
    heads = [HEAD, HEAD, HEAD.replace(b"X-A: 1", b"X-A: 2"), HEAD]
    for head in heads:
        reading.feed(whole(head, b"{}"))
    notes = [one.headers.notes for one in reading.server.queue]  # type: ignore[attr-defined]
    assert notes[0] is notes[1]
    assert len({id(each) for each in notes[1:]}) == 3
