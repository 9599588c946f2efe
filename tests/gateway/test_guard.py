"""The process's own limits: 503 before any work, and back again."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ezkielyna.contract.errors import Overloaded
from ezkielyna.gateway import guard
from ezkielyna.gateway.guard import FEW, MIB, Guard, memory_share, resident_bytes
from ezkielyna.storage.keyformat import generate
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.scripts import Gate

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def overloaded(answer: Answer, retry_after: str) -> None:
    assert (answer.status, answer.error) == (503, "overloaded")
    assert answer.headers["retry-after"] == retry_after
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_more_in_flight_than_may_be_are_refused_before_any_work(
    gateways: Gateways, wire: str
) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    tables = {"server": {"wire": wire, "max_in_flight": 2}}
    async with (
        ScriptedUpstream(slow) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):
        running = [asyncio.create_task(post(gateway.url, gateway.key, CHAT)) for _ in range(2)]
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.01)
        gateway.database.commands.clear()
        for key in (gateway.key, generate(), "ez-garbage"):
            overloaded(await post(gateway.url, key, CHAT), "1")
        assert "aggregate" not in gateway.database.commands, "not even the key is looked up"
        assert (await line.get("/healthz")).status == 200
        assert (await line.get("/readyz")).status == 200
        assert len(upstream.requests) == 2
        slow.open()
        assert {answer.status for answer in await asyncio.gather(*running)} == {200}
        assert (await post(gateway.url, gateway.key, CHAT)).status == 200


async def test_without_memory_few_are_served_at_a_time(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used = 50 * MIB
    monkeypatch.setattr(guard, "LOOK_S", 0.01)
    monkeypatch.setattr(guard, "FEW", 0)
    monkeypatch.setattr(guard, "resident_bytes", lambda: used)
    tables = {"server": {"max_memory_mib": 100}}
    async with gateways(tables=tables) as gateway:

        async def models() -> Answer:
            async with await Line.open(gateway.url) as line:  # a refusal closes its connection
                return await line.get("/v1/models", gateway.key)

        async def until(status: int) -> Answer:
            async with asyncio.timeout(10):
                while (answer := await models()).status != status:
                    await asyncio.sleep(0.01)
            return answer

        assert (await models()).status == 200
        used = 101 * MIB
        with caplog.at_level(logging.CRITICAL):
            overloaded(await until(503), "5")
            async with await Line.open(gateway.url) as line:
                assert "memory" in str((await line.get("/readyz")).document["degraded"])
            used = 97 * MIB
            await asyncio.sleep(0.1)
            overloaded(await models(), "5")
            used = 94 * MIB
            await until(200)


async def test_past_its_memory_a_process_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Guard(100, 10 * MIB, lambda: 11 * MIB)
    assert watched.most == 100
    watched.start()
    assert watched.most == FEW
    assert isinstance(watched.refusal(), Overloaded)
    assert watched.trouble
    watched.close()


async def test_who_cannot_know_does_not_look() -> None:
    watched: Any = Guard(5, 10 * MIB, lambda: 0)
    watched.start()
    assert watched._timer is None
    assert watched.most == 5
    watched.close()


def test_what_a_process_may_have() -> None:
    assert memory_share(512, 4) == 512 * MIB
    whole = memory_share(0, 1)
    assert whole > 100 * MIB
    assert memory_share(0, 4) == whole // 4


def test_resident_memory_is_this_processs() -> None:
    before = resident_bytes()
    if not before:
        pytest.skip("this system does not tell")
    ballast = bytearray(64 * MIB)
    assert resident_bytes() - before > 32 * MIB
    del ballast
