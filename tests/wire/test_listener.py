"""Both listeners: framing, keep-alive, back-pressure, disconnects, Tornado's Application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

Make = Callable[..., Any]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Recorded(HTTPMessageDelegate):
    """Keeps what it is told; `Recorder.answer` decides what it says."""

    def __init__(self, recorder: Recorder, connection: Any) -> None:
        self.recorder = recorder
        self.connection = connection
        self.events: list[str] = []
        self.pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Any:
        self.line, self.headers = start_line, headers
        self.events.append("headers")
        self.connection.set_close_callback(lambda: self.events.append("gone"))
        return self.recorder.on_headers(self)

    def data_received(self, chunk: bytes) -> Any:
        assert self.events[-1] in ("headers", "data")
        self.events.append("data")
        self.pieces.append(chunk)
        return self.recorder.on_data(self)

    def finish(self) -> None:
        self.events.append("finish")
        self.recorder.answer(self)

    def on_connection_close(self) -> None:
        self.events.append("closed")

    def reply(self, body: bytes = b"ok", status: int = 200, **headers: str) -> None:
        self.begin(body, status, **{"Content-Length": str(len(body)), **headers})
        self.connection.finish()

    def begin(self, first: bytes = b"", status: int = 200, **headers: str) -> Any:
        line = ResponseStartLine("HTTP/1.1", status, "Fine")
        named = HTTPHeaders({name.replace("_", "-"): value for name, value in headers.items()})
        return self.connection.write_headers(line, named, first)


class Recorder(HTTPServerConnectionDelegate):
    def __init__(self, answer: Callable[[Recorded], Any] | None = None) -> None:
        self.requests: list[Recorded] = []
        self.closed: list[object] = []
        self.answer = answer or (lambda request: request.reply(request.body or b"ok"))
        self.on_headers: Callable[[Recorded], Any] = lambda _: None
        self.on_data: Callable[[Recorded], Any] = lambda _: None

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        # Tornado begins a request before there is one; only those with a head count.
        request = Recorded(self, request_conn)
        inner = request.headers_received

        def counted(*given: Any) -> Any:
            self.requests.append(request)
            return inner(*given)

        request.headers_received = counted  # type: ignore[method-assign]
        return request

    def on_close(self, server_conn: object) -> None:
        self.closed.append(server_conn)


REQUESTS = {
    "get": (b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-A: 1 \r\nx-a: 2\r\n\r\n", b""),
    "length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"hello",
    ),
}


@pytest.mark.parametrize("form", REQUESTS)
async def test_any_split_of_a_request_gives_the_same(serving: Make, form: str) -> None:
    data, body = REQUESTS[form]
    recorder = Recorder()
    async with serving(recorder) as server:
        client = await server.connect()
        for cut in range(1, len(data) + 1):
            await client.send(data[:cut])
            await asyncio.sleep(0.001)
            await client.send(data[cut:])
            assert (await client.answer())[2] == (body or b"ok"), cut
    assert len(recorder.requests) == len(data)
    assert {request.line for request in recorder.requests} == {recorder.requests[0].line}
    assert {request.body for request in recorder.requests} == {body}
    if form == "get":
        assert recorder.requests[0].line == ("GET", "/a?b=c", "HTTP/1.1")
        assert recorder.requests[0].headers.get_list("X-A") == ["1", "2"]


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(serving: Make) -> None:
    running = 0

    def answer(request: Recorded) -> None:
        nonlocal running
        running += 1
        assert running == 1
        asyncio.get_running_loop().call_later(0.01, end, request)

    def end(request: Recorded) -> None:
        nonlocal running
        running -= 1
        request.reply(request.line.path.encode())

    async with serving(Recorder(answer)) as server:
        client = await server.connect()
        await client.send(b"".join(GET.replace(b"/", b"/%d" % n, 1) for n in range(10)))
        for number in range(10):
            assert (await client.answer())[2] == b"/%d" % number


async def test_pipelined_requests_that_are_answered_at_once_do_not_recurse(serving: Make) -> None:
    async with serving(Recorder()) as server:
        client = await server.connect()
        sending = asyncio.ensure_future(client.send(GET * 3000))
        for _ in range(3000):
            assert (await client.answer())[2] == b"ok"
        await sending


async def test_a_client_that_sends_far_ahead_is_held_back(serving: Make) -> None:
    requests: list[Recorded] = []
    body = b"x" * 10_000
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + body
    async with serving(Recorder(requests.append)) as server:
        client = await server.connect()
        sending = asyncio.ensure_future(client.send(post * 2000))
        await asyncio.sleep(0.2)
        assert len(requests) == 1
        assert not sending.done()
        for done in range(2000):
            while len(requests) <= done:
                await asyncio.sleep(0)
            requests[done].reply()
        await sending
        for _ in range(2000):
            assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
async def test_keep_alive(serving: Make, request_: bytes, closes: bool) -> None:
    async with serving(Recorder()) as server:
        client = await server.connect()
        await client.send(request_)
        _, headers, body = await client.answer()
        assert body == b"ok"
        if closes:
            assert await client.rest() == b""
            assert headers.get("connection", "close") == "close"
        else:
            await client.send(request_)
            assert (await client.answer())[2] == b"ok"
            assert headers.get("connection", "keep-alive").lower() == "keep-alive"


async def test_an_answer_without_length_is_sent_in_chunks(serving: Make) -> None:
    def answer(request: Recorded) -> None:
        request.begin(b"a")
        request.connection.write(b"")
        request.connection.write(b"bc")
        request.connection.finish()

    async with serving(Recorder(answer)) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            _, headers, body = await client.answer()
            assert (headers["transfer-encoding"], body) == ("chunked", b"abc")
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        _, headers, body = await client.answer()
        assert "transfer-encoding" not in headers
        assert body == b"abc"


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body(serving: Make, status: int) -> None:
    def answer(request: Recorded) -> None:
        request.begin(status=status)
        request.connection.finish()

    async with serving(Recorder(answer)) as server:
        client = await server.connect()
        await client.send(GET + GET)
        for _ in range(2):
            got, headers, _ = await client.answer()
            assert got == status
            assert not {"transfer-encoding", "content-length"} & set(headers)


async def test_head_gets_no_body(serving: Make) -> None:
    def answer(request: Recorded) -> None:
        request.begin(Content_Length="5")
        request.connection.finish()

    async with serving(Recorder(answer)) as server:
        client = await server.connect()
        await client.send(GET.replace(b"GET", b"HEAD") * 2)
        for _ in range(2):
            assert (await client.answer(bodiless=True))[1]["content-length"] == "5"


async def test_expect_continue(serving: Make) -> None:
    async with serving(Recorder()) as server:
        client = await server.connect()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await client.send(head)
        assert (await client.head())[0] == 100
        await client.send(b"hi")
        assert (await client.answer())[2] == b"hi"


async def test_remote_address_and_protocol(serving: Make) -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        client = await server.connect()
        await client.send(GET)
        await client.answer()
    context = recorder.requests[0].connection.context
    assert (context.remote_ip, context.protocol) == ("127.0.0.1", "http")


async def test_data_received_may_hold_the_client_back(serving: Make) -> None:
    gate = asyncio.get_running_loop().create_future()
    recorder = Recorder(lambda request: request.reply(b"%d" % len(request.body)))
    recorder.on_data = lambda request: gate if len(request.pieces) == 1 else None
    size = 15_000_000
    async with serving(recorder) as server:
        client = await server.connect()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        sending = asyncio.ensure_future(client.send(head + b"x" * size))
        await asyncio.sleep(0.2)
        assert not sending.done()
        assert len(recorder.requests[0].pieces) == 1
        gate.set_result(None)
        await sending
        assert (await client.answer())[2] == b"%d" % size


async def test_headers_received_may_hold_the_body_back(serving: Make) -> None:
    gate = asyncio.get_running_loop().create_future()
    recorder = Recorder()
    recorder.on_headers = lambda _: gate
    async with serving(recorder) as server:
        client = await server.connect()
        await client.send(REQUESTS["length"][0])
        await asyncio.sleep(0.05)
        assert recorder.requests[0].events == ["headers"]
        gate.set_result(None)
        assert (await client.answer())[2] == b"hello"
        await client.send(REQUESTS["length"][0])
        assert (await client.answer())[2] == b"hello"


async def test_writes_wait_for_a_slow_client(serving: Make) -> None:
    started: list[Recorded] = []
    async with serving(Recorder(started.append)) as server:
        client = await server.connect()
        await client.send(GET)
        while not started:
            await asyncio.sleep(0)
        request, piece, written = started[0], b"y" * 100_000, 0
        future = request.begin()
        while (written < 100 and future.done()) or written == 0:
            future = request.connection.write(piece)
            written += 1
            await asyncio.sleep(0)
        assert written < 100
        await asyncio.sleep(0.05)
        assert not future.done()
        reading = asyncio.ensure_future(client.answer())
        await asyncio.wait_for(future, 5)
        request.connection.finish()
        assert len((await reading)[2]) == written * len(piece)


async def test_a_client_that_leaves_before_the_answer_is_noticed_once(
    serving: Make, until: Any
) -> None:
    started: list[Recorded] = []
    recorder = Recorder(started.append)
    async with serving(recorder) as server:
        client = await server.connect()
        await client.send(GET)
        await until(lambda: started)
        client.close()
        await until(lambda: started[0].events == ["headers", "finish", "gone"])
        with pytest.raises(StreamClosedError):
            await started[0].begin(b"too late")
        with pytest.raises(StreamClosedError):
            await started[0].connection.write(b"too late")
        started[0].connection.finish()
    assert started[0].events == ["headers", "finish", "gone"]
    assert len(recorder.closed) == 1


async def test_a_client_that_leaves_within_its_request(serving: Make) -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        client = await server.connect()
        await client.send(REQUESTS["length"][0][:-2])
        async with asyncio.timeout(20):
            while not recorder.requests or "data" not in recorder.requests[0].events:
                await asyncio.sleep(0.01)
            client.close()
            while "closed" not in recorder.requests[0].events:
                await asyncio.sleep(0.01)
        assert recorder.requests[0].events == ["headers", "data", "closed"]


async def test_a_client_that_leaves_while_writers_wait(serving: Make) -> None:
    started: list[Recorded] = []
    async with serving(Recorder(started.append)) as server:
        client = await server.connect()
        await client.send(GET)
        while not started:
            await asyncio.sleep(0)
        request = started[0]
        request.begin()
        future = request.connection.write(b"z" * 50_000_000)
        assert not future.done()
        client.writer.transport.abort()
        done, _ = await asyncio.wait([future], timeout=5)
        assert done
        future.exception()  # Tornado's own future has none
        await asyncio.sleep(0.01)
        assert request.events[-1] == "gone"


async def test_a_client_that_left_in_the_middle_of_nothing_is_forgotten(
    serving: Make, until: Any
) -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        client = await server.connect()
        await client.send(GET)
        await client.answer()
        client.close()
        await until(lambda: server.listener.connections == 0)
        assert recorder.requests[0].events == ["headers", "finish"]


async def test_an_answer_before_the_end_of_the_request_ends_the_connection(serving: Make) -> None:
    recorder = Recorder(lambda _: pytest.fail("the request was answered before"))
    recorder.on_headers = lambda request: request.reply(b"no", 413, Connection="close")
    async with serving(recorder) as server:
        client = await server.connect()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
        await client.send(head + b"x" * 1000)
        assert (await client.answer())[::2] == (413, b"no")
        assert await client.gone()
    assert recorder.requests[0].events == ["headers", "closed"]


async def test_headers_with_line_breaks_are_refused(serving: Make) -> None:
    def answer(request: Recorded) -> None:
        with pytest.raises(ValueError, match="header"):
            request.begin(X="a\r\nEvil: 1")
        request.reply()

    async with serving(Recorder(answer)) as server:
        client = await server.connect()
        await client.send(GET)
        assert "evil" not in (await client.answer())[1]
