"""Streams: pushed as they come, cut as they must be, billed for what was delivered."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
import pytest

from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chat_stream, chunk
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.testing.scripts import EVENT_STREAM, Gate, cutting, stalling

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.fixture(params=["llhttp", "tornado"])
def wire(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"server": {"wire": request.param}}


@asynccontextmanager
async def streamed(gateway: RunningGateway, **fields: Any) -> AsyncIterator[httpx2.Response]:
    async with (
        httpx2.AsyncClient(timeout=20) as client,
        client.stream(
            "POST",
            f"{gateway.api}/chat/completions",
            json={**CHAT, **fields},
            headers=gateway.headers,
        ) as response,
    ):
        yield response


async def usage_document(gateway: RunningGateway, within_s: float = 5.0) -> dict[str, Any]:
    """Wait for the one usage document of the one request that was sent."""
    deadline = time.monotonic() + within_s
    while True:
        documents = [found async for found in gateway.database["usage"].find({})]
        if documents:
            assert len(documents) == 1
            return documents[0]
        assert time.monotonic() < deadline, "no usage document"
        await asyncio.sleep(0.05)


async def test_tokens_arrive_as_they_are_sent(gateways: Gateways, wire: dict[str, Any]) -> None:
    go_on = asyncio.Event()

    async def script(turn: Turn) -> None:
        first, *rest = chat_stream(["Hel", "lo"])
        await turn.begin(200, EVENT_STREAM)
        await turn.chunk(first)
        await go_on.wait()
        for piece in rest:
            await turn.chunk(piece)
        await turn.end()

    async with ScriptedUpstream(script) as upstream, gateways(upstream.url, tables=wire) as gateway:
        async with streamed(gateway) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-accel-buffering"] == "no"
            assert "content-encoding" not in response.headers
            arriving = response.aiter_raw()
            first = await anext(arriving)
            assert b'"role":"assistant"' in first
            go_on.set()
            rest = b"".join([data async for data in arriving])
        assert rest.endswith(DONE)
        assert b"usage" not in first + rest
        asked = orjson.loads(upstream.requests[0].body)
        assert asked["stream_options"] == {"include_usage": True}


async def test_usage_is_delivered_when_asked_for(gateways: Gateways) -> None:
    script = streaming(chat_stream(["a", "b", "c"]))
    async with ScriptedUpstream(script) as upstream, gateways(upstream.url) as gateway:
        async with streamed(gateway, stream_options={"include_usage": True}) as response:
            body = await response.aread()
        events = [orjson.loads(line[6:]) for line in body.split(b"\n\n")[:-2]]
        assert all(event["usage"] is None for event in events[:-1])
        assert events[-1]["choices"] == []
        usage = events[-1]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (8, 3)
        assert usage["cost"] == pytest.approx(8 * 2.5e-6 + 3 * 10e-6)
        document = await usage_document(gateway)
        assert document["cost"] == round(usage["cost"] * 1e9)


async def test_a_client_that_leaves_aborts_the_upstream_within_a_second(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    endless = stalling([chunk({"role": "assistant", "content": "word "})])
    async with (
        ScriptedUpstream(endless) as upstream,
        gateways(upstream.url, tables=wire) as gateway,
    ):
        async with streamed(gateway) as response:
            await anext(response.aiter_raw())
        left = asyncio.get_running_loop().time()
        while not upstream.gone_at:
            assert asyncio.get_running_loop().time() - left < 1.0
            await asyncio.sleep(0.01)
        document = await usage_document(gateway)
        assert document["outcome"] == "client_gone"
        assert document["source"] in ("counted", "estimated")
        assert document["cost"] > 0


async def test_a_client_that_leaves_before_the_first_byte_pays_nothing(gateways: Gateways) -> None:
    async with ScriptedUpstream(stalling()) as upstream, gateways(upstream.url) as gateway:
        task = asyncio.create_task(_read(gateway))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        document = await usage_document(gateway)
        assert document["outcome"] == "client_gone"
        assert document["cost"] == 0


async def _read(gateway: RunningGateway, **fields: Any) -> bytes:
    async with streamed(gateway, **fields) as response:
        return await response.aread()


async def test_a_plain_request_outlives_its_client(gateways: Gateways) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    async with ScriptedUpstream(slow) as upstream, gateways(upstream.url) as gateway:
        task = asyncio.create_task(_read(gateway, stream=False))
        await slow.asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert not upstream.gone_at
        slow.open()
        document = await usage_document(gateway)
        assert document["outcome"] == "ok"
        assert document["cost"] == 8 * 2500 + 2 * 10_000


async def test_a_silent_upstream_is_covered_by_heartbeats(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    async def thinking(turn: Turn) -> None:
        await turn.begin(200, EVENT_STREAM)
        await asyncio.sleep(2.6)
        for piece in chat_stream(["done"]):
            await turn.chunk(piece)
        await turn.end()

    tables = {"server": {**wire["server"], "heartbeat_s": 1.0}}
    async with (
        ScriptedUpstream(thinking) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        body = await _read(gateway)
        assert body.startswith(b": keep-alive\n\n")
        assert body.count(b": keep-alive\n\n") == 2
        assert body.endswith(DONE)


async def test_a_slow_client_pauses_its_own_upstream_only(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    piece = chunk({"content": "x" * 16_000})
    sent = 0

    async def firehose(turn: Turn) -> None:
        nonlocal sent
        await turn.begin(200, EVENT_STREAM)
        for _ in range(2000):
            await turn.chunk(piece)
            sent += 1
        await turn.chunk(chunk({}, "stop") + DONE)
        await turn.end()

    quick = streaming(chat_stream(["quick"]))
    async with (
        ScriptedUpstream(firehose, quick) as upstream,
        gateways(upstream.url, tables=wire, credit="100000") as gateway,
    ):
        slow = socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])))
        body = orjson.dumps({**CHAT, "model": "free-lab"})
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (gateway.key.encode(), len(body), body)
        )
        before = -1
        while sent != before or sent == 0:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 1500, "the upstream was not paused"
        assert (await _read(gateway)).endswith(DONE)
        slow.setblocking(False)
        received = b""
        loop = asyncio.get_running_loop()
        while not received.endswith(b"0\r\n\r\n"):
            data = await loop.sock_recv(slow, 1 << 20)
            assert data
            received = (received + data)[-64:]
        assert sent == 2000
        slow.close()


async def test_a_cut_stream_is_billed_for_what_was_delivered(gateways: Gateways) -> None:
    cut = cutting([chunk({"content": "Some words were said. " * 4})], after=1)
    async with ScriptedUpstream(cut) as upstream, gateways(upstream.url) as gateway:
        assert b'"upstream_error"' in await _read(gateway)
        document = await usage_document(gateway)
        assert document["outcome"] == "upstream_failed"
        assert document["source"] in ("counted", "estimated")
        assert 15 <= document["tokens"]["output"] <= 30


async def test_money_that_ends_in_mid_stream_ends_it_in_band(gateways: Gateways) -> None:
    async def endless(turn: Turn) -> None:
        await turn.begin(200, EVENT_STREAM)
        while not turn.gone.is_set():
            await turn.chunk(b"".join(chunk({"content": "word "}) for _ in range(100)))
            await asyncio.sleep(0.01)

    async with (
        ScriptedUpstream(endless) as upstream,
        gateways(upstream.url, credit="0.02") as gateway,
    ):
        body = await _read(gateway)
        last = orjson.loads(body.split(b"\n\n")[-2].removeprefix(b"data: "))
        assert last["error"]["type"] == "insufficient_balance"
        assert last["error"]["code"] == 402
        assert DONE not in body
        document = await usage_document(gateway)
        assert document["outcome"] == "money_ended"
        assert 0.01e9 < document["cost"] < 0.05e9
