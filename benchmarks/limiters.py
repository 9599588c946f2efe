"""What a rate limiter costs a request: CPU in this process, admitted and closed.

`python -m benchmarks --only limiters`. The limiter `memory` is measured under an account's limits,
and under those of its key and model, too; `redis` with twenty requests under way at once, on a
server of its own, where the plugin and a `redis-server` are installed. On a machine that is busy
elsewhere the server may miss its 50 ms: such rounds do not count.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import uvloop

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.limits import Limits
from ezkielyna.contract.money import Price
from ezkielyna.contract.requests import ChatRequest
from ezkielyna.contract.usage import Usage
from ezkielyna.defaults import MemoryLimiter
from ezkielyna.testing.redis_server import RedisServer, redis_binary

REQUESTS = 5000
AT_ONCE = 20
ROUNDS = 12
WIDE = Limits(rpm=10_000_000, tpm=1_000_000_000, concurrency=100_000)
PLANS = {
    "account": Plan("one", WIDE.rpm, WIDE.tpm, 0, WIDE.concurrency),
    "account, key, model": Plan(
        "three", WIDE.rpm, WIDE.tpm, 0, WIDE.concurrency, key=WIDE, model=(("*", WIDE),)
    ),
}
USAGE = Usage(input=100, output=120)


def context(plan: Plan) -> RequestContext:
    """Return a request under a plan."""
    return RequestContext(
        request_id="req_1",
        endpoint="chat.completions",
        request=ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}]),
        account=Account("acc_1", "a@b.c", plan.name),
        key=Key("key_1", "acc_1", "k"),
        plan=plan,
        model=Model("m", "p", "m", Price("v", {"input": 0}), 0, 0, "o", "M"),
        started_at=0.0,
        input_estimate=100,
        output_bound=500,
    )


async def one_by_one(limiter: RateLimiter, ctx: RequestContext) -> None:
    """Admit and close every request before the next."""
    for _ in range(REQUESTS):
        await (await limiter.admit(ctx)).close(USAGE)


async def together(limiter: RateLimiter, ctx: RequestContext) -> None:
    """Keep twenty requests under way."""

    async def client() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            await (await limiter.admit(ctx)).close(USAGE)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


Way = Callable[[RateLimiter, RequestContext], Awaitable[None]]


async def cost(limiter: RateLimiter, ctx: RequestContext, way: Way) -> float:
    """Return microseconds of this process's CPU a request, once."""
    started = time.process_time()
    await way(limiter, ctx)
    return (time.process_time() - started) / REQUESTS * 1e6


async def in_memory(plan: Plan) -> float:
    """Return the least of several rounds: what else runs on a machine can only add to it."""
    limiter, ctx = MemoryLimiter(1), context(plan)
    return min([await cost(limiter, ctx, one_by_one) for _ in range(ROUNDS)])


async def on_redis(server: RedisServer, plan: Plan) -> tuple[float, float] | None:
    """Return the least cost, and calls of scripts a request; None where no round was undisturbed.

    A request is one call that is waited for, and one, of its correction, that is not.
    """
    from ezkielyna_redis import RedisLimiter

    limiter, ctx, found = RedisLimiter(1, server.url), context(plan), []
    await limiter.start()
    try:
        for _ in range(ROUNDS):
            before = _calls(server)
            taken = await cost(limiter, ctx, together)
            calls = (_calls(server) - before) / REQUESTS
            if calls > 1.99:
                found.append((taken, calls))
            else:
                await asyncio.sleep(1)
    finally:
        await limiter.close()
    return min(found, default=None)


async def measure() -> list[str]:
    """Return a line for every figure."""
    lines = [
        f"{'limiter memory, ' + name:<42}{await in_memory(plan):>8.2f} µs of CPU a request"
        for name, plan in PLANS.items()
    ]
    binary = redis_binary()
    if binary is None or find_spec("ezkielyna_redis") is None:
        return [*lines, "limiter redis: no redis-server, or no plugin"]
    with tempfile.TemporaryDirectory(prefix="ezkielyna-bench-") as folder:
        server = RedisServer(binary, Path(folder))
        server.start()
        try:
            for name, plan in PLANS.items():
                figures = await on_redis(server, plan)
                told = "the server was never quick enough"
                if figures is not None:
                    told = f"{figures[0]:>8.2f} µs of CPU a request, {figures[1]:.2f} calls"
                lines.append(f"{'limiter redis, ' + name:<42}{told}")
        finally:
            server.kill()
    return lines


def _calls(server: RedisServer) -> int:
    """Return how many scripts a server has run."""
    for line in server.command("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


def main() -> None:
    """Print the figures."""
    for line in uvloop.run(measure()):
        print(line)
