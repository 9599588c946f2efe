"""Tornado's own Application runs unchanged on both listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.web import Application, RequestHandler, stream_request_body

Make = Callable[..., Any]


class Page(RequestHandler):
    def get(self) -> None:
        self.set_cookie("a", "b")
        self.write(f"<p>{self.get_argument('name', 'you')}</p>")

    def head(self) -> None:
        self.get()

    def post(self) -> None:
        self.write({"got": self.get_body_argument("field")})


class Moved(RequestHandler):
    def get(self) -> None:
        self.redirect("/")


class Slow(RequestHandler):
    async def get(self) -> None:
        for number in range(3):
            self.write(f"{number};")
            await self.flush()
            await asyncio.sleep(0.01)


@stream_request_body
class Upload(RequestHandler):
    def initialize(self) -> None:
        self.size = 0

    async def prepare(self) -> None:
        await asyncio.sleep(0.01)

    async def data_received(self, chunk: bytes) -> None:
        await asyncio.sleep(0)
        self.size += len(chunk)

    def put(self) -> None:
        self.write(str(self.size))


async def test_a_tornado_application_runs_unchanged(serving: Make) -> None:
    application = Application(
        [(r"/", Page), (r"/moved", Moved), (r"/slow", Slow), (r"/upload", Upload)]
    )
    async with serving(application) as server:
        client = await server.connect()
        await client.send(b"GET /?name=me HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, body) == (200, b"<p>me</p>")
        assert headers["set-cookie"] == "a=b; Path=/"
        etag = headers["etag"].encode()
        await client.send(
            b"GET /?name=me HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + etag + b"\r\n\r\n"
        )
        assert (await client.answer())[0] == 304
        await client.send(b"GET /moved HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["location"]) == (302, "/")
        await client.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nfield=here"
        )
        assert (await client.answer())[2] == b'{"got": "here"}'
        await client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[2] == b"0;1;2;"
        await client.send(b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
        await client.send(b"u" * 500_000)
        assert (await client.answer())[2] == b"500000"
        await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer(bodiless=True))[1]["content-length"] == "10"
