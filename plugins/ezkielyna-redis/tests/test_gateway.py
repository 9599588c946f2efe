"""The limiter in a whole gateway."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ezkielyna.gateway.catalogue import build_catalogue
from ezkielyna.plugins import load_plugins
from ezkielyna.settings import Refused, load
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Line, post
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna_redis import breaker, link, remote

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}]}
PLAN = {"limiter": "redis", "rpm": 600, "tpm": 1_000_000, "concurrency": 5}


def test_a_plan_without_an_address_is_refused() -> None:
    settings = load((), {}, options={"plugins": ["redis"], "plans": {"default": PLAN}})
    with pytest.raises(Refused) as error:
        build_catalogue(settings, load_plugins(settings))
    assert "[redis] url" in str(error.value)


async def test_whatever_happens_to_redis_requests_are_served(
    gateways: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(breaker, "OPEN_S", 0.3)
    monkeypatch.setattr(remote, "CONNECT_S", 0.3)
    monkeypatch.setattr(link, "LIMIT_S", 0.3)  # the machine may be busy
    caplog.set_level(logging.WARNING, logger=remote.__name__)
    tables = {
        "plugins": ["openai", "redis"],
        "redis": {"url": redis_server.url},
        "plans": {"default": PLAN},
    }
    async with (
        ScriptedUpstream(*[answering(200, JSON, chat_answer())] * 99) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):

        async def ask() -> int:
            answer = await post(gateway.url, gateway.key, CHAT, "/v1/chat/completions")
            assert answer.status == 200, answer.body
            return int(answer.headers["x-ratelimit-remaining-requests"])

        async def ready(*, degraded: bool) -> str:
            async with asyncio.timeout(30):
                while True:
                    answer = await line.get("/readyz")
                    assert (answer.status, answer.document["status"]) == (200, "ready")
                    if bool(answer.document["degraded"]) is degraded:
                        return str(answer.document["degraded"])
                    await asyncio.sleep(0.02)

        counts, slots = (f"ezkielyna:{{{gateway.account}}}:{what}" for what in ("counts", "slots"))
        assert await ask() == 99
        assert redis_server.command("EXISTS", counts)
        for harm in (
            ("SCRIPT", "FLUSH"),
            ("FLUSHALL",),
            ("SET", counts, "x"),
            ("SET", slots, "x"),
            ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ):
            redis_server.command("DEL", counts, slots)
            redis_server.command(*harm)
            await ask()
        told = {name.decode() for name in redis_server.command("KEYS", "*")}
        assert told <= {counts, slots, "ezkielyna:{processes}"}, "no money, and nothing else"
        for harm, healing in (
            (redis_server.freeze, redis_server.thaw),
            (redis_server.kill, redis_server.start),
        ):
            assert await ready(degraded=False) == "[]"
            caplog.clear()
            harm()
            for _ in range(8):
                assert await ask() >= 80, "going on from what Redis told last"
            assert "Redis is away" in await ready(degraded=True)
            await ask()
            healing()
            await ready(degraded=False)
            await ask()
            said = [record.getMessage() for record in caplog.records]
            assert [text.split(":")[0] for text in said] == ["Redis is away", "Redis answers again"]
