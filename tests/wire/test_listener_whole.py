"""What our listener does in one step is what Tornado's interface does in several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httputil import (
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)

from ezkielyna.wire.prepared import PreparedHeaders
from ezkielyna.wire.request_connection import RequestConnection

Make = Callable[..., Any]
Answer = Callable[[RequestConnection, bytes], None]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%b"


def lines(body: bytes, *, closes: bool) -> str:
    return f"X-A: 1\r\nContent-Length: {len(body)}\r\n" + "Connection: close\r\n" * closes


def in_one_step(*, closes: bool) -> Answer:
    def answer(request: RequestConnection, body: bytes) -> None:
        sent = b"" if request.start_line.method == "HEAD" else body
        request.answer(200, "OK", lines(body, closes=closes), sent, closes=closes)

    return answer


def in_two(*, closes: bool) -> Answer:
    def answer(request: RequestConnection, body: bytes) -> None:
        headers = PreparedHeaders(lines(body, closes=closes), length=len(body), closes=closes)
        request.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, body)
        request.finish()

    return answer


class Delegate(HTTPServerConnectionDelegate):
    """Answers in the next turn of the loop; takes whole requests itself where it is told to."""

    def __init__(self, answer: Answer, *, takes: bool = False) -> None:
        self.answer = answer
        self.takes = takes
        self.taken: list[bytes] = []
        self.begun = 0

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        self.begun += 1
        return Message(self, request_conn)

    def take(self, request: RequestConnection) -> bool:
        if self.takes:
            body = b"".join(request.pieces)
            self.taken.append(body)
            asyncio.get_running_loop().call_soon(self.answer, request, body)
        return self.takes


class Message(HTTPMessageDelegate):
    def __init__(self, delegate: Delegate, connection: RequestConnection) -> None:
        self.delegate = delegate
        self.connection = connection
        self.body = b""

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        answer = self.delegate.answer
        asyncio.get_running_loop().call_soon(answer, self.connection, self.body or b"ok")


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        GET,
        GET.replace(b"GET", b"HEAD"),
        GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        POST % b"hi",
    ],
)
async def test_a_whole_answer_is_what_head_and_end_are(
    serving_on_llhttp: Make, data: bytes, draining: bool, closes: bool
) -> None:
    said = []
    for way in (in_one_step, in_two):
        async with serving_on_llhttp(Delegate(way(closes=closes))) as server:
            client = await server.connect()
            await client.send(data)
            server.listener.draining = draining
            raw = await client.reader.readuntil(b"\r\n\r\n")
            body = b"" if data.startswith(b"HEAD") else await client.reader.readexactly(2)
            ended = b"Connection: close" in raw
            if ended:
                assert await client.rest() == b""
            else:
                await client.send(GET)
                assert (await client.answer())[0] == 200
            said.append((raw, body, ended))
    assert said[0] == said[1]
    assert said[0][2] == (
        closes or draining or b"Connection: close" in data or data.endswith(b"1.0\r\n\r\n")
    )


async def test_an_answer_to_a_client_that_left_goes_nowhere(serving_on_llhttp: Make) -> None:
    left = asyncio.Event()

    def answer(request: RequestConnection, body: bytes) -> None:
        request.set_close_callback(left.set)
        requests.append(request)

    requests: list[RequestConnection] = []
    async with serving_on_llhttp(Delegate(answer)) as server:
        client = await server.connect()
        await client.send(GET)
        while not requests:
            await asyncio.sleep(0.001)
        client.close()
        await asyncio.wait_for(left.wait(), 10)
        in_one_step(closes=False)(requests[0], b"ok")
        assert requests[0].finished


async def test_a_delegate_that_takes_whole_requests_gets_no_parts_of_others(
    serving_on_llhttp: Make,
) -> None:
    delegate = Delegate(in_one_step(closes=False), takes=True)
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        await client.send(POST % b"a1" + POST % b"b2")  # the second waits for its turn
        assert [(await client.answer())[2] for _ in range(2)] == [b"a1", b"b2"]
        assert (delegate.taken, delegate.begun) == ([b"a1", b"b2"], 0)
        await client.send((POST % b"c3")[:-1])
        await asyncio.sleep(0.05)
        assert delegate.begun == 1  # by Tornado's steps: its body was not there yet
        await client.send(b"3")
        assert (await client.answer())[2] == b"c3"
        await client.send(POST % b"d4")
        assert (await client.answer())[2] == b"d4"
    assert (delegate.taken, delegate.begun) == ([b"a1", b"b2", b"d4"], 1)


async def test_a_delegate_that_takes_nothing_is_served_as_any_other(
    serving_on_llhttp: Make,
) -> None:
    delegate = Delegate(in_one_step(closes=False))
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        for _ in range(3):
            await client.send(POST % b"hi")
            assert (await client.answer())[2] == b"hi"
    assert (delegate.taken, delegate.begun) == ([], 3)


async def test_what_a_delegate_fails_to_take_ends_its_connection_alone(
    serving_on_llhttp: Make, loop_errors: list[BaseException]
) -> None:
    class Failing(Delegate):
        def take(self, request: RequestConnection) -> bool:
            if request.pieces == [b"no"]:
                raise RuntimeError("cannot")
            return super().take(request)

    async with serving_on_llhttp(Failing(in_one_step(closes=False), takes=True)) as server:
        one, other = await server.connect(), await server.connect()
        await one.send(POST % b"no")
        assert await one.gone()
        await other.send(POST % b"hi")
        assert (await other.answer())[2] == b"hi"
    assert [str(error) for error in loop_errors] == ["cannot"]


async def test_far_more_than_is_read_ahead_is_taken_to_the_last(serving_on_llhttp: Make) -> None:
    delegate = Delegate(in_one_step(closes=False), takes=True)
    padded = POST.replace(b"Host: x", b"Host: x\r\nX-Pad: " + b"p" * 2000)
    bodies = [b"%02d" % number for number in range(100)]
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        await client.send(b"".join(padded % body for body in bodies))
        assert [(await client.answer())[2] for _ in bodies] == bodies
        await client.send(POST % b"hi")
        assert (await client.answer())[2] == b"hi"
    assert len(delegate.taken) + delegate.begun == len(bodies) + 1
    assert len(delegate.taken) > len(bodies) / 2
