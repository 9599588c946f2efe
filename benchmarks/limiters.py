"""What a rate limiter costs a request: CPU in this process, admitted and closed.

`python -m benchmarks --only limiters`. The limiter `memory` is measured under an account's limits,
as the default plan has them, and under those of its key and model, too, and both with the six
headers of the answer; `redis` with twenty requests under way at once, on a server of its own, where
the plugin and a `redis-server` are installed. There the limit of 50 ms on a call is lifted, which a
server on a machine that is busy elsewhere may miss: what is asked is what a call costs.

Two figures each, the least and the median of many short rounds. What else runs on a machine can
only add, so the least is the cost and the median says how busy it was.
"""

from __future__ import annotations

import asyncio
import statistics
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

REQUESTS = 200
PATIENCE_S = 30.0
AT_ONCE = 20
ROUNDS = 250
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


async def with_headers(limiter: RateLimiter, ctx: RequestContext) -> None:
    """Render the headers, too."""
    for _ in range(REQUESTS):
        permit = await limiter.admit(ctx)
        permit.standing.lines()
        await permit.close(USAGE)


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


async def in_memory(plan: Plan, way: Way) -> list[float]:
    """Return what every round cost."""
    limiter, ctx = MemoryLimiter(1), context(plan)
    return [await cost(limiter, ctx, way) for _ in range(ROUNDS)]


async def on_redis(server: RedisServer, plan: Plan) -> list[tuple[float, float]]:
    """Return what every undisturbed round cost, and its calls of scripts a request.

    A request is one call that is waited for, and one, of its correction, that is not.
    """
    from ezkielyna_redis import RedisLimiter, link

    link.LIMIT_S = PATIENCE_S
    limiter, ctx = RedisLimiter(1, server.url), context(plan)
    found: list[tuple[float, float]] = []
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
    return found


async def measure() -> list[str]:
    """Return a line for every figure."""
    lines = []
    for name, plan in PLANS.items():
        lines.append(told(f"memory, {name}", await in_memory(plan, one_by_one)))
        lines.append(told(f"memory, {name}, headers", await in_memory(plan, with_headers)))
    binary = redis_binary()
    if binary is None or find_spec("ezkielyna_redis") is None:
        return [*lines, "limiter redis: no redis-server, or no plugin"]
    with tempfile.TemporaryDirectory(prefix="ezkielyna-bench-") as folder:
        server = RedisServer(binary, Path(folder))
        server.start()
        try:
            for name, plan in PLANS.items():
                rounds = await on_redis(server, plan)
                line = told(f"redis, {name}", [taken for taken, _ in rounds])
                if rounds:
                    line += f", {statistics.median(calls for _, calls in rounds):.2f} calls"
                lines.append(line)
        finally:
            server.kill()
    return lines


def told(name: str, rounds: list[float]) -> str:
    """Return a figure for people."""
    if not rounds:
        return f"{'limiter ' + name:<46}the server was never quick enough"
    least, median = min(rounds), statistics.median(rounds)
    return f"{'limiter ' + name:<46}{least:>7.2f} µs of CPU a request (median {median:.2f})"


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
