"""Workers are killed under requests that hold slots: never more at once than the limit.

Five kills in the suite, in processes whose Redis may be slow, as the machine may be: then exactly
the limit holds. With `EZKIELYNA_SOAK=1` fifty, half of them with the real 50 ms: what is admitted
while Redis is slower than that is a fault of Redis, and may be 1.2 times the limit.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ezkielyna.storage.database import Database
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Lab, Line, listeners
from ezkielyna.testing.processes import Serving
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna.testing.scripted import ScriptedUpstream, Turn

LONG = bool(os.environ.get("EZKIELYNA_SOAK"))
KILLS = 25 if LONG else 5
PAUSE_S = (2.0, 14.0) if LONG else (0.3, 0.8)
WORKERS, CLIENTS, CONCURRENCY = 2, 20, 10
HOLD_S = 30.0
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
PATIENT = "from ezkielyna_redis import link\nlink.LIMIT_S = 10.0\n"


@pytest.fixture
def lab(database: Database, database_server: DatabaseServer, tmp_path: Path) -> Lab:
    return Lab(database, database_server.url, tmp_path)


@dataclass
class Running:
    """An upstream that knows how many requests it works on. Of a worker that dies it hears so."""

    now: int = 0
    most: int = 0
    served: int = 0

    async def script(self, turn: Turn) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with asyncio.timeout(random.uniform(0.1, 0.8)):
                await turn.gone.wait()
            raise ConnectionResetError
        except TimeoutError:
            self.served += 1
        finally:
            self.now -= 1
        await turn.answer(200, JSON, chat_answer())


async def client(url: str, key: str, stopped: asyncio.Event) -> None:
    """Ask again and again, on a new connection where a worker took the old one with it."""
    while not stopped.is_set():
        try:
            async with await Line.open(url) as line:
                while not stopped.is_set():
                    answer = await line.post(key, CHAT)
                    # 503: the database, of which this test says nothing, may be slow, too.
                    assert answer.status in (200, 429, 503), answer.body
                    if answer.status != 200:
                        await asyncio.sleep(random.uniform(0.05, 0.3))
        except (ConnectionError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)


async def kill_one(gateway: Serving) -> None:
    """Kill a worker, and wait until there is another."""
    async with asyncio.timeout(600 if LONG else 120):
        while listeners(gateway.url) < WORKERS:
            await asyncio.sleep(0.05)
    os.kill(random.choice(gateway.children()), signal.SIGKILL)
    await asyncio.sleep(random.uniform(*PAUSE_S))


@pytest.mark.timeout(seconds=3000)
@pytest.mark.parametrize("patient", [True, False] if LONG else [True])
async def test_ten_slots_are_never_eleven_though_workers_are_killed(
    lab: Lab, redis_server: RedisServer, tmp_path: Path, *, patient: bool
) -> None:
    running, stopped, payer = Running(), asyncio.Event(), await lab.account("100")
    (tmp_path / "sitecustomize.py").write_text(PATIENT if patient else "")
    environment = {
        "PYTHONPATH": str(tmp_path),
        "EZKIELYNA_PLUGINS": "openai,redis",
        "EZKIELYNA_REDIS__URL": redis_server.url,
        "EZKIELYNA_PLANS__DEFAULT__LIMITER": "redis",
        "EZKIELYNA_PLANS__DEFAULT__CONCURRENCY": str(CONCURRENCY),
    }
    slots = f"ezkielyna:{{{payer.account}}}:slots"
    async with (
        ScriptedUpstream(running.script) as upstream,
        lab.serving(upstream.url, workers=WORKERS, **environment) as gateway,
    ):
        clients = [
            asyncio.create_task(client(gateway.url, payer.key, stopped)) for _ in range(CLIENTS)
        ]
        for _ in range(KILLS):
            await kill_one(gateway)
            assert redis_server.command("ZCARD", slots) <= CONCURRENCY or not patient
        stopped.set()
        await asyncio.gather(*clients)
        assert gateway.output.count("a worker died") == KILLS
        away = "Redis is away" in gateway.output
    ended = time.monotonic()
    assert running.most <= (CONCURRENCY if patient else 1.2 * CONCURRENCY)
    assert running.served > KILLS
    assert redis_server.command("PTTL", slots) <= HOLD_S * 1000
    while LONG and redis_server.command("EXISTS", slots):
        assert time.monotonic() < ended + HOLD_S
        await asyncio.sleep(0.1)
    free = f"free after {time.monotonic() - ended:.1f} s" if LONG else ""
    print(f"{KILLS} kills, {running.served} served, {running.most} at once, {away=} {free}")
