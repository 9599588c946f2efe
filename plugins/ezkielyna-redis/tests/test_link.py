"""The link: any split of replies, scripts that are gone, requests that are gone, time limits."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna import Plan
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna_redis import RedisLimiter
from ezkielyna_redis.link import Away, Call, Link, linked, opener
from ezkielyna_redis.scripts import HEARTBEAT, SERVER_TIME, Prepared, keyed, packed

BEAT = Prepared(HEARTBEAT, keyed(b"ezkielyna:{processes}") + SERVER_TIME, 4)
ONCE = packed(b"1000000", b"p")


class Wire:
    """The transport of a link without a socket."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.aborted = True


def bare() -> tuple[Link, Wire, list[str]]:
    lost: list[str] = []
    link, wire = Link(asyncio.new_event_loop(), lost.append), Wire()
    link._transport = wire  # type: ignore[assignment]
    return link, wire, lost


async def open_link(server: RedisServer) -> Link:
    return await linked(opener(server.url), 1.0, lambda _: None)


@given(st.lists(st.integers(0, 60), max_size=12))
def test_any_split_of_the_replies_gives_the_same(cuts: list[int]) -> None:
    link, _, _ = bare()
    loop = link._loop
    futures = [loop.create_future() for _ in range(5)]
    link._calls.extend(Call(BEAT, ONCE, future, None) for future in futures)
    stream = b"$5\r\nab\r\nc\r\n+OK\r\n-ERR no\r\n:12\r\n$0\r\n\r\n"
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(places):
        link.data_received(stream[start:end])
    assert [future.result() for future in futures[:2]] == [b"ab\r\nc", b"OK"]
    assert isinstance(futures[2].exception(), Away)
    assert [future.result() for future in futures[3:]] == [b"12", b""]
    loop.close()


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400\r\n", b"$x\r\n", b"+OK\r\n+OK\r\n", b">2\r\n"])
def test_nonsense_ends_the_link(nonsense: bytes) -> None:
    link, wire, lost = bare()
    future = link._loop.create_future()
    link._calls.append(Call(BEAT, ONCE, future, None))
    link.data_received(nonsense)
    assert link.lost
    assert wire.aborted
    assert len(lost) == 1
    assert future.done()
    future.exception()
    link._loop.close()


async def test_a_flushed_script_is_sent_again(redis_server: RedisServer) -> None:
    link = await open_link(redis_server)
    for _ in range(2):
        redis_server.command("SCRIPT", "FLUSH")
        replies = await asyncio.gather(*(link.call(BEAT, ONCE) for _ in range(3)))
        assert [reply.split()[1] for reply in replies] == [b"1"] * 3
    link.fail("done")


async def test_an_error_reply_is_one_calls_alone(redis_server: RedisServer) -> None:
    link = await open_link(redis_server)
    with pytest.raises(Away, match="nil"):
        await link.call(BEAT, packed(b"nonsense", b"p"))
    assert await link.call(BEAT, ONCE)
    link.fail("done")
    with pytest.raises(Away):
        await link.call(BEAT, ONCE)


async def test_a_call_takes_fifty_milliseconds_at_most(redis_server: RedisServer) -> None:
    link, loop = await open_link(redis_server), asyncio.get_running_loop()
    redis_server.freeze()
    start = loop.time()
    with pytest.raises(Away, match="50 ms"):
        await link.call(BEAT, ONCE)
    assert 0.045 <= loop.time() - start < 0.1
    redis_server.thaw()
    assert link.lost


async def test_a_busy_loop_is_not_taken_for_a_slow_redis(redis_server: RedisServer) -> None:
    link = await open_link(redis_server)
    for _ in range(5):
        future = link.call(BEAT, ONCE)
        await asyncio.sleep(0)
        time.sleep(0.07)
        assert await future
    link.fail("done")


async def test_a_request_that_went_away_gives_back_what_it_got(
    redis_server: RedisServer, limiters: Any, context: Any
) -> None:
    limiter = await limiters()
    plan = Plan("p", tpm=250_000, concurrency=5)
    for wait in (0, 0, 0, 0.001, 0.002):
        task = asyncio.create_task(limiter.admit(context(plan, 50_000)))
        await asyncio.sleep(0)
        if wait:
            await asyncio.sleep(wait)
        if not task.cancel():
            await task.result().close(None)
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert redis_server.command("ZCARD", "ezkielyna:{acc_1}:slots") == 0
    permit = await limiter.admit(context(plan, 250_000))
    await permit.close(None)


@pytest.mark.parametrize("url", ["", "http://x", "localhost:6379", "redis://h:1/?db=x"])
async def test_a_bad_address_is_refused_when_made(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)redis|db"):
        RedisLimiter.build(1, url)
