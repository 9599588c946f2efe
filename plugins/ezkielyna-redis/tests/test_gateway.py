"""The limiter in a whole gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ezkielyna.gateway.catalogue import build_catalogue
from ezkielyna.plugins import load_plugins
from ezkielyna.settings import Refused, load
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.redis_server import RedisServer
from ezkielyna.testing.scripted import ScriptedUpstream, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}]}
PLAN = {"limiter": "redis", "rpm": 600, "tpm": 1_000_000, "concurrency": 5}


def test_a_plan_without_an_address_is_refused() -> None:
    settings = load((), {}, options={"plugins": ["redis"], "plans": {"default": PLAN}})
    with pytest.raises(Refused) as error:
        build_catalogue(settings, load_plugins(settings))
    assert "[redis] url" in str(error.value)


async def test_requests_are_served_with_and_without_redis(
    gateways: Any, redis_server: RedisServer
) -> None:
    tables = {
        "plugins": ["openai", "redis"],
        "redis": {"url": redis_server.url},
        "plans": {"default": PLAN},
    }
    async with (
        ScriptedUpstream(*[answering(200, JSON, chat_answer())] * 9) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):

        async def ask() -> Answer:
            return await post(gateway.url, gateway.key, CHAT, "/v1/chat/completions")

        answer = await ask()
        assert answer.status == 200, answer.body
        assert answer.headers["x-ratelimit-remaining-requests"] == "99"
        assert redis_server.command("EXISTS", f"ezkielyna:{{{gateway.account}}}:counts")
        redis_server.kill()
        for _ in range(8):
            answer = await ask()
            assert answer.status == 200
        assert 90 <= int(answer.headers["x-ratelimit-remaining-requests"]) < 99
        async with await Line.open(gateway.url) as line:
            async with asyncio.timeout(15):  # five failures, then the breaker opens
                while not (ready := await line.get("/readyz")).document["degraded"]:
                    await asyncio.sleep(0.1)
        assert ready.status == 200
        assert ready.document["status"] == "ready"
