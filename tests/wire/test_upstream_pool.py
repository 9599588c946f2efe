"""Reuse, retry, time limits, back-pressure, abort and faults of receivers, on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ezkielyna.contract.provider import TimeLimits, UpstreamRequest
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.wire.upstream import Upstream

Collected = Any
Until = Callable[..., Any]


async def closing(turn: Turn) -> None:
    await turn.cut()


async def stalling(turn: Turn) -> None:
    await turn.stall()


async def test_the_connection_used_last_is_used_first(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(streaming([b"x"], delay_s=0.02)) as server:
        both = [collected().start(upstream, server.url) for _ in range(2)]
        for got in both:
            await got.ended.wait()
        assert server.connections == 2
        for _ in range(5):
            await collected().fetch(upstream, server.url)
    assert len({request.connection for request in server.requests[2:]}) == 1


async def test_origins_do_not_share_connections(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with (
        ScriptedUpstream(answering(200, {}, b"1")) as one,
        ScriptedUpstream(answering(200, {}, b"2")) as two,
    ):
        for server, body in [(one, b"1"), (two, b"2")] * 3:
            assert (await collected().fetch(upstream, server.url)).body == body
    assert (one.connections, two.connections) == (1, 1)


async def test_no_more_idle_connections_than_allowed(
    collected: type[Collected], until: Until
) -> None:
    upstream = Upstream(proxy_from_environment=False, max_idle_per_origin=2)
    async with ScriptedUpstream(streaming([b"x"], delay_s=0.02)) as server:
        for got in [collected().start(upstream, server.url) for _ in range(5)]:
            await got.ended.wait()
        await until(lambda: upstream.connections == 2)
        await upstream.close()


async def test_an_idle_connection_is_closed_after_its_time(
    collected: type[Collected], until: Until
) -> None:
    upstream = Upstream(proxy_from_environment=False, idle_s=0.5)
    async with ScriptedUpstream() as server:
        for _ in range(4):
            await collected().fetch(upstream, server.url)
            await asyncio.sleep(0.2)
        assert server.connections == 1  # every use starts its time anew
        await until(lambda: upstream.connections == 0 and len(server.gone_at) == 1)


async def test_an_idle_connection_that_the_upstream_closes_is_forgotten(
    upstream: Upstream, collected: type[Collected], until: Until
) -> None:
    async with ScriptedUpstream() as server:
        await collected().fetch(upstream, server.url)
        server.close_idle()
        await until(lambda: upstream.connections == 0)
        assert (await collected().fetch(upstream, server.url)).error is None
    assert len(server.requests) == 2


async def test_a_stale_connection_is_retried_once_on_a_fresh_one(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(answering(), closing, answering(200, {}, b"2nd")) as server:
        await collected().fetch(upstream, server.url)
        got = await collected().fetch(upstream, server.url, body=b"again")
    assert (got.error, got.body) == (None, b"2nd")
    assert [request.connection for request in server.requests] == [0, 0, 1]
    assert server.requests[2].body == b"again"


async def test_a_retry_is_never_retried(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(answering(), closing) as server:
        await collected().fetch(upstream, server.url)
        got = await collected().fetch(upstream, server.url)
    assert got.error is not None
    assert got.error.message == "The upstream closed the connection without an answer."
    assert len(server.requests) == 3


async def test_a_fresh_connection_is_never_retried(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(closing) as server:
        assert (await collected().fetch(upstream, server.url)).error is not None
    assert len(server.requests) == 1


async def test_after_the_first_byte_nothing_is_retried(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async def one_byte(turn: Turn) -> None:
        await turn.send(b"H")
        await turn.cut()

    async with ScriptedUpstream(answering(), one_byte, answering()) as server:
        await collected().fetch(upstream, server.url)
        assert (await collected().fetch(upstream, server.url)).error is not None
    assert len(server.requests) == 2


async def test_aborting_during_a_retry(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream(answering(), closing, stalling) as server:
        await collected().fetch(upstream, server.url)
        got = collected().start(upstream, server.url)
        while len(server.requests) < 3:
            await asyncio.sleep(0.005)
        got.call.abort()
        await asyncio.sleep(0.02)
        assert not got.ended.is_set()
        assert len(server.gone_at) == 2


async def test_pause_holds_the_upstream_back_through_the_kernel(
    upstream: Upstream, collected: type[Collected]
) -> None:
    piece, count = b"0123456789abcdef" * 4096, 1000
    sent = 0

    async def script(turn: Turn) -> None:
        nonlocal sent
        await turn.begin()
        for _ in range(count):
            await turn.chunk(piece)
            sent += len(piece)
        await turn.end()

    async with ScriptedUpstream(script) as server:
        got = collected().start(upstream, server.url)
        await got.heard.wait()
        got.call.pause()
        got.call.pause()
        await asyncio.sleep(0.1)
        held, delivered = sent, len(got.body)
        await asyncio.sleep(0.1)
        assert (sent, len(got.body)) == (held, delivered)
        assert held < len(piece) * count / 2
        got.call.resume()
        got.call.resume()
        await asyncio.wait_for(got.ended.wait(), 10)
        again = await collected().fetch(upstream, server.url)
    whole = hashlib.sha256(piece * count).digest()
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(again.body).digest() == whole
    assert server.connections == 1


async def test_a_call_may_be_paused_before_it_is_connected(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream(answering(200, {}, b"x")) as server:
        got = collected().start(upstream, server.url)
        got.call.pause()
        await asyncio.sleep(0.05)
        assert (len(server.requests), got.status) == (1, 0)
        got.call.resume()
        await asyncio.wait_for(got.ended.wait(), 1)
        assert got.body == b"x"


async def test_a_connection_that_ended_paused_is_read_again(
    upstream: Upstream, collected: type[Collected]
) -> None:
    class Pausing(collected):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.call.pause()

    async with ScriptedUpstream(answering(200, {}, b"x")) as server:
        assert (await Pausing().fetch(upstream, server.url)).error is None
        assert (await collected().fetch(upstream, server.url)).body == b"x"
        assert server.connections == 1
        server.close_idle()
        await asyncio.sleep(0.03)
        assert upstream.connections == 0


async def test_abort_reaches_the_upstream_at_once(
    upstream: Upstream, collected: type[Collected], until: Any
) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(streaming([b"x"] * 1000, delay_s=0.01)) as server:
        got = collected().start(upstream, server.url)
        await got.heard.wait()
        aborted_at = loop.time()
        got.call.abort()
        got.call.abort()
        got.call.pause()
        got.call.resume()
        heard = len(got.pieces)
        await until(lambda: server.gone_at)
        assert server.gone_at[0] - aborted_at < 1
    assert len(got.pieces) == heard
    assert not got.ended.is_set()
    assert upstream.connections == 0


async def test_abort_while_connecting(upstream: Upstream, collected: type[Collected]) -> None:
    async with ScriptedUpstream() as server:
        got = collected().start(upstream, server.url)
        got.call.abort()
        await asyncio.sleep(0.05)
        assert (server.requests, got.status, got.ended.is_set()) == ([], 0, False)


@pytest.mark.parametrize("where", ["headers_received", "data_received"])
async def test_abort_from_within_the_receiver(
    upstream: Upstream, collected: type[Collected], where: str
) -> None:
    got = collected()
    plain = getattr(got, where)

    def aborting(*given: Any) -> None:
        plain(*given)
        got.call.abort()

    setattr(got, where, aborting)
    async with ScriptedUpstream(answering(200, {}, b"x")) as server:
        got.start(upstream, server.url)
        await asyncio.sleep(0.05)
    assert not got.ended.is_set()
    assert got.pieces == ([b"x"] if where == "data_received" else [])
    assert upstream.connections == 0


@pytest.mark.parametrize("where", ["headers_received", "data_received", "finished"])
async def test_a_fault_of_a_receiver_stays_its_own(
    upstream: Upstream,
    collected: type[Collected],
    loop_errors: list[BaseException],
    until: Any,
    where: str,
) -> None:
    got = collected()

    def failing(*_: Any) -> None:
        raise ZeroDivisionError(where)

    setattr(got, where, failing)
    async with ScriptedUpstream(streaming([b"x"] * 5)) as server:
        got.start(upstream, server.url)
        await until(lambda: loop_errors)
        assert [type(error) for error in loop_errors] == [ZeroDivisionError]
        assert (got.error is not None) == (where != "finished")
        for _ in range(2):
            assert (await collected().fetch(upstream, server.url)).body == b"xxxxx"
    assert len(server.requests) == 3


async def test_a_receiver_may_start_the_next_call_when_one_finishes(
    upstream: Upstream, collected: type[Collected]
) -> None:
    second = collected()

    class Chaining(collected):
        def finished(self) -> None:
            super().finished()
            second.start(upstream, server.url)

    async with ScriptedUpstream(answering(200, {}, b"x")) as server:
        await Chaining().fetch(upstream, server.url)
        await asyncio.wait_for(second.ended.wait(), 1)
    assert (second.body, server.connections) == (b"x", 1)


async def test_close_fails_what_is_under_way(collected: type[Collected]) -> None:
    upstream = Upstream(proxy_from_environment=False)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with ScriptedUpstream(answering(), stalling) as server:
            await collected().fetch(upstream, server.url)
            waiting = collected().start(upstream, server.url)
            url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
            dialing = collected().start(upstream, url)
            await asyncio.sleep(0.03)
            await upstream.close()
            assert waiting.error is not None
            assert dialing.error is not None
            late = await collected().fetch(upstream, server.url)
            assert late.error is not None
    assert upstream.connections == 0


async def test_many_calls_at_once(upstream: Upstream, collected: type[Collected]) -> None:
    async def echo(turn: Turn) -> None:
        await turn.answer(200, {}, turn.request.body * 3)

    async with ScriptedUpstream(echo) as server:
        for _ in range(3):
            calls = [
                collected().start(upstream, server.url, body=b"%d," % number)
                for number in range(60)
            ]
            for number, got in enumerate(calls):
                await asyncio.wait_for(got.ended.wait(), 10)
                assert got.body == b"%d," % number * 3
        assert server.connections == 60


async def test_a_request_is_on_its_way_when_start_returns(
    upstream: Upstream, collected: type[Collected]
) -> None:
    async with ScriptedUpstream() as server:
        await collected().fetch(upstream, server.url)
        tasks = len(asyncio.all_tasks())
        got = collected()
        request = UpstreamRequest("POST", server.url, {}, b"")
        call = upstream.start(request, TimeLimits(), got)
        assert call.connection is not None
        assert len(asyncio.all_tasks()) == tasks  # no task for a request
        await asyncio.wait_for(got.ended.wait(), 1)
