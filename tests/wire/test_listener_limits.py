"""What a listener refuses, how long it waits, and how it drains."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)
from tornado.web import Application, RequestHandler

Make = Callable[..., Any]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Delegate(HTTPServerConnectionDelegate):
    """Answers "ok", or waits for `go` where a request is for /slow; notes what it hears."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.heard: list[str] = []
        self.max_body: int | None = None

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return Message(self, request_conn)


class Message(HTTPMessageDelegate):
    def __init__(self, owner: Delegate, connection: Any) -> None:
        self.owner = owner
        self.connection = connection
        self.size = 0

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self.owner.heard.append("headers")
        self.path = start_line.path
        self.headers = headers
        if self.owner.max_body is not None:
            self.connection.set_max_body_size(self.owner.max_body)
        if self.path == "/fails":
            raise ZeroDivisionError

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    def finish(self) -> None:
        self.owner.heard.append("finish")
        if self.path == "/slow":
            self.waiting = asyncio.ensure_future(self._later())
        else:
            self._reply()

    def on_connection_close(self) -> None:
        self.owner.heard.append("closed")

    async def _later(self) -> None:
        await self.owner.go.wait()
        self._reply()

    def _reply(self) -> None:
        body = b"%d" % self.size
        line = ResponseStartLine("HTTP/1.1", 200, "OK")
        self.connection.write_headers(line, HTTPHeaders({"Content-Length": str(len(body))}), body)
        self.connection.finish()


MALFORMED = {
    "no http": b"hello there\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "length and chunks": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length with a sign": POST + b"Content-Length: +1\r\n\r\na",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "no chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "zero in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
    "bare line feeds in chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
}


async def refused(client: Any, status: int, kind: str) -> dict[str, str]:
    got, headers, body = await client.answer()
    assert got == status
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == (kind, status)
    client.close()
    return dict(headers)


@pytest.mark.parametrize("fault", MALFORMED)
async def test_malformed_requests_are_refused(serving_on_llhttp: Make, fault: str) -> None:
    async with serving_on_llhttp(Delegate()) as server:
        client = await server.connect()
        await client.send(MALFORMED[fault])
        await refused(client, 400, "invalid_request")


@pytest.mark.parametrize("fault", ["no http", "length and chunks", "no chunk size"])
async def test_any_split_of_a_malformed_request_is_refused(
    serving_on_llhttp: Make, fault: str
) -> None:
    data = MALFORMED[fault]
    async with serving_on_llhttp(Delegate()) as server:
        for cut in range(1, len(data), 5):
            client = await server.connect()
            await client.send(data[:cut])
            await asyncio.sleep(0.001)
            await client.send(data[cut:])
            await refused(client, 400, "invalid_request")


async def test_requests_before_a_malformed_one_are_answered(serving_on_llhttp: Make) -> None:
    delegate = Delegate()
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        await client.send(GET + GET.replace(b"/", b"/slow", 1) + MALFORMED["no http"])
        assert (await client.answer())[0] == 200
        delegate.go.set()
        assert (await client.answer())[0] == 200
        await refused(client, 400, "invalid_request")


async def test_a_delegate_hears_that_its_request_broke(serving_on_llhttp: Make) -> None:
    delegate = Delegate()
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await asyncio.sleep(0.02)
        await client.send(b"zz\r\n")
        await refused(client, 400, "invalid_request")
    assert delegate.heard == ["headers", "closed"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 8_000 + b"\r\n",
        b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 400_000,
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_head_that_is_too_large(
    serving_on_llhttp: Make, head: bytes, at_once: bool
) -> None:
    delegate = Delegate()
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        if at_once:
            await client.send(head)
        else:
            for start in range(0, len(head), 8_000):
                await client.send(head[start : start + 8_000])
                await asyncio.sleep(0.001)
        await refused(client, 431, "headers_too_large")
    assert delegate.heard == []


async def test_a_head_within_the_limit(serving: Make) -> None:
    async with serving(Delegate()) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 32_000 + b"\r\n\r\n")
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 1001\r\n\r\n",
        POST + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
    ],
)
async def test_a_body_that_is_too_large(serving_on_llhttp: Make, request_: bytes) -> None:
    async with serving_on_llhttp(Delegate(), max_body=1000) as server:
        client = await server.connect()
        await client.send(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)
        assert (await client.answer())[2] == b"1000"
        await client.send(request_)
        await refused(client, 413, "request_too_large")


async def test_a_delegate_may_lower_the_limit_of_a_body(serving_on_llhttp: Make) -> None:
    delegate = Delegate()
    delegate.max_body = 10
    async with serving_on_llhttp(delegate) as server:
        client = await server.connect()
        await client.send(POST + b"Content-Length: 11\r\n\r\n" + b"x" * 11)
        await refused(client, 413, "request_too_large")
    assert delegate.heard == ["headers", "closed"]


async def test_the_client_sees_the_refusal_although_it_sends_on(serving_on_llhttp: Make) -> None:
    size = 15_000_000
    async with serving_on_llhttp(Delegate(), max_body=1000) as server:
        client = await server.connect()
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        sending = asyncio.ensure_future(client.send(b"x" * size))
        got, _, body = await client.answer()
        assert got == 413
        assert b"request_too_large" in body
        await asyncio.wait([sending], timeout=5)
        sending.exception()


