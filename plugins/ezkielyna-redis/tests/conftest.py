"""Fixtures: a Redis server, limiters on it that are closed, and requests to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from ezkielyna import Account, ChatRequest, Key, Model, Plan, Price, RequestContext
from ezkielyna.testing.redis_server import RedisServer, redis_server
from ezkielyna_redis import RedisLimiter

__all__ = ["redis_server"]

REQUEST = ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}])
MODEL = Model("m", "p", "m", Price("v", {"input": 0, "output": 0}), 0, 0, "o", "M")

Limiters = Callable[..., Awaitable[RedisLimiter]]


@pytest.fixture
def context() -> Callable[..., RequestContext]:
    """Return what makes a request: `context(plan, tokens=…, output=…, account=…, key=…, model=…)`.

    The same account, key and model are the same objects, as a process keeps them.
    """
    accounts: dict[str, Account] = {}
    keys: dict[str, Key] = {}
    models: dict[str, Model] = {"m": MODEL}

    def make(
        plan: Plan,
        tokens: int = 0,
        output: int = 0,
        account: str = "acc_1",
        key: str = "key_1",
        model: str = "m",
    ) -> RequestContext:
        return RequestContext(
            request_id="req_1",
            endpoint="chat.completions",
            request=REQUEST,
            account=accounts.setdefault(account, Account(account, "a@b.c", "p")),
            key=keys.setdefault(key, Key(key, account, "k")),
            plan=plan,
            model=models.setdefault(model, replace(MODEL, name=model)),
            started_at=0.0,
            input_estimate=tokens,
            output_bound=output,
        )

    return make


@pytest.fixture
def limiters(redis_server: RedisServer, io_loop: IOLoop) -> Iterator[Limiters]:
    """Return what starts a limiter: `await limiters(workers=1, hold_s=30, url=…)`."""
    started: list[RedisLimiter] = []

    async def start(workers: int = 1, url: str = "", **options: Any) -> RedisLimiter:
        limiter = RedisLimiter(workers, url or redis_server.url, **options)
        started.append(limiter)
        await limiter.start()
        return limiter

    async def close() -> None:
        for limiter in started:
            with suppress(asyncio.CancelledError):
                await limiter.close()

    yield start
    io_loop.run_sync(close)
