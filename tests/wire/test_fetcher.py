"""Images that customers name are fetched from public addresses only, once, and never far."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from ezkielyna.contract.provider import TimeLimits
from ezkielyna.contract.requests import Media
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering
from ezkielyna.wire import fetcher
from ezkielyna.wire.addresses import is_public
from ezkielyna.wire.fetcher import MOST_BYTES, Fetcher, FetchRefused

PNG = b"\x89PNG\r\n\x1a\n and so on"
IMAGE = {"content-type": "image/png"}
LOCAL = ["127.0.0.0/8"]

Resolve = Callable[..., dict[str, list[str]]]


@contextlib.asynccontextmanager
async def fetching(*allow: str, **options: Any) -> AsyncIterator[Fetcher]:
    opened = Fetcher(allow, **options)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Give what makes names resolve to addresses; it returns the look-ups there were."""

    def make(**names: list[str]) -> dict[str, list[str]]:
        asked: dict[str, list[str]] = {}

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            found = names[host.replace(".", "_")]
            asked.setdefault(host, []).append("looked up")
            return [(2, 1, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return asked

    return make


async def reason(opened: Fetcher, *urls: str) -> str:
    with pytest.raises(FetchRefused) as refused:
        await opened.fetch(urls)
    assert refused.value.url in urls
    return refused.value.reason


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1"),
        *("127.255.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.170"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255"),
        *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::7f00:1"),
        *("64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:808::1"),
        *("3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *("ff02::1", "4000::1", "", "localhost", "127.1", "0x7f.1"),
    ],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address, 443)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.15.0.1", "172.32.0.1", "2606:4700::1111"],
)
def test_what_is_public(address: str) -> None:
    assert is_public(address, 443)
    assert is_public(address, 80)
    assert not is_public(address, 8080), "ports of the web only"


def test_what_the_operator_allows() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("::1"))
    assert is_public("10.1.2.3", 9000, allowed)
    assert is_public("::1", 9000, allowed)
    assert not is_public("10.2.2.3", 80, allowed)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "0.0.0.0"]
)
async def test_no_way_of_writing_loopback_leads_there(host: str) -> None:
    async with ScriptedUpstream(answering(200, IMAGE, PNG)) as server, fetching() as opened:
        assert "no public server" in await reason(opened, f"http://{host}:{server.port}/a.png")
        assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://user@8.8.8.8/",
        "http://8.8.8.8:22/",
        "http://",
        "ftp://8.8.8.8",
    ],
)
async def test_other_addresses_are_none(url: str) -> None:
    async with fetching() as opened:
        assert "no public server" in await reason(opened, url)


async def test_one_private_address_among_public_ones_is_enough(resolve: Resolve) -> None:
    resolve(mixed_example=["93.184.216.34", "10.0.0.1"], hidden_example=["169.254.169.254"])
    async with fetching() as opened:
        for host in ("mixed.example", "hidden.example"):
            assert "no public server" in await reason(opened, f"http://{host}/a.png")


async def test_a_name_is_looked_up_once_and_that_address_is_used(resolve: Resolve) -> None:
    asked = resolve(cats_example=["127.0.0.9", "127.0.0.1"])
    async with ScriptedUpstream(answering(200, IMAGE, PNG)) as server, fetching(*LOCAL) as opened:
        url = f"http://cats.example:{server.port}/a.png?b=c"
        assert await opened.fetch([url]) == {url: Media("image/png", PNG)}
        assert asked == {"cats.example": ["looked up"]}
        [request] = server.requests
        assert (request.method, request.target) == ("GET", "/a.png?b=c")
        assert request.headers["host"] == f"cats.example:{server.port}"
        assert "authorization" not in request.headers
        await opened.fetch([url])
        assert server.connections == 2, "a connection is not kept: the name may mean another then"


async def test_a_certificate_must_be_the_names(resolve: Resolve) -> None:
    resolve(cats_example=["127.0.0.1"], dogs_example=["127.0.0.1"])
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cats.example").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        ScriptedUpstream(answering(200, IMAGE, PNG), ssl_context=served) as server,
        fetching(*LOCAL, ssl_context=trusting) as opened,
    ):
        url = f"https://cats.example:{server.port}/a.png"
        assert (await opened.fetch([url]))[url].data == PNG
        assert "no public server" in await reason(opened, url.replace("cats", "dogs"))


async def endless(turn: Turn) -> None:
    await turn.begin(200, IMAGE)
    while not turn.gone.is_set():
        await turn.chunk(b"x" * 1_000_000)


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (answering(302, {"location": "http://169.254.169.254/"}), "redirects"),
        (answering(404, IMAGE, b"no"), "404"),
        (answering(200, {"content-type": "text/html"}, b"<html>"), "no image"),
        (answering(200, {"content-type": "image/svg+xml"}, b"<svg>"), "svg"),
        (answering(200, {}, b"root:x:0:0"), "no image"),
        (endless, "20 MiB"),
    ],
    ids=["redirect", "missing", "page", "svg", "text", "endless"],
)
async def test_what_is_refused(script: Any, word: str) -> None:
    async with ScriptedUpstream(script) as server, fetching(*LOCAL) as opened:
        assert word in await reason(opened, f"{server.url}/a")
        assert len(server.requests) == 1
        async with asyncio.timeout(10):
            while len(server.gone_at) < server.connections:
                await asyncio.sleep(0.01)


async def test_a_length_that_is_too_large_is_not_waited_for() -> None:
    async def announcing(turn: Turn) -> None:
        await turn.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n"
            % (MOST_BYTES + 1)
        )
        await turn.stall()

    async with ScriptedUpstream(announcing) as server, fetching(*LOCAL) as opened:
        assert "20 MiB" in await reason(opened, server.url)


async def test_all_images_of_a_request_share_the_limit() -> None:
    half = answering(200, IMAGE, PNG + bytes(MOST_BYTES // 2))
    async with ScriptedUpstream(half) as server, fetching(*LOCAL) as opened:
        assert len(await opened.fetch([f"{server.url}/1"])) == 1
        assert "20 MiB" in await reason(opened, f"{server.url}/1", f"{server.url}/2")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 JFIF", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
async def test_a_store_that_does_not_know_types(body: bytes, kind: str) -> None:
    script = answering(200, {"content-type": "binary/octet-stream"}, body)
    async with ScriptedUpstream(script) as server, fetching(*LOCAL) as opened:
        assert (await opened.fetch([server.url]))[server.url] == Media(kind, body)


async def test_who_is_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    short = TimeLimits(connect_s=0.3, first_byte_s=0.3, idle_s=0.3, total_s=0.3)
    monkeypatch.setattr(fetcher, "_LIMITS", short)

    async def dripping(turn: Turn) -> None:
        await turn.begin(200, IMAGE)
        while not turn.gone.is_set():
            await turn.chunk(b"x")
            await asyncio.sleep(0.05)

    async with ScriptedUpstream(dripping) as server, fetching(*LOCAL) as opened:
        assert "5 seconds" in await reason(opened, server.url)
    assert fetcher.LIMIT_S == 5
