"""A client that reads an endless stream slowly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)

Make = Callable[..., Any]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Endless(HTTPServerConnectionDelegate):
    """Streams for ever, as fast as the client reads."""

    gone = False

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        owner = self

        class Stream(HTTPMessageDelegate):
            def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
                request_conn.set_close_callback(self.left)

            def finish(self) -> None:
                self.task = asyncio.ensure_future(owner.stream(request_conn))

            def left(self) -> None:
                owner.gone = True
                self.task.cancel()

        return Stream()

    async def stream(self, connection: Any) -> None:
        connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"")
        while True:
            await connection.write(b"x" * 65536)
            await asyncio.sleep(0)


async def test_a_client_that_reads_nothing_is_closed(serving_on_llhttp: Make, until: Any) -> None:
    delegate = Endless()
    async with serving_on_llhttp(delegate, write_stall_s=0.2) as server:
        client = await server.connect()
        await client.send(GET)  # and nothing is read: the stream's buffer is bounded, too
        begun = asyncio.get_running_loop().time()
        await until(lambda: delegate.gone)
        assert asyncio.get_running_loop().time() - begun > 0.15


async def test_a_client_that_reads_slowly_is_not_closed(serving_on_llhttp: Make) -> None:
    delegate = Endless()
    async with serving_on_llhttp(delegate, write_stall_s=0.4) as server:
        client = await server.connect()
        await client.send(GET)
        for _ in range(15):
            await client.reader.readexactly(1_000_000)
            await asyncio.sleep(0.08)
        assert not delegate.gone
