"""The six rate headers: on every answer to a key that is good, whatever the answer is."""

import asyncio
import time
from typing import Any

import pytest

from ezkielyna.contract.limits import Override
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna.testing.scripts import Gate

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
ANSWERING = answering(200, JSON, chat_answer())
LIMITED = {"rpm": 600, "tpm": 6_000_000, "concurrency": 2}
RATE_HEADERS = {
    f"x-ratelimit-{what}-{of}"
    for what in ("limit", "remaining", "reset")
    for of in ("requests", "tokens")
}


@pytest.fixture(params=["llhttp", "tornado"])
def tables(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"server": {"wire": request.param}, "plans": {"default": LIMITED}}


def limits(answer: Answer) -> dict[str, str]:
    """Assert that all six are there and well-formed, and return them."""
    found = {name: text for name, text in answer.headers.items() if "ratelimit" in name}
    assert set(found) == RATE_HEADERS, (answer.status, answer.body)
    assert found["x-ratelimit-limit-requests"] == "600"
    assert found["x-ratelimit-limit-tokens"] == "6000000"
    assert 0 <= int(found["x-ratelimit-remaining-requests"]) <= 600
    assert 0 <= int(found["x-ratelimit-remaining-tokens"]) <= 6_000_000
    for of in ("requests", "tokens"):
        assert found[f"x-ratelimit-reset-{of}"][-1] == "s"
    return found


async def ask(gateway: RunningGateway, body: Any = CHAT, path: str = "/chat/completions") -> Answer:
    return await post(gateway.url, gateway.key, body, f"/v1{path}")


async def test_answers_carry_them(gateways: Gateways, tables: dict[str, Any]) -> None:
    scripts = [ANSWERING, streaming(chat_stream(["a"]))]
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):
        plain = await ask(gateway)
        assert plain.status == 200
        first = limits(plain)
        stream = await ask(gateway, {**CHAT, "stream": True})
        assert stream.status == 200
        second = limits(stream)
        remaining = "x-ratelimit-remaining-requests"
        assert int(second[remaining]) <= int(first[remaining]) < 600
        for path in ("/v1/models", "/v1/models/gpt-lab"):
            limits(await line.get(path, gateway.key))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"model": "gpt-lab"}),
        (400, {**CHAT, "temperature": 3}),
        (404, {**CHAT, "model": "gpt-nowhere"}),
        (403, {**CHAT, "model": "image-lab"}),
    ],
    ids=["no messages", "temperature", "unknown model", "model outside the plan"],
)
async def test_refusals_after_authentication_carry_them(
    gateways: Gateways, tables: dict[str, Any], status: int, body: Any
) -> None:
    tables["plans"] = {"default": {**LIMITED, "models": ["gpt-*"]}}
    async with gateways(tables=tables) as gateway:
        answer = await ask(gateway, body)
        assert answer.status == status, answer.body
        limits(answer)


async def test_402_and_what_an_upstream_did_carry_them(
    gateways: Gateways, tables: dict[str, Any]
) -> None:
    async with gateways(tables=tables, credit="0") as gateway:
        answer = await ask(gateway)
        assert answer.status == 402
        limits(answer)
        free = await ask(gateway, {**CHAT, "model": "free-lab"})
        assert free.status == 502
        limits(free)


async def test_unknown_models_and_wrong_parameters_of_lists_carry_them(
    gateways: Gateways, tables: dict[str, Any]
) -> None:
    async with gateways(tables=tables) as gateway, await Line.open(gateway.url) as line:
        for path, status in (("/v1/models/nothing", 404), ("/v1/models?limit=x", 400)):
            answer = await line.get(path, gateway.key)
            assert answer.status == status
            limits(answer)


async def test_429_carries_them_once(gateways: Gateways, tables: dict[str, Any]) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    async with (
        ScriptedUpstream(slow) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        running = [asyncio.create_task(ask(gateway)) for _ in range(2)]
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.01)
        answer = await ask(gateway)
        assert (answer.status, answer.error) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        limits(answer)
        slow.open()
        assert {answer.status for answer in await asyncio.gather(*running)} == {200}
        assert (await ask(gateway)).status == 200


async def test_who_is_not_known_sees_no_limits(gateways: Gateways, tables: dict[str, Any]) -> None:
    async with gateways(tables=tables) as gateway:
        answer = await post(gateway.url, "ez-nobody", CHAT)
        assert answer.status == 401
        assert not RATE_HEADERS & set(answer.headers)


async def test_without_limits_so_much_is_left_that_nobody_waits(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        answer = await ask(gateway)
        assert answer.status == 200
        for of in ("requests", "tokens"):
            assert answer.headers[f"x-ratelimit-limit-{of}"] == "2147483647"
            assert answer.headers[f"x-ratelimit-remaining-{of}"] == "2147483647"
            assert answer.headers[f"x-ratelimit-reset-{of}"] == "0s"


async def test_a_key_and_a_model_have_limits_of_their_own(gateways: Gateways) -> None:
    limited = {"rpm": 600, "key": {"rpm": 60}, "model": {"free-*": {"rpm": 6}}}
    answering_often = [ANSWERING] * 12
    async with (
        ScriptedUpstream(*answering_often) as upstream,
        gateways(upstream.url, tables={"plans": {"default": limited}}) as gateway,
        await Line.open(gateway.url) as line,
    ):
        answer = await line.get("/v1/models", gateway.key)
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        answer = await ask(gateway, {**CHAT, "model": "free-lab"})
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "6"
        answer = await ask(gateway, {**CHAT, "model": "free-lab"})
        assert (answer.status, answer.error) == (429, "rate_limited")
        assert "for the model 'free-lab'" in answer.document["error"]["message"]
        assert int(answer.headers["retry-after"]) in (9, 10)
        answer = await ask(gateway)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "60"


async def test_overrides_reach_a_running_process_within_five_seconds(gateways: Gateways) -> None:
    tables = {"plans": {"default": {"rpm": 60, "key": {"rpm": 6}}}}
    async with gateways(tables=tables) as gateway, await Line.open(gateway.url) as line:

        async def shown(limit: str) -> None:
            began = time.monotonic()
            while True:
                answer = await line.get("/v1/models", gateway.key)
                if answer.headers["x-ratelimit-limit-requests"] == limit:
                    return
                assert time.monotonic() < began + 5
                await asyncio.sleep(0.05)

        await shown("6")
        await Keys(gateway.database, SECRET).set_limits(gateway.key_id, Override(rpm=120))
        await shown("60")
        await Accounts(gateway.database).set_limits(gateway.email, Override(rpm=1200))
        await shown("120")
        await Keys(gateway.database, SECRET).set_limits(gateway.key_id, None)
        await shown("6")


async def test_tokens_that_were_not_used_come_back(gateways: Gateways) -> None:
    tables = {"plans": {"default": {"tpm": 60_000}}}
    async with (
        ScriptedUpstream(ANSWERING) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):
        remaining = "x-ratelimit-remaining-tokens"
        answer = await ask(gateway, {**CHAT, "max_tokens": 5000})
        promised = int(answer.headers[remaining])
        assert promised < 60_000 - 1000
        after = int((await line.get("/v1/models", gateway.key)).headers[remaining])
        assert after > promised + 900, "10 tokens were used, and 1000 kept"
