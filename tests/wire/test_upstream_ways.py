"""TLS, proxies, compressed answers."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from ezkielyna.testing.scripted import Script, ScriptedUpstream, Turn, answering, streaming
from ezkielyna.wire.decoding import MOST_AT_ONCE
from ezkielyna.wire.proxies import Proxies, Proxy
from ezkielyna.wire.target import Origin
from ezkielyna.wire.upstream import Upstream

Collected = Any

AUTHORITY = trustme.CA()


def server_context(name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def client(**options: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(**{"proxy_from_environment": False, "ssl_context": trusting(), **options})
    try:
        yield upstream
    finally:
        await upstream.close()


async def test_tls_with_reuse_and_pause(collected: type[Collected]) -> None:
    pieces = [b"x" * 50_000] * 100
    async with (
        ScriptedUpstream(streaming(pieces), ssl_context=server_context()) as server,
        client() as upstream,
    ):
        for _ in range(2):
            got = collected().start(upstream, server.url)
            await got.heard.wait()
            got.call.pause()
            await asyncio.sleep(0.1)
            paused_at = len(got.body)
            await asyncio.sleep(0.1)
            assert len(got.body) == paused_at < 5_000_000
            got.call.resume()
            await asyncio.wait_for(got.ended.wait(), 10)
            assert (got.error, len(got.body)) == (None, 5_000_000)
        assert server.connections == 1


async def test_tls_abort(collected: type[Collected], until: Any) -> None:
    script = streaming([b"x"] * 1000, delay_s=0.01)
    async with (
        ScriptedUpstream(script, ssl_context=server_context()) as server,
        client() as upstream,
    ):
        got = collected().start(upstream, server.url)
        await got.heard.wait()
        got.call.abort()
        await until(lambda: server.gone_at)
        assert not got.ended.is_set()


@pytest.mark.parametrize("fault", ["unknown authority", "another name"])
async def test_tls_that_cannot_be_trusted(collected: type[Collected], fault: str) -> None:
    name = "elsewhere.example" if fault == "another name" else "localhost"
    options = {"ssl_context": ssl.create_default_context()} if fault == "unknown authority" else {}
    served = server_context(name)
    async with ScriptedUpstream(ssl_context=served) as server, client(**options) as upstream:
        got = await collected().fetch(upstream, f"https://localhost:{server.port}")
        assert got.error is not None
        assert got.error.message == "The upstream could not be reached."
        assert server.requests == []


class TinyProxy:
    """A forward proxy: tunnels by CONNECT, forwards absolute-form requests; notes the heads."""

    def __init__(self, *, refuse: bytes = b"", tls: bool = False) -> None:
        self.heads: list[bytes] = []
        self.refuse = refuse
        self.tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TinyProxy:
        context = server_context() if self.tls else None
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._proxy(reader, writer)
        finally:
            writer.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refuse:
            writer.write(self.refuse)
            return
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        authority = target if method == "CONNECT" else target.split("/")[2]
        port = int(authority.rpartition(":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(head)
        await asyncio.gather(self._pump(far_reader, writer), self._pump(reader, far_writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("tls_to_proxy", [False, True])
async def test_https_goes_through_a_tunnel(
    collected: type[Collected], monkeypatch: pytest.MonkeyPatch, tls_to_proxy: bool
) -> None:
    async with (
        TinyProxy(tls=tls_to_proxy) as proxy,
        ScriptedUpstream(answering(200, {}, b"x"), ssl_context=server_context()) as server,
    ):
        scheme = "https" if tls_to_proxy else "http"
        address = f"{scheme}://me:se%40cret@localhost:{proxy.port}"
        monkeypatch.setenv("HTTPS_PROXY", address)
        async with client(proxy_from_environment=True) as upstream:
            for _ in range(2):
                got = await collected().fetch(upstream, server.url)
                assert (got.error, got.body) == (None, b"x")
    assert len(proxy.heads) == 1
    head = proxy.heads[0].decode()
    assert head.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6c2VAY3JldA==\r\n" in head
    assert "proxy-authorization" not in server.requests[0].headers
    assert server.requests[0].target == "/"


async def test_http_goes_through_a_proxy_in_absolute_form(
    collected: type[Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TinyProxy() as proxy, ScriptedUpstream(answering(200, {}, b"x")) as server:
        monkeypatch.setenv("http_proxy", f"me:secret@127.0.0.1:{proxy.port}")
        async with client(proxy_from_environment=True) as upstream:
            got = await collected().fetch(upstream, server.url + "/a?b")
            assert (got.error, got.body) == (None, b"x")
    head = proxy.heads[0].decode()
    assert head.startswith(f"POST {server.url}/a?b HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\nno",
        b"SMTP\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"\r\n",
    ],
)
async def test_a_proxy_that_refuses(
    collected: type[Collected], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async with TinyProxy(refuse=answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        async with client(proxy_from_environment=True) as upstream:
            got = await collected().fetch(upstream, "https://localhost:1/")
            assert got.error is not None
            assert got.error.message == "The upstream could not be reached."
            assert upstream.connections == 0


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "bypassed"),
    [
        ("*", "api.example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        ("example.com", "example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("Example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("10.0.0.0/8, 127.0.0.1", "10.1.2.3", 443, True),
        ("10.0.0.0/8, 127.0.0.1", "127.0.0.1", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("::1", "::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:444", "::1", 443, False),
        ("", "api.example.com", 443, False),
        (" , ", "api.example.com", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, bypassed: bool) -> None:
    proxies = Proxies({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy})
    assert (proxies.before(Origin("https", host, port)) is None) == bypassed
    assert proxies.before(Origin("http", host, port)) is None


def test_which_variable_names_the_proxy() -> None:
    origin = Origin("http", "x", 80)
    both = Proxies({"http_proxy": "http://lower:1", "HTTP_PROXY": "http://upper:1"}).before(origin)
    assert both is not None
    assert both.origin.host == "lower"
    cgi = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert Proxies(cgi).before(origin) is None
    assert Proxies({"HTTP_PROXY": ""}).before(origin) is None


@pytest.mark.parametrize("url", ["socks5://x:1", "http://", "http://x:port", "ftp://secret@x"])
def test_a_proxy_that_cannot_be_used_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|[Pp]ort") as caught:
        Proxy.at(url)
    assert "secret" not in str(caught.value)


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


TEXT = b"data: one\n\n" * 300

COMPRESSED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-Gzip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
}


def compressed(encoding: str, data: bytes) -> Script:
    return answering(200, {"content-encoding": encoding}, data)


@pytest.mark.parametrize("form", COMPRESSED)
async def test_a_compressed_answer_is_decompressed(
    upstream: Upstream, collected: type[Collected], form: str
) -> None:
    async with ScriptedUpstream(compressed(*COMPRESSED[form])) as server:
        for _ in range(2):
            got = await collected().fetch(upstream, server.url)
            assert (got.error, got.body) == (None, TEXT)
            assert not {"content-encoding", "content-length"} & set(got.headers)
        assert server.connections == 1


@pytest.mark.parametrize("form", COMPRESSED)
async def test_any_split_of_a_compressed_answer(
    upstream: Upstream, collected: type[Collected], form: str
) -> None:
    encoding, data = COMPRESSED[form]
    cut = 0

    async def script(turn: Turn) -> None:
        await turn.begin(200, {"content-encoding": encoding})
        for piece in (data[:cut], data[cut:]):
            if piece:
                await turn.chunk(piece)
                await asyncio.sleep(0.001)
        await turn.end()

    async with ScriptedUpstream(script) as server:
        for cut in range(len(data) + 1):
            got = await collected().fetch(upstream, server.url)
            assert (got.error, got.body) == (None, TEXT), cut


@pytest.mark.parametrize("form", ["gzip", "deflate", "raw deflate"])
async def test_truncated_compressed_data_is_a_cut_answer(
    upstream: Upstream, collected: type[Collected], form: str
) -> None:
    encoding, data = COMPRESSED[form]
    async with ScriptedUpstream(compressed(encoding, data[:-10])) as server:
        got = await collected().fetch(upstream, server.url)
    assert got.error is not None
    assert got.error.message == "The upstream's answer was cut short."


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("br", b"x"),
        ("gzip, gzip", b"x"),
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(bytes(MOST_AT_ONCE + 1))),
    ],
)
async def test_compressed_answers_that_cannot_be_read(
    upstream: Upstream, collected: type[Collected], encoding: str, data: bytes
) -> None:
    async with ScriptedUpstream(compressed(encoding, data)) as server:
        got = await collected().fetch(upstream, server.url)
        assert got.error is not None
        assert got.body == b""
        assert upstream.connections == 0


async def test_an_encoding_without_a_body(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(compressed("gzip", b""), compressed("identity", b"x")) as server:
        got = await collected().fetch(upstream, server.url)
        assert (got.error, got.body) == (None, b"")
        got = await collected().fetch(upstream, server.url)
        assert (got.error, got.body) == (None, b"x")
