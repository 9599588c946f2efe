"""Requests whose head came before on their connection take a shorter way, to the same end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ezkielyna.gateway.delegates import ApiDelegate, ApiRouter
from ezkielyna.testing.dialect import JSON, chat_answer, chunk
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.scripts import Gate, stalling
from ezkielyna.wire.request_connection import RequestConnection

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
ANSWERING = answering(200, JSON, chat_answer())
CHANGING = ("x-request-id", "x-ratelimit-")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return, as it grows, which way each request took that was complete."""
    taken: list[str] = []
    take, finish = ApiRouter.take, ApiDelegate.finish

    def taking(router: ApiRouter, request: RequestConnection) -> bool:
        took = take(router, request)
        if took:
            taken.append("short")
        return took

    def finishing(delegate: ApiDelegate) -> None:
        taken.append("long")
        finish(delegate)

    monkeypatch.setattr(ApiRouter, "take", taking)
    monkeypatch.setattr(ApiDelegate, "finish", finishing)
    return taken


def lasting(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return what is the same for equal requests."""
    headers = {
        name: value for name, value in answer.headers.items() if not name.startswith(CHANGING)
    }
    return answer.status, headers, answer.body


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (CHAT, "/v1/chat/completions", 200),
        (CHAT, "/api/v1/chat/completions", 200),
        ({**CHAT, "messages": []}, "/v1/chat/completions", 400),
        ({**CHAT, "model": "nobody-sells-it"}, "/v1/chat/completions", 404),
    ],
)
async def test_a_request_that_comes_again_is_answered_as_the_first(
    gateways: Gateways, ways: list[str], body: dict[str, Any], path: str, status: int
) -> None:
    async with (
        ScriptedUpstream(*[ANSWERING] * 3) as upstream,
        gateways(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
    ):
        answers = [lasting(await line.post(gateway.key, body, path)) for _ in range(3)]
    assert ways == ["long", "short", "short"]
    assert answers[0][0] == status
    assert answers == [answers[0]] * 3


async def test_a_head_that_is_refused_is_refused_again(gateways: Gateways, ways: list[str]) -> None:
    async with gateways() as gateway:
        for _ in range(2):
            async with await Line.open(gateway.url) as line:  # a refusal closes its connection
                answer = await line.post(gateway.key, CHAT, "/v1/nothing")
                assert (answer.status, answer.headers["connection"]) == (404, "close")
    assert "short" not in ways


async def test_a_full_process_refuses_who_comes_again(gateways: Gateways, ways: list[str]) -> None:
    slow = Gate(ANSWERING)
    tables = {"server": {"max_in_flight": 1}}
    async with (
        ScriptedUpstream(ANSWERING, slow) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
        await Line.open(gateway.url) as line,
    ):
        assert (await line.post(gateway.key, CHAT)).status == 200
        running = asyncio.create_task(post(gateway.url, gateway.key, CHAT))
        await slow.asked.wait()
        refused = await line.post(gateway.key, CHAT)
        slow.open()
        assert (await running).status == 200
    assert (refused.status, refused.headers["connection"]) == (503, "close")
    assert "short" not in ways


async def test_what_a_client_sends_ahead_is_answered_in_order(
    gateways: Gateways, ways: list[str]
) -> None:
    said = [f"answer {number}" for number in range(6)]
    scripts = [answering(200, JSON, chat_answer(text)) for text in said]
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
    ):
        answers = [await line.post(gateway.key, CHAT)]
        for _ in said[1:]:
            line.send(gateway.key, CHAT)
            await asyncio.sleep(0.01)
        answers += [await line.answer() for _ in said[1:]]
    for text, answer in zip(said, answers, strict=True):
        assert text.encode() in answer.body
    assert ways.count("short") == len(said) - 1


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_client_that_leaves_ends_the_stream_that_it_asked_for_again(
    gateways: Gateways, ways: list[str], ahead: bool
) -> None:
    endless = stalling([chunk({"role": "assistant", "content": "word "})])
    async with (
        ScriptedUpstream(ANSWERING, endless) as upstream,
        gateways(upstream.url) as gateway,
    ):
        async with await Line.open(gateway.url) as line:
            assert (await line.post(gateway.key, CHAT)).status == 200
            line.send(gateway.key, {**CHAT, "stream": True})
            assert (await line.head()).status == 200
            if ahead:
                line.send(gateway.key, CHAT)
                await asyncio.sleep(0.05)
        async with asyncio.timeout(1.0):
            while not upstream.gone_at:
                await asyncio.sleep(0.01)
    assert ways == ["long", "short"]
