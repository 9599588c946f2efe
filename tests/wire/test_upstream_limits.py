"""The time limits of a call: to connect, to the first byte, between two reads, to the end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from ezkielyna.contract.errors import UpstreamTimeout
from ezkielyna.contract.provider import TimeLimits
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.wire.upstream import Upstream

Collected = Any


async def stalling(turn: Turn) -> None:
    await turn.stall()


def limits(**given: float) -> TimeLimits:
    return TimeLimits.model_validate({"connect_s": 5, "first_byte_s": 5, **given})


async def timed(got: Collected, seconds: float, phase: str) -> None:
    begun = asyncio.get_running_loop().time()
    await asyncio.wait_for(got.ended.wait(), 5)
    took = asyncio.get_running_loop().time() - begun
    assert isinstance(got.error, UpstreamTimeout)
    assert phase in got.error.message
    assert got.error.status == 504
    assert seconds - 0.02 <= took <= seconds + 3


async def test_the_limit_to_connect_covers_tls(
    upstream: Upstream, collected: type[Collected]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        got = collected().start(upstream, url, limits=limits(connect_s=0.1))
        await timed(got, 0.1, "a connection")
    assert upstream.connections == 0


@pytest.mark.parametrize("warm", [True, False])
async def test_the_limit_to_the_first_byte(
    upstream: Upstream, collected: type[Collected], until: Any, warm: bool
) -> None:
    async with ScriptedUpstream(*[answering()][: int(warm)], stalling) as server:
        if warm:
            await collected().fetch(upstream, server.url)
        got = collected().start(upstream, server.url, limits=limits(first_byte_s=0.1))
        await timed(got, 0.1, "first byte")
        await until(lambda: len(server.gone_at) == 1)
    assert len(server.requests) == 1 + warm


async def test_a_trickled_head_does_not_extend_the_limit_to_the_first_byte(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async def script(turn: Turn) -> None:
        await turn.trickle(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000, delay_s=0.01)

    async with ScriptedUpstream(script) as server:
        got = collected().start(upstream, server.url, limits=limits(first_byte_s=0.15))
        await timed(got, 0.15, "first byte")


async def test_the_limit_between_two_reads(upstream: Upstream, collected: type[Collected]) -> None:
    async def script(turn: Turn) -> None:
        await turn.begin()
        for _ in range(5):
            await asyncio.sleep(0.1)
            await turn.chunk(b"x")
        await turn.stall()

    async with ScriptedUpstream(script) as server:
        got = collected().start(upstream, server.url, limits=limits(idle_s=0.4))
        await timed(got, 0.5 + 0.4, "more of its answer")
    assert got.body == b"xxxxx"


async def test_the_limit_to_the_end(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(streaming([b"x"] * 100, delay_s=0.02)) as server:
        got = collected().start(upstream, server.url, limits=limits(total_s=0.2, idle_s=60))
        await timed(got, 0.2, "the end")
    assert 1 <= len(got.pieces) <= 10


async def test_a_paused_call_is_not_idle(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(streaming([b"a", b"b"], delay_s=0.03)) as server:
        got = collected().start(upstream, server.url, limits=limits(idle_s=0.08))
        await got.heard.wait()
        got.call.pause()
        await asyncio.sleep(0.25)
        assert got.pieces == [b"a"]
        got.call.resume()
        await asyncio.wait_for(got.ended.wait(), 1)
    assert (got.error, got.body) == (None, b"ab")


async def test_a_paused_call_still_ends_at_its_total_limit(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(streaming([b"a"] * 9, delay_s=0.03)) as server:
        got = collected().start(upstream, server.url, limits=limits(total_s=0.15))
        got.call.pause()
        await timed(got, 0.15, "the end")