async def test_too_many_connections(serving: Make, until: Any) -> None:
    async with serving(Delegate(), max_connections=2) as server:
        clients = [await server.connect() for _ in range(2)]
        for client in clients:
            await client.send(GET)
            assert (await client.answer())[0] == 200
        third = await server.connect()
        assert int((await refused(third, 503, "overloaded"))["retry-after"]) >= 1
        clients[0].close()
        await until(lambda: server.listener.connections == 1)
        fourth = await server.connect()
        await fourth.send(GET)
        assert (await fourth.answer())[0] == 200


async def seconds(action: Any) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.wait_for(action, 10)
    return loop.time() - begun


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo", b"\r\n\r\n"])
async def test_a_head_that_does_not_come(serving_on_llhttp: Make, sent: bytes) -> None:
    async with serving_on_llhttp(Delegate(), header_timeout_s=0.15) as server:
        client = await server.connect()
        await client.send(sent)
        assert 0.1 < await seconds(client.gone()) < 3


async def test_a_head_that_trickles(serving_on_llhttp: Make) -> None:
    async with serving_on_llhttp(Delegate(), header_timeout_s=0.2) as server:
        client = await server.connect()
        await client.send(GET)
        assert (await client.answer())[0] == 200

        async def trickle() -> None:
            for letter in b"GET / HTTP/1.1\r\nX: " + b"y" * 1000:
                await client.send(bytes([letter]))
                await asyncio.sleep(0.01)

        trickling = asyncio.ensure_future(trickle())
        assert 0.15 < await seconds(client.gone()) < 3
        trickling.cancel()


async def test_an_idle_connection_is_closed(serving: Make) -> None:
    async with serving(Delegate(), idle_timeout_s=0.2) as server:
        client = await server.connect()
        for _ in range(4):
            await client.send(GET)
            assert (await client.answer())[0] == 200
            await asyncio.sleep(0.06)
        assert 0.05 < await seconds(client.gone()) < 3


async def test_a_body_that_does_not_come(serving: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tornado.general")
    delegate = Delegate()
    async with serving(delegate, body_timeout_s=0.15) as server:
        client = await server.connect()
        await client.send(POST + b"Content-Length: 5\r\n\r\nab")
        assert 0.1 < await seconds(client.gone()) < 3
    assert delegate.heard == ["headers", "closed"]


async def test_a_request_at_work_has_all_the_time(serving: Make) -> None:
    times = {"header_timeout_s": 0.05, "body_timeout_s": 0.05, "idle_timeout_s": 0.05}
    delegate = Delegate()
    async with serving(delegate, **times) as server:
        client = await server.connect()
        await client.send(GET.replace(b"/", b"/slow", 1))
        await asyncio.sleep(0.3)
        delegate.go.set()
        assert (await client.answer())[0] == 200


async def test_a_fault_of_a_delegate_closes_its_connection_only(
    serving_on_llhttp: Make, loop_errors: list[BaseException]
) -> None:
    delegate = Delegate()
    async with serving_on_llhttp(delegate) as server:
        one, two = await server.connect(), await server.connect()
        await one.send(GET.replace(b"/", b"/fails", 1))
        assert await one.gone()
        await two.send(GET)
        assert (await two.answer())[0] == 200
    assert [type(error) for error in loop_errors] == [ZeroDivisionError]
    assert delegate.heard[:2] == ["headers", "closed"]


@pytest.mark.parametrize("cut", [0, 30, 110, 180])
async def test_an_offered_upgrade_is_ignored_and_the_body_read(
    serving_on_llhttp: Make, cut: int
) -> None:
    post = POST + (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: 7\r\n\r\nGET / H"
    )
    async with serving_on_llhttp(Delegate()) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(post[:cut])
            await asyncio.sleep(0.01)
            await client.send(post[cut:] + GET)
            assert (await client.answer())[2] == b"7"
            assert (await client.answer())[2] == b"0"


async def test_an_application_refuses_what_tornado_cannot_read(
    serving_on_llhttp: Make,
) -> None:
    async with serving_on_llhttp(Application([("/", RequestHandler)])) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        await refused(client, 400, "invalid_request")


async def test_draining(serving: Make, until: Any) -> None:
    delegate = Delegate()
    async with serving(delegate) as server:
        idle, busy, slow_body = [await server.connect() for _ in range(3)]
        await idle.send(GET)
        await idle.answer()
        await busy.send(GET.replace(b"/", b"/slow", 1))
        await slow_body.send(POST + b"Content-Length: 2\r\n\r\na")
        await until(lambda: delegate.heard.count("headers") == 3)
        server.listener.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        server.listener.close_idle()
        assert await idle.rest() == b""
        assert not await server.listener.drained(0.05)
        assert server.listener.connections == 2
        delegate.go.set()
        await slow_body.send(b"b")
        for client in (busy, slow_body):
            status, headers, _ = await client.answer()
            assert status == 200
            if server.wire == "llhttp":
                assert headers["connection"] == "close"
            assert await client.rest() == b""
        assert await server.listener.drained(5)
        assert server.listener.connections == 0


async def test_abort_all(serving: Make, until: Any) -> None:
    delegate = Delegate()
    async with serving(delegate) as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            await client.send(GET.replace(b"/", b"/slow", 1))
        await until(lambda: delegate.heard.count("finish") == 3)
        server.listener.abort_all()
        for client in clients:
            assert await client.gone()
        assert await server.listener.drained(5)
