"""An upstream that is cut, in every phase: right status, right bill, never half an answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chat_stream, chunk
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, post
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, head

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {"content-type": "text/event-stream"}
ANSWER = chat_answer("A whole answer that somebody would like to have.", 8, 10)
TEXT = "Some words were said. " * 4
SAID = chunk({"role": "assistant", "content": TEXT})

Phase = Callable[[Turn], Awaitable[None]]


async def before_head(_: Turn) -> None:
    pass


async def in_head(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER))})[:30])


async def after_head(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER))}))


async def in_body(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER))}) + ANSWER[:-20])


async def in_last_byte(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER))}) + ANSWER[:-1])


async def in_chunked_body(turn: Turn) -> None:
    await turn.begin(200, JSON)
    await turn.chunk(ANSWER[:-20])


async def before_last_chunk(turn: Turn) -> None:
    await turn.begin(200, JSON)
    await turn.chunk(ANSWER)


async def length_too_large(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER) + 5)}) + ANSWER)


async def length_too_small(turn: Turn) -> None:
    await turn.send(head(200, {**JSON, "content-length": str(len(ANSWER) - 5)}) + ANSWER)


async def no_http(turn: Turn) -> None:
    await turn.send(b"SSH-2.0-OpenSSH_9.6\r\n")


PLAIN: list[Phase] = [
    before_head,
    in_head,
    after_head,
    in_body,
    in_last_byte,
    in_chunked_body,
    before_last_chunk,
    length_too_large,
    length_too_small,
    no_http,
]


def cutting(phase: Phase, *, reset: bool) -> Phase:
    """Return the script that ends in this phase, in an orderly way or with a reset."""

    async def script(turn: Turn) -> None:
        await phase(turn)
        await asyncio.sleep(0.05)
        if reset:
            turn.reset()
        else:
            await turn.cut()

    return script


async def documents(gateway: RunningGateway, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + 5
    while True:
        found = [
            found async for found in gateway.database["usage"].find({}, sort=[("started_at", 1)])
        ]
        if len(found) >= count:
            return found
        assert time.monotonic() < end, f"{len(found)} usage documents of {count}"
        await asyncio.sleep(0.05)


async def ask(gateway: RunningGateway, **fields: Any) -> Answer:
    return await post(gateway.url, gateway.key, {**CHAT, **fields}, within_s=5)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_plain_answer_that_is_cut_costs_nothing(gateways: Gateways, *, reset: bool) -> None:
    scripts = [cutting(phase, reset=reset) for phase in PLAIN]
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        for phase in PLAIN:
            answer = await ask(gateway)
            assert (answer.status, answer.error) == (502, "upstream_error"), phase.__name__
            assert "127.0.0.1" not in answer.document["error"]["message"]
        assert len(upstream.requests) == len(PLAIN), "a request was sent twice"
        for phase, document in zip(PLAIN, await documents(gateway, len(PLAIN)), strict=True):
            assert document["outcome"] == "upstream_failed", phase.__name__
            assert (document["status"], document["cost"]) == (502, 0), phase.__name__
            assert document["bill"] == []


async def stream_before_head(_: Turn) -> None:
    pass


async def stream_in_head(turn: Turn) -> None:
    await turn.send(head(200, {**STREAM, "transfer-encoding": "chunked"})[:40])


async def stream_after_head(turn: Turn) -> None:
    await turn.begin(200, STREAM)


async def stream_in_first_event(turn: Turn) -> None:
    await turn.begin(200, STREAM)
    await turn.chunk(SAID[:25])


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_stream_that_never_began_is_an_error_and_costs_nothing(
    gateways: Gateways, *, reset: bool
) -> None:
    phases = [stream_before_head, stream_in_head, stream_after_head, stream_in_first_event]
    scripts = [cutting(phase, reset=reset) for phase in phases]
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        for phase in phases:
            answer = await ask(gateway, stream=True)
            assert (answer.status, answer.error) == (502, "upstream_error"), phase.__name__
        for document in await documents(gateway, len(phases)):
            assert (document["outcome"], document["status"]) == ("upstream_failed", 502)
            assert document["cost"] == 0


async def stream_after_an_event(turn: Turn) -> None:
    await turn.begin(200, STREAM)
    await turn.chunk(SAID)


async def stream_in_an_event(turn: Turn) -> None:
    await turn.begin(200, STREAM)
    await turn.chunk(SAID + SAID[:25])


async def stream_in_a_chunk(turn: Turn) -> None:
    await turn.begin(200, STREAM)
    await turn.send(b"%x\r\n" % (len(SAID) + 100) + SAID)


async def stream_with_a_broken_chunk(turn: Turn) -> None:
    await turn.begin(200, STREAM)
    await turn.chunk(SAID)
    await turn.send(b"no size\r\n")


BEGUN: list[Phase] = [
    stream_after_an_event,
    stream_in_an_event,
    stream_in_a_chunk,
    stream_with_a_broken_chunk,
]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_stream_that_is_cut_ends_in_band_and_costs_what_was_delivered(
    gateways: Gateways, *, reset: bool
) -> None:
    scripts = [cutting(phase, reset=reset) for phase in BEGUN]
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        for phase in BEGUN:
            answer = await ask(gateway, stream=True)
            assert answer.status == 200, phase.__name__
            first, *_, last = answer.body.split(b"\n\n")[:-1]
            assert orjson.loads(first[6:])["choices"][0]["delta"]["content"] == TEXT
            error = orjson.loads(last.removeprefix(b"data: "))["error"]
            assert (error["type"], error["code"]) == ("upstream_error", 502), phase.__name__
            assert DONE not in answer.body
            assert answer.body.count(b"Some words") == 4, "half an event was handed on"
        for phase, document in zip(BEGUN, await documents(gateway, len(BEGUN)), strict=True):
            assert document["outcome"] == "upstream_failed", phase.__name__
            assert document["source"] in ("counted", "estimated")
            assert 15 <= document["tokens"]["output"] <= 30, phase.__name__
            assert document["cost"] > 0


async def test_a_stream_that_lost_only_its_end_mark_is_complete(gateways: Gateways) -> None:
    async def without_done(turn: Turn) -> None:
        pieces = chat_stream(["a", "b", "c"])
        await turn.stream(pieces[:-1])

    async with ScriptedUpstream(without_done) as upstream, gateways(upstream.url) as gateway:
        answer = await ask(gateway, stream=True)
        assert answer.body.endswith(DONE)
        assert answer.body.count(DONE) == 1
        [document] = await documents(gateway, 1)
        assert (document["outcome"], document["source"]) == ("ok", "upstream")
        assert document["tokens"]["output"] == 3


async def test_usage_that_came_before_the_cut_is_what_is_billed(gateways: Gateways) -> None:
    async def after_usage(turn: Turn) -> None:
        await turn.begin(200, STREAM)
        await turn.chunk(b"".join(chat_stream(["a", "b", "c"])[:-1]))
        await asyncio.sleep(0.05)
        turn.reset()

    async with ScriptedUpstream(after_usage) as upstream, gateways(upstream.url) as gateway:
        answer = await ask(gateway, stream=True)
        assert answer.status == 200
        [document] = await documents(gateway, 1)
        assert document["source"] == "upstream"
        assert document["cost"] == 8 * 2500 + 3 * 10_000
