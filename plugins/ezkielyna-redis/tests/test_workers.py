"""Four worker processes on one Redis, over HTTP: one limit.

A few seconds in the suite, in processes whose Redis may be slow, as the machine may be; a minute
and the real 50 ms with `EZKIELYNA_SOAK=1`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ezkielyna.storage.database import Database
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Lab, Line, listeners
from ezkielyna.testing.processes import Serving
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering

LONG = bool(os.environ.get("EZKIELYNA_SOAK"))
SECONDS = 60.0 if LONG else 6.0
WORKERS = 4
RPM, BURST = 600, 100
CLIENTS = 100
PATIENCE_S = 1200.0 if LONG else 240.0
TPM, ESTIMATE = 40_000, 1000
TOKEN_CLIENTS = 3
"""All their errors together, of half a request each, are no more than one request."""

AWAY = "Redis is away"
PATIENT = "from ezkielyna_redis import link\nlink.LIMIT_S = 10.0\n"
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


@pytest.fixture
def lab(database: Database, database_server: DatabaseServer, tmp_path: Path) -> Lab:
    return Lab(database, database_server.url, tmp_path)


@asynccontextmanager
async def workers(
    lab: Lab, redis: RedisServer, upstream: str, **limits: str
) -> AsyncIterator[tuple[Serving, str]]:
    """Run four workers under these limits; yield them with their address, when all accept."""
    (lab.folder / "sitecustomize.py").write_text("" if LONG else PATIENT)
    plan = {f"EZKIELYNA_PLANS__DEFAULT__{name.upper()}": value for name, value in limits.items()}
    async with lab.serving(
        upstream,
        workers=WORKERS,
        PYTHONPATH=str(lab.folder),
        EZKIELYNA_PLUGINS="openai,redis",
        EZKIELYNA_REDIS__URL=redis.url,
        EZKIELYNA_PLANS__DEFAULT__LIMITER="redis",
        **plan,
    ) as gateway:
        url = gateway.url
        async with asyncio.timeout(60):
            while listeners(url) < WORKERS:
                await asyncio.sleep(0.05)
        yield gateway, url


def most_in(times: list[float], window_s: float) -> int:
    """Return the most of these moments that any window holds."""
    return max(sum(begin <= one < begin + window_s for one in times) for begin in times)


class Tokens:
    """Clients whose answers take half or one and a half times what they were estimated at."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.used: list[tuple[float, int]] = []

    async def client(self, until: float, refusals: int) -> None:
        """Ask until the time has come, or until refused so often in a row."""
        refused = 0
        async with await Line.open(self.url) as line:
            while time.monotonic() < until and refused < refusals:
                body = {**CHAT, "max_tokens": ESTIMATE}
                answer = await line.post(self.key, body)
                if answer.status == 200:
                    refused = 0
                    total = answer.document["usage"]["total_tokens"]
                    self.used.append((time.monotonic(), total))
                    continue
                assert (answer.status, answer.error) == (429, "rate_limited")
                refused += 1
                await asyncio.sleep(0.05)

    def most(self) -> int:
        """Return the most tokens of any minute, by when they were answered for."""
        return max(
            sum(tokens for at, tokens in self.used if begin <= at < begin + 60)
            for begin, _ in self.used
        )


async def with_errors_of_half(turn: Turn) -> None:
    """Answer with a usage that is half of the estimate, or one and a half times as much."""
    completion = random.choice([ESTIMATE // 2, ESTIMATE * 3 // 2])
    await turn.answer(200, JSON, chat_answer(completion=completion))


@pytest.mark.timeout(seconds=PATIENCE_S)
async def test_tokens_hold_over_processes_with_estimates_off_by_half(
    lab: Lab, redis_server: RedisServer
) -> None:
    payer = await lab.account("100")
    async with (
        ScriptedUpstream(with_errors_of_half) as upstream,
        workers(lab, redis_server, upstream.url, tpm=str(TPM)) as (gateway, url),
    ):
        tokens = Tokens(url, payer.key)
        until, refusals = time.monotonic() + (130 if LONG else 200), 10**6 if LONG else 8
        await asyncio.gather(*(tokens.client(until, refusals) for _ in range(TOKEN_CLIENTS)))
        away = AWAY in gateway.output
    used, largest = tokens.most(), max(total for _, total in tokens.used)
    print(f"{used} tokens in the worst minute, where the limit is {TPM}")
    assert used <= (1.2 * TPM if away else TPM) + largest
    assert used >= 0.9 * TPM


@pytest.mark.timeout(seconds=PATIENCE_S)
async def test_three_times_the_limit_is_offered_and_the_limit_is_served(
    lab: Lab, redis_server: RedisServer
) -> None:
    payer, admitted, offered = await lab.account("100"), list[float](), 0
    answers = answering(200, JSON, chat_answer())
    async with (
        ScriptedUpstream(answers) as upstream,
        workers(lab, redis_server, upstream.url, rpm=str(RPM)) as (gateway, url),
    ):

        async def client(number: int) -> None:
            nonlocal offered
            chance = random.Random(number)
            async with await Line.open(url) as line:
                while time.monotonic() < until:
                    answer = await line.post(payer.key, CHAT)
                    offered += 1
                    if answer.status == 200:
                        admitted.append(time.monotonic())
                    else:
                        assert (answer.status, answer.error) == (429, "rate_limited")
                    await asyncio.sleep(chance.expovariate(3 * RPM / 60 / CLIENTS))

        # The burst first, so that what follows is the even pace.
        async with await Line.open(url) as line:
            for _ in range(BURST):
                assert (await line.post(payer.key, CHAT)).status in (200, 429)
        began = time.monotonic()
        until = began + SECONDS
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        away = AWAY in gateway.output
    due, served = RPM * SECONDS / 60, sum(moment < until for moment in admitted)
    print(f"offered {offered} and admitted {served} in {SECONDS:g} s, where the limit is {due:g}")
    if away:  # it missed its 50 ms five times in a row: the machine is busy elsewhere
        assert served <= 1.2 * (due + BURST)
        pytest.skip("Redis was too slow on this machine to share a limit exactly")
    assert most_in(admitted, 60.0) <= RPM + BURST
    assert served <= due + BURST
    # A machine that is busy elsewhere offers too little to say whether the limit can be used up.
    if offered >= 2 * due:
        assert served >= 0.98 * due - 2
