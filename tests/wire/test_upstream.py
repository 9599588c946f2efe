"""The upstream client: answers of every form, any split, reuse, retry, refusal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ezkielyna.contract.errors import UpstreamError, UpstreamTimeout
from ezkielyna.testing.scripted import Script, ScriptedUpstream, Turn, answering, streaming
from ezkielyna.wire.upstream import Upstream

Collected = Any

ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2 \r\n\r\nhello", b"hello"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"hello",
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
}


def raw(data: bytes) -> Script:
    async def script(turn: Turn) -> None:
        await turn.send(data)

    return script


def cutting(data: bytes) -> Script:
    async def script(turn: Turn) -> None:
        await turn.send(data)
        await turn.cut()

    return script


@pytest.mark.parametrize("form", ANSWERS)
async def test_an_answer_of_any_form_is_read_and_its_connection_reused(
    upstream: Upstream, collected: type[Collected], form: str
) -> None:
    answer, body = ANSWERS[form]
    async with ScriptedUpstream(raw(answer)) as server:
        for _ in range(3):
            got = await collected().fetch(upstream, server.url + "/v1/x?y=z")
            assert got.error is None
            assert got.body == body
    assert server.connections == 1
    assert "link" not in got.headers
    assert "x-trailer" not in got.headers
    assert got.headers.get("x-a") == ("1, 2" if form == "length" else None)


@pytest.mark.parametrize("form", ANSWERS)
async def test_any_split_of_an_answer_gives_the_same(
    upstream: Upstream, collected: type[Collected], form: str
) -> None:
    answer, body = ANSWERS[form]
    cut = 0

    async def script(turn: Turn) -> None:
        await turn.send(answer[:cut])
        await asyncio.sleep(0.001)
        await turn.send(answer[cut:])

    async with ScriptedUpstream(script) as server:
        whole = await collected().fetch(upstream, server.url)
        for cut in range(len(answer) + 1):
            got = await collected().fetch(upstream, server.url)
            assert (got.status, got.headers, got.body) == (whole.status, whole.headers, body), cut
    assert server.connections == 1


async def test_an_answer_that_comes_byte_by_byte(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async def script(turn: Turn) -> None:
        await turn.trickle(ANSWERS["chunked"][0])

    async with ScriptedUpstream(script) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.body == b"hello"
    assert got.pieces == [b"h", b"e", b"l", b"l", b"o"]


async def test_one_read_is_one_call_of_the_receiver(
    upstream: Upstream, collected: type[Collected]
) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % letter for letter in b"abcdef") + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with ScriptedUpstream(raw(head + chunks)) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.pieces == [b"abcdef"]


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_the_end_of_the_connection_may_end_the_body(
    upstream: Upstream, collected: type[Collected], first: bytes
) -> None:
    async with ScriptedUpstream(cutting(first + b"to the end")) as server:
        got = await collected().fetch(upstream, server.url)
        again = await collected().fetch(upstream, server.url)
    assert got.error is None
    assert got.body == again.body == b"to the end"
    assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokgarbage",
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_reused(
    upstream: Upstream, collected: type[Collected], first: bytes
) -> None:
    async with ScriptedUpstream(raw(first)) as server:
        for _ in range(2):
            got = await collected().fetch(upstream, server.url)
            assert got.error is None
            assert got.body == b"ok"
        assert server.connections == 2


async def test_what_an_idle_upstream_says_unasked_is_never_an_answer(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async def script(turn: Turn) -> None:
        await turn.answer(200, {}, b"mine")
        await asyncio.sleep(0.05)
        await turn.answer(200, {}, b"nobody's")

    async with ScriptedUpstream(script) as server:
        assert (await collected().fetch(upstream, server.url)).body == b"mine"
        await asyncio.sleep(0.1)
        assert (await collected().fetch(upstream, server.url)).body == b"mine"
        assert server.connections == 2


async def test_head_has_no_body(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as server:
        got = await collected().fetch(upstream, server.url, method="HEAD", body=b"")
    assert (got.error, got.headers["content-length"], got.body) == (None, "9", b"")


async def test_a_request_arrives_as_it_was_meant(
    upstream: Upstream, collected: type[Collected]
) -> None:
    headers = {"Authorization": "Bearer x", "content-length": "7", "Host": "elsewhere", "TE": "x"}
    body = b"x" * 3_000_000
    async with ScriptedUpstream() as server:
        await collected().fetch(upstream, server.url + "/a%20b?c=d#e", headers=headers, body=body)
        await collected().fetch(upstream, server.url, method="GET", body=b"")
    first, second = server.requests
    assert (first.method, first.target, first.body) == ("POST", "/a%20b?c=d", body)
    assert first.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "authorization": "Bearer x",
        "content-length": "3000000",
    }
    assert (second.method, second.target) == ("GET", "/")
    assert "content-length" not in second.headers


@pytest.mark.parametrize(
    ("url", "headers", "method"),
    [
        ("http://127.0.0.1:9/\r\nX: y", {}, "POST"),
        ("http://127.0.0.1:9/a b", {}, "POST"),
        ("http://127.0.0.1:9/é", {}, "POST"),
        ("http://name:secret@127.0.0.1:9/", {}, "POST"),
        ("http://127.0.0.1:notaport/", {}, "POST"),
        ("ftp://127.0.0.1:9/", {}, "POST"),
        ("http:///x", {}, "POST"),
        ("/x", {}, "POST"),
        ("http://127.0.0.1:9/", {"X": "a\r\nEvil: 1"}, "POST"),
        ("http://127.0.0.1:9/", {"X": "a\nEvil: 1"}, "POST"),
        ("http://127.0.0.1:9/", {"X": "a\rb"}, "POST"),
        ("http://127.0.0.1:9/", {"X\r\nEvil": "a"}, "POST"),
        ("http://127.0.0.1:9/", {"X": "a\0b"}, "POST"),
        ("http://127.0.0.1:9/", {"X": "€"}, "POST"),
        ("http://127.0.0.1:9/", {}, "POST /x HTTP/1.1\r\n\r\nGET"),
        ("http://127.0.0.1:9/", {}, "GET /"),
    ],
)
async def test_what_could_smuggle_is_refused(
    upstream: Upstream, collected: type[Collected], url: str, headers: dict[str, str], method: str
) -> None:
    got = collected().start(upstream, url, headers=headers, method=method)
    assert got.error is None  # never from within start
    await asyncio.wait_for(got.ended.wait(), 1)
    assert got.error is not None
    assert not got.error.retryable
    assert "9" not in got.error.message
    assert upstream.connections == 0


async def test_a_refused_request_can_be_aborted(
    upstream: Upstream, collected: type[Collected]
) -> None:
    got = collected().start(upstream, "ftp://x/")
    got.call.abort()
    await asyncio.sleep(0.01)
    assert not got.ended.is_set()


async def test_redirects_are_not_followed(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(answering(302, {"location": "/elsewhere"})) as server:
        got = await collected().fetch(upstream, server.url)
    assert (got.status, len(server.requests)) == (302, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnothex\r\n",
    ],
)
async def test_garbage_fails_the_call(
    upstream: Upstream, collected: type[Collected], answer: bytes
) -> None:
    async with ScriptedUpstream(raw(answer)) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.error is not None
    assert got.error.message == "The upstream's answer is not HTTP."
    assert got.error.status == 502


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000,
    ],
)
async def test_an_endless_head_fails_the_call(
    upstream: Upstream, collected: type[Collected], head: bytes
) -> None:
    async with ScriptedUpstream(raw(head)) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.error is not None
    assert got.status == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ],
)
@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_body_fails_after_what_was_delivered(
    upstream: Upstream, collected: type[Collected], answer: bytes, reset: bool
) -> None:
    async def script(turn: Turn) -> None:
        await turn.send(answer)
        await asyncio.sleep(0.02)
        if reset:
            turn.reset()
        else:
            await turn.cut()

    async with ScriptedUpstream(script) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.body == b"abc"
    assert got.error is not None
    assert got.error.message == "The upstream's answer was cut short."
    assert len(server.requests) == 1


async def test_a_reset_never_completes_a_body_without_length(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async def script(turn: Turn) -> None:
        await turn.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await asyncio.sleep(0.02)
        turn.reset()

    async with ScriptedUpstream(script) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.error is not None


async def test_nobody_there(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream() as server:
        url = server.url
    got = await collected().fetch(upstream, url)
    assert type(got.error) is UpstreamError
    assert got.error.retryable
    assert got.error.message == "The upstream could not be reached."
    assert isinstance(got.error.__cause__, OSError)


async def test_a_stream_is_pushed_as_it_comes(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(streaming([b"a", b"b", b"c"], delay_s=0.02)) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.pieces == [b"a", b"b", b"c"]
    assert got.headers["content-type"] == "text/event-stream"


async def test_an_early_answer_with_the_request_half_sent(
    upstream: Upstream, collected: type[Collected]
) -> None:
    done = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await done.wait()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        got = await collected().fetch(upstream, url, body=b"x" * 30_000_000)
        await asyncio.sleep(0.05)
    finally:
        server.close()
        done.set()
        await asyncio.sleep(0.01)
    assert (got.status, got.body, got.error) == (413, b"no", None)
    assert upstream.connections == 0


async def test_every_error_is_an_upstream_error() -> None:
    assert issubclass(UpstreamTimeout, UpstreamError)
