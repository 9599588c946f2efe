"""Redis killed, stopped, slow, flushed, full: limits hold on, nothing fails, nothing waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import pytest

from ezkielyna import Limits, Plan, RateLimited, Usage
from ezkielyna.testing.limits import at_once
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna_redis import breaker, link, remote

Answers = list[tuple[float, bool, float]]
"""When a request was answered, whether it was admitted, and how long that took."""


@pytest.fixture(autouse=True)
def short_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "OPEN_S", 0.5)


async def ask(limiter: Any, ctx: Any, count: int, pause_s: float = 0.0) -> Answers:
    answers = []
    for _ in range(count):
        start = time.perf_counter()
        try:
            permit = await limiter.admit(ctx)
        except RateLimited as error:
            assert error.retry_after_s  # noqa: PT017 - both ways are answers
            permit = None
        took = time.perf_counter() - start
        answers.append((time.perf_counter(), permit is not None, took))
        if permit is not None:
            await permit.close(Usage(input=1))
        await asyncio.sleep(pause_s)
    return answers


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + limit_s, "it did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


@asynccontextmanager
async def slow(server: RedisServer, delay_s: list[float]) -> AsyncIterator[str]:
    """Put a wire before a server on which every answer takes `delay_s[0]`; yield its address."""
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", server.port)

        async def answers() -> None:
            while data := await theirs.read(65_536):
                loop.call_later(delay_s[0], writer.write, data)

        task = asyncio.create_task(answers())
        try:
            while data := await reader.read(65_536):
                ours.write(data)
        except ConnectionError:
            pass
        finally:
            task.cancel()
            ours.close()
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        listener.close()


async def test_a_killed_redis_is_missed_by_nobody(
    limiters: Any, context: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger=remote.__name__)
    limiter, ctx = await limiters(), context(Plan("p", rpm=60_000, concurrency=100))
    assert limiter.degradation is None
    redis_server.kill()
    answers = await ask(limiter, ctx, 5)
    assert all(admitted for _, admitted, _ in answers)
    await until(lambda: remote_link(limiter) is None)
    while limiter.degradation is None:
        alone_s(limiter, ctx)
        await asyncio.sleep(0.005)
    assert limiter.degradation.startswith("Redis is away")
    assert median([alone_s(limiter, ctx) for _ in range(100)]) < 0.001
    redis_server.start()
    assert await until(lambda: limiter.degradation is None) < 1.0
    await ask(limiter, ctx, 3)
    assert redis_server.command("EXISTS", "ezkielyna:{acc_1}:counts")
    words = [record.getMessage().split()[1] for record in caplog.records]
    assert words == ["is", "answers"]


async def added_s(limiter: Any, ctx: Any) -> float:
    """Return how long a request waited, less what its loop was late by.

    A timer beside it says so: on a busy machine both are late.
    """
    fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    began = time.perf_counter()
    fired.get_loop().call_later(link.LIMIT_S, lambda: fired.set_result(time.perf_counter()))
    permit = await limiter.admit(ctx)
    took = time.perf_counter() - began
    await permit.close(Usage(input=1))
    return took - (await fired - began - link.LIMIT_S)


def alone_s(limiter: Any, ctx: Any) -> float:
    """Return the CPU time of a request that waits for nothing."""
    began = time.thread_time()
    permit = at_once(limiter.admit(ctx))
    took = time.thread_time() - began
    at_once(permit.close(Usage(input=1)))
    return took


@pytest.mark.parametrize("requests", [1, 10])
async def test_a_stopped_redis_adds_sixty_milliseconds_once_and_then_not_one(
    limiters: Any,
    context: Any,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    requests: int,
) -> None:
    monkeypatch.setattr(remote, "CONNECT_S", 0.3)
    limiter, ctx = await limiters(), context(Plan("p", rpm=60_000))
    longest = []
    for _ in range(3):  # what else the machine does can only add: the least of three
        await ask(limiter, ctx, 3)
        redis_server.freeze()
        added = await asyncio.gather(*(added_s(limiter, ctx) for _ in range(requests)))
        longest.append(max(added))
        while limiter.degradation is None:
            alone_s(limiter, ctx)
            await asyncio.sleep(0.004)
        assert median([alone_s(limiter, ctx) for _ in range(100)]) < 0.001
        redis_server.thaw()
        await until(lambda: limiter.degradation is None)
    assert 0.04 < min(longest) < 0.06, longest


async def test_a_slow_redis_is_an_absent_one(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    delay_s = [0.0]
    async with slow(redis_server, delay_s) as url:
        limiter, ctx = await limiters(url=url), context(Plan("p", rpm=60_000))
        await ask(limiter, ctx, 3)
        delay_s[0] = 30.0
        answers = await ask(limiter, ctx, 200, 0.01)
        assert all(admitted for _, admitted, _ in answers)
        assert sum(took > 0.02 for *_, took in answers) <= 2 * breaker.FAILURES
        assert limiter.degradation
        delay_s[0] = 0.0
        await until(lambda: limiter.degradation is None)
        await limiter.close()


async def test_a_redis_that_is_not_there_at_first(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    redis_server.kill()
    limiter, ctx = await limiters(), context(Plan("p", rpm=600))
    answers = await ask(limiter, ctx, 120)
    assert sum(admitted for _, admitted, _ in answers) in range(100, 108)
    redis_server.start()
    await until(lambda: remote_link(limiter) is not None)
    # What was admitted alone counts: there is no second burst.
    answers = await ask(limiter, ctx, 50)
    assert sum(admitted for _, admitted, _ in answers) <= 20


def remote_link(limiter: Any) -> Any:
    return limiter._remote.link


async def test_an_outage_brings_no_second_burst(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    rpm, burst = 1200, 200
    ctx = context(Plan("p", rpm=rpm))
    two = [await limiters(), await limiters(hold_s=3.0)]
    await asyncio.sleep(1.1)
    start = time.perf_counter()

    async def load(limiter: Any) -> Answers:
        return await ask(limiter, ctx, 500, 0.008)

    loads = [asyncio.create_task(load(limiter)) for limiter in two]
    await asyncio.sleep(1.5)
    redis_server.freeze()
    await asyncio.sleep(1.5)
    redis_server.thaw()
    answers = [answer for list_ in await asyncio.gather(*loads) for answer in list_]
    took = time.perf_counter() - start
    admitted = sum(admitted for _, admitted, _ in answers)
    assert admitted <= 1.2 * (burst + took * rpm / 60)
    assert admitted >= 0.6 * (burst + took * rpm / 60)


async def test_an_outage_brings_no_second_minute_of_tokens(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    limiter = await limiters()
    plan = Plan("p", tpm=1000, key=Limits(tpm=500))
    held = await limiter.admit(context(plan, 300))
    redis_server.kill()
    await until(lambda: remote_link(limiter) is None)
    alone = await limiter.admit(context(plan, 200))
    with pytest.raises(RateLimited, match="for this API key"):
        await limiter.admit(context(plan, 100))
    with pytest.raises(RateLimited, match="reached: 1000 tokens"):
        await limiter.admit(context(plan, 600, key="key_2"))
    await held.close(Usage(input=400))  # a hundred more than was told to Redis
    await alone.close(Usage(input=50))
    redis_server.start()
    await until(lambda: remote_link(limiter) is not None)
    # Redis was restarted empty: it knows what was used and corrected since, and no more.
    permit = await limiter.admit(context(plan, 100))
    assert permit.standing.remaining_tokens == 500 - (100 + 50) - 100
    await permit.close(Usage(input=100))


async def test_alone_each_of_four_takes_a_quarter(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    four = [await limiters(hold_s=0.9) for _ in range(4)]
    await asyncio.sleep(0.5)
    redis_server.kill()
    plan = Plan("p", rpm=2400, tpm=100_000, concurrency=8)
    kept = []
    for limiter in four:
        for _ in range(10):
            try:
                kept.append(await limiter.admit(context(plan, 100)))
            except RateLimited as error:
                assert "at once" in error.message  # noqa: PT017 - after two
    assert len(kept) == 8
    for permit in kept:
        await permit.close(None)
    redis_server.start()
    for limiter in four:
        await until(lambda limiter=limiter: remote_link(limiter) is not None)  # type: ignore[misc]
    assert redis_server.command("ZCARD", "ezkielyna:{acc_1}:slots") == 0
    await (await four[0].admit(context(plan, 100_000))).close(None)


async def test_alone_nobody_takes_the_slots_that_others_have(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    one, other = await limiters(), await limiters()
    ctx = context(Plan("p", concurrency=10))
    held = [await one.admit(ctx) for _ in range(6)] + [await other.admit(ctx) for _ in range(4)]
    with pytest.raises(RateLimited, match="at once"):
        await one.admit(ctx)
    redis_server.kill()
    for limiter in (one, other):
        await until(lambda limiter=limiter: remote_link(limiter) is None)  # type: ignore[misc]
        with pytest.raises(RateLimited, match="at once"):
            await limiter.admit(ctx)
    await held.pop().close(None)
    held.append(await other.admit(ctx))
    with pytest.raises(RateLimited, match="at once"):
        await other.admit(ctx)
    for permit in held:
        await permit.close(None)


async def test_slots_of_running_requests_outlive_a_flush(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    limiter, other = await limiters(hold_s=0.9), await limiters(hold_s=0.9)
    ctx = context(Plan("p", concurrency=2))
    held = [await limiter.admit(ctx), await limiter.admit(ctx)]
    redis_server.command("FLUSHALL")
    await asyncio.sleep(0.5)
    with pytest.raises(RateLimited):
        await other.admit(ctx)
    for permit in held:
        await permit.close(None)
    await asyncio.sleep(0.05)
    await (await other.admit(ctx)).close(None)


async def test_flushes_wrong_types_and_lost_scripts_are_not_noticed(
    limiters: Any, context: Any, redis_server: RedisServer
) -> None:
    limiter = await limiters()
    ctx = context(Plan("p", rpm=60_000, tpm=10**9, concurrency=100), 100)
    for harm in (
        ("SCRIPT", "FLUSH"),
        ("FLUSHALL",),
        ("SET", "ezkielyna:{acc_1}:counts", "x"),
        ("SET", "ezkielyna:{acc_1}:slots", "x"),
        ("SET", "ezkielyna:{processes}", "x"),
        ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
    ):
        redis_server.command("DEL", *(harm[1:2] or ("x",)))
        redis_server.command(*harm)
        answers = await ask(limiter, ctx, 5)
        assert all(admitted for _, admitted, _ in answers), harm
        await asyncio.sleep(0.2)
        assert limiter.degradation is None


async def test_a_full_redis_is_an_absent_one(
    limiters: Any, context: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limiter, ctx = await limiters(), context(Plan("p", rpm=60_000))
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    answers = await ask(limiter, ctx, 20)
    assert all(admitted for _, admitted, _ in answers)
    assert limiter.degradation
    assert "OOM" in caplog.text
    redis_server.command("CONFIG", "SET", "maxmemory", "0")
    await until(lambda: limiter.degradation is None)


async def test_the_breaker_opens_after_five_and_probes_once_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = breaker.Breaker()
    assert [one.failed() for _ in range(4)] == [False] * 4
    assert not one.succeeded()
    assert [one.failed() for _ in range(6)] == [False] * 4 + [True, False]
    assert one.is_open
    monkeypatch.setattr(breaker, "OPEN_S", 5.0)
    pauses = [one.pause_s() for _ in range(500)]
    assert 4 <= min(pauses) < 4.2
    assert 5.8 < max(pauses) <= 6
    assert max(pauses) + remote.CONNECT_S + link.LIMIT_S < 10, "closed within 10 s of healing"
    assert one.succeeded()
    assert not one.is_open


async def test_while_open_there_is_one_probe_a_pause(limiters: Any, context: Any) -> None:
    connections = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    limiter, ctx = await limiters(url=f"redis://127.0.0.1:{port}"), context(Plan("p", rpm=60_000))
    await ask(limiter, ctx, 10)
    assert limiter.degradation
    connections = 0
    answers = await ask(limiter, ctx, 300, 0.006)
    assert all(admitted for _, admitted, _ in answers)
    took = answers[-1][0] - answers[0][0]
    assert took / 0.6 - 1 <= connections <= took / 0.4 + 1
    await limiter.close()
    listener.close()
