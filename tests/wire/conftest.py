"""What the tests of the wire share: a collecting receiver, a pooled client, a raw HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.ioloop import IOLoop

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.contract.provider import TimeLimits, UpstreamRequest
from ezkielyna.wire.listener import ListenerLimits
from ezkielyna.wire.tornado_listener import AnyListener, listener
from ezkielyna.wire.upstream import Call, Upstream


class Collected:
    """A receiver that keeps what it hears, and objects to what the contract rules out."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.error: UpstreamError | None = None
        self.ended = asyncio.Event()
        self.heard = asyncio.Event()
        self.call: Call | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def headers_received(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.ended.is_set()
        assert self.status == 0
        self.status, self.headers = status, dict(headers)

    def data_received(self, data: bytes) -> None:
        assert not self.ended.is_set()
        assert self.status
        assert data
        self.pieces.append(data)
        self.heard.set()

    def finished(self) -> None:
        assert not self.ended.is_set()
        assert self.status
        self.ended.set()

    def failed(self, error: UpstreamError) -> None:
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()

    def start(self, upstream: Upstream, url: str, **options: Any) -> Collected:
        limits = options.pop("limits", None) or TimeLimits()
        body = options.pop("body", b"{}")
        headers = options.pop("headers", {})
        method = options.pop("method", "POST")
        assert not options
        self.call = upstream.start(UpstreamRequest(method, url, headers, body), limits, self)
        return self

    async def fetch(self, upstream: Upstream, url: str, **options: Any) -> Collected:
        self.start(upstream, url, **options)
        await asyncio.wait_for(self.ended.wait(), 10)
        return self


@pytest.fixture
def collected() -> type[Collected]:
    return Collected


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that must happen soon, however busy the machine is."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.fixture
def upstream(io_loop: IOLoop) -> Iterator[Upstream]:
    client = Upstream(proxy_from_environment=False)
    yield client
    io_loop.run_sync(client.close)
    assert client.connections == 0


class Client:
    """A raw HTTP client: writes bytes, reads bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        if bodiless or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(await self.reader.readline(), 16):
                pieces.append(await self.reader.readexactly(size))
                await self.reader.readline()
            await self.reader.readline()
            return status, headers, b"".join(pieces)
        if "content-length" not in headers:
            return status, headers, await self.rest()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 10)

    async def gone(self) -> bool:
        """True once the server closed, whatever it sent before."""
        with contextlib.suppress(ConnectionError):
            await self.rest()
        return True

    def close(self) -> None:
        self.writer.close()


class Serving:
    """A listener on a free port of loopback, and clients that connect to it."""

    def __init__(self, wire: str, delegate: HTTPServerConnectionDelegate, **limits: Any) -> None:
        self.wire = wire
        self.listener: AnyListener = listener(wire, delegate, ListenerLimits(**limits))
        self.port = 0
        self._clients: list[Client] = []

    async def __aenter__(self) -> Serving:
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await self.listener.start(sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.stop_accepting()
        for client in self._clients:
            client.close()
        self.listener.abort_all()
        assert await self.listener.drained(5)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client


@pytest.fixture(params=["llhttp", "tornado"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serving(wire: str) -> Callable[..., Serving]:
    return lambda delegate, **limits: Serving(wire, delegate, **limits)


@pytest.fixture
def serving_on_llhttp() -> Callable[..., Serving]:
    return lambda delegate, **limits: Serving("llhttp", delegate, **limits)


@pytest.fixture
def loop_errors(io_loop: IOLoop) -> list[BaseException]:
    """What reached the event loop's exception handler: expected where a test says so."""
    errors: list[BaseException] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(context["exception"])

    io_loop.asyncio_loop.set_exception_handler(note)
    return errors


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where asyncio logs an error that no test asked for."""
    yield
    assert not [r for r in caplog.records if r.name == "asyncio" and r.levelno >= logging.ERROR]
