"""The simulated server on real sockets, read by the official SDK and by hand."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest
from ezkielyna_simulator import Script, SimulatedServer, SimulatorProvider, register_providers
from ezkielyna_simulator import shutdown as shutdown_hook
from ezkielyna_simulator import startup as startup_hook

CHAT = {"model": "sim-gpt", "messages": [{"role": "user", "content": "Is it raining?"}]}


def port_of(server: SimulatedServer) -> int:
    return int(server.address.rpartition(":")[2].removesuffix("/v1"))


@asynccontextmanager
async def connection(
    server: SimulatedServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server), limit=2**18)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def http(path: str, body: Any, method: str = "POST") -> bytes:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"{method} /v1{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    if "chunked" not in headers.get("transfer-encoding", ""):
        return (
            int(lines[0].split()[1]),
            headers,
            await reader.readexactly(int(headers["content-length"])),
        )
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return int(lines[0].split()[1]), headers, b"".join(parts)


async def ask(
    server: SimulatedServer, path: str, body: Any, method: str = "POST"
) -> tuple[int, dict[str, str], Any]:
    async with connection(server) as (reader, writer):
        writer.write(http(path, body, method))
        status, headers, raw = await read_answer(reader)
    if headers["content-type"].startswith("text/event-stream"):
        return status, headers, raw
    return status, headers, orjson.loads(raw)


def chunks(raw: bytes) -> list[dict[str, Any]]:
    events = [event.removeprefix(b"data: ") for event in raw.split(b"\n\n")[:-1]]
    assert events.pop() == b"[DONE]"
    return [orjson.loads(event) for event in events]


async def test_a_plain_chat_is_friendly_and_says_that_it_is_simulated() -> None:
    async with SimulatedServer() as server:
        status, _, answer = await ask(server, "/chat/completions", CHAT)
    message = answer["choices"][0]["message"]
    assert status == 200
    assert "simulated" in message["content"]
    assert "Is it raining?" in message["content"]
    usage = answer["usage"]
    assert usage["completion_tokens"] == len(message["content"].split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_same_seed_gives_the_same_answer_and_another_another() -> None:
    async def said(seed: int) -> str:
        async with SimulatedServer(Script(seed=seed)) as server:
            _, _, answer = await ask(server, "/chat/completions", CHAT)
        return str(answer["choices"][0]["message"]["content"])

    texts = [await said(seed) for seed in range(6)]
    assert [await said(seed) for seed in range(6)] == texts
    assert len(set(texts)) > 1


async def test_a_stream_says_what_the_plain_answer_says() -> None:
    async with SimulatedServer() as server:
        _, _, plain = await ask(server, "/chat/completions", {**CHAT, "n": 2})
        _, _, raw = await ask(server, "/chat/completions", {**CHAT, "n": 2, "stream": True})
    seen = chunks(raw)
    for choice in plain["choices"]:
        mine = [c["choices"][0] for c in seen if c["choices"][0]["index"] == choice["index"]]
        text = "".join(c["delta"].get("content") or "" for c in mine)
        assert text == choice["message"]["content"]
        assert mine[0]["delta"]["role"] == "assistant"
        assert [c["finish_reason"] for c in mine[-2:]] == [None, "stop"]
    assert all("usage" not in chunk for chunk in seen)
    assert len({chunk["id"] for chunk in seen}) == 1


async def test_usage_is_null_on_all_chunks_but_an_extra_last_one() -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    async with SimulatedServer(Script(tokens=5)) as server:
        _, _, raw = await ask(server, "/chat/completions", body)
    *rest, last = chunks(raw)
    assert all(chunk["usage"] is None for chunk in rest)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


async def test_limits_stop_sequences_and_lengths() -> None:
    async with SimulatedServer() as server:
        _, _, cut = await ask(server, "/chat/completions", {**CHAT, "max_tokens": 3})
        _, _, stopped = await ask(server, "/chat/completions", {**CHAT, "stop": "raining"})
        _, _, long = await ask(server, "/chat/completions", {**CHAT, "simulate": {"tokens": 500}})
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3
    assert stopped["choices"][0]["message"]["content"].endswith("Is it ") or stopped["choices"][0][
        "message"
    ]["content"].endswith("Is it")
    assert long["usage"]["completion_tokens"] == 500


async def test_reasoning_models_think_first() -> None:
    async with SimulatedServer() as server:
        _, _, answer = await ask(server, "/chat/completions", {**CHAT, "model": "sim-reasoning"})
    assert answer["choices"][0]["message"]["reasoning_content"]
    details = answer["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < answer["usage"]["completion_tokens"]


async def test_forced_tools_are_called_with_fitting_arguments() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "integer"},
        },
    }
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    forced = {**CHAT, "tools": tools, "tool_choice": "required"}
    named = {**forced, "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    async with SimulatedServer() as server:
        _, _, plain = await ask(server, "/chat/completions", forced)
        _, _, raw = await ask(server, "/chat/completions", {**named, "stream": True})
        _, _, free = await ask(server, "/chat/completions", {**CHAT, "tools": tools})
    call = plain["choices"][0]["message"]["tool_calls"][0]
    assert orjson.loads(call["function"]["arguments"]) == {
        "city": "simulated",
        "unit": "C",
        "days": 1,
    }
    assert plain["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [c["choices"][0]["delta"].get("tool_calls") for c in chunks(raw)]
    fragments = [delta[0]["function"].get("arguments", "") for delta in deltas if delta]
    assert "".join(fragments) == call["function"]["arguments"]
    assert "tool_calls" not in free["choices"][0]["message"]


async def test_completions_of_several_prompts() -> None:
    body = {"model": "sim-gpt", "prompt": ["one", "two"], "n": 2, "max_tokens": 4}
    async with SimulatedServer() as server:
        _, _, answer = await ask(server, "/completions", body)
        _, _, raw = await ask(server, "/completions", {**body, "stream": True})
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 16
    assert {chunk["object"] for chunk in chunks(raw)} == {"text_completion"}


async def test_embeddings_are_of_length_one_in_both_encodings() -> None:
    body = {"model": "sim-embedding", "input": ["a", "b"], "dimensions": 8}
    async with SimulatedServer() as server:
        _, _, floats = await ask(server, "/embeddings", body)
        _, _, packed = await ask(server, "/embeddings", {**body, "encoding_format": "base64"})
    for plain, text in zip(floats["data"], packed["data"], strict=True):
        unpacked = struct.unpack("<8f", base64.b64decode(text["embedding"]))
        assert list(unpacked) == plain["embedding"]
        assert sum(x * x for x in unpacked) == pytest.approx(1.0, abs=1e-6)
    assert floats["data"][0] != floats["data"][1]
    assert floats["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_images_are_real_pictures() -> None:
    body = {"model": "sim-image", "prompt": "a lamp", "n": 2}
    async with SimulatedServer() as server:
        _, _, answer = await ask(server, "/images/generations", body)
        _, _, raw = await ask(
            server, "/images/generations", {**body, "n": 1, "stream": True, "partial_images": 1}
        )
    for item in answer["data"]:
        picture = base64.b64decode(item["b64_json"])
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(zlib.decompress(picture[picture.index(b"IDAT") + 4 : -16])) == 64 * (64 * 3 + 1)
        assert "url" not in item
    assert raw.count(b"event: image_generation.partial_image\n") == 1
    assert raw.count(b"event: image_generation.completed\n") == 1
    assert b"[DONE]" not in raw


async def test_models_unknown_paths_and_bad_bodies() -> None:
    async with SimulatedServer() as server:
        _, _, models = await ask(server, "/models", b"", "GET")
        lost, _, _ = await ask(server, "/nothing", CHAT)
        garbled, _, _ = await ask(server, "/chat/completions", b"{")
        empty, _, _ = await ask(server, "/chat/completions", {"model": "m", "messages": []})
        odd, _, _ = await ask(server, "/chat/completions", {**CHAT, "n": "many"})
    assert "sim-gpt" in {model["id"] for model in models["data"]}
    assert (lost, garbled, empty, odd) == (404, 400, 400, 400)


@pytest.mark.parametrize("wrong", [{"nope": 1}, {"tokens": "many"}, {"usage": 1}, "fast"])
async def test_a_wrong_simulate_field_is_named(wrong: Any) -> None:
    async with SimulatedServer() as server:
        status, _, answer = await ask(server, "/chat/completions", {**CHAT, "simulate": wrong})
    assert (status, answer["error"]["param"]) == (400, "simulate")


async def test_errors_as_told() -> None:
    async with SimulatedServer() as server:
        limited, headers, answer = await ask(
            server, "/chat/completions", {**CHAT, "simulate": {"error": 429}}
        )
        body = {**CHAT, "stream": True, "simulate": {"error_after": 2}}
        _, _, raw = await ask(server, "/chat/completions", body)
    assert (limited, headers["retry-after"]) == (429, "1")
    assert answer["error"]["code"] == "rate_limit_exceeded"
    events = raw.split(b"\n\n")[:-1]
    assert len(events) == 3
    assert b'"error"' in events[-1]


async def test_the_error_rate_is_a_share_and_repeats_with_the_seed() -> None:
    async def statuses() -> list[int]:
        async with SimulatedServer(Script(error_rate=0.5, seed=7)) as server:
            return [(await ask(server, "/chat/completions", CHAT))[0] for _ in range(20)]

    first = await statuses()
    assert 4 <= first.count(500) <= 16
    assert await statuses() == first


async def test_a_cut_stream_ends_without_its_end() -> None:
    body = {**CHAT, "stream": True, "simulate": {"cut_after": 2, "pace": 200}}
    async with SimulatedServer() as server, connection(server) as (reader, writer):
        writer.write(http("/chat/completions", body))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readuntil(b"[DONE]")


async def test_first_byte_and_pace_take_their_time() -> None:
    body = {**CHAT, "stream": True, "simulate": {"first_byte_s": 0.2, "pace": 50, "tokens": 10}}
    async with SimulatedServer() as server, connection(server) as (reader, writer):
        started = time.monotonic()
        writer.write(http("/chat/completions", body))
        await reader.readuntil(b"\r\n\r\n")
        assert time.monotonic() - started >= 0.19
        await reader.readuntil(b"0\r\n\r\n")
        assert time.monotonic() - started >= 0.2 + 11 / 50 - 0.02


async def test_a_client_that_leaves_is_noticed() -> None:
    body = {**CHAT, "stream": True, "simulate": {"pace": 20, "tokens": 1000}}
    async with SimulatedServer() as server:
        async with connection(server) as (reader, writer):
            writer.write(http("/chat/completions", body))
            await reader.readuntil(b"\n\n")
        for _ in range(100):
            if server.abandoned:
                break
            await asyncio.sleep(0.01)
        assert server.abandoned == 1


async def test_a_slow_reader_holds_the_stream_back_and_loses_nothing() -> None:
    body = {**CHAT, "stream": True, "simulate": {"pace": 1_000_000, "tokens": 40_000}}
    async with SimulatedServer() as server, connection(server) as (reader, writer):
        writer.write(http("/chat/completions", body))
        await asyncio.sleep(0.3)
        _, _, raw = await read_answer(reader)
    assert len(chunks(raw)) == 40_002


async def test_a_connection_serves_one_request_after_the_other() -> None:
    wanted = [{**CHAT, "stream": number % 2 == 1, "simulate": {"tokens": 2}} for number in range(9)]
    async with SimulatedServer() as server, connection(server) as (reader, writer):
        pipelined = b"".join(http("/chat/completions", body) for body in wanted)
        for start in range(0, len(pipelined), 61):
            writer.write(pipelined[start : start + 61])
        for body in wanted:
            status, headers, _ = await read_answer(reader)
            assert status == 200
            assert headers["content-type"].startswith("text/event") is body["stream"]
        assert server.requests == 9


async def test_chunked_bodies_expectations_and_closing() -> None:
    raw = orjson.dumps(CHAT)
    async with SimulatedServer() as server:
        async with connection(server) as (reader, writer):
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n")
            writer.write(b"Connection: close\r\n\r\n")
            for byte in (raw[:10], raw[10:]):
                writer.write(b"%x\r\n%b\r\n" % (len(byte), byte))
            writer.write(b"0\r\n\r\n")
            status, headers, _ = await read_answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            assert await reader.read() == b""
        async with connection(server) as (reader, writer):
            head, body = http("/chat/completions", CHAT).split(b"\r\n\r\n", 1)
            writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await read_answer(reader))[0] == 200


class Room:
    """As much of a gateway as the hooks look at."""

    def __init__(self, **providers: SimulatorProvider) -> None:
        self.providers = providers


async def test_the_hooks_start_a_server_for_every_simulated_provider() -> None:
    settings = SimulatorProvider.Settings
    one = SimulatorProvider("one", settings(length=3))
    two = SimulatorProvider("two", settings(length=4))
    away = SimulatorProvider("away", settings(base_url="http://127.0.0.1:9/v1"))
    room: Any = Room(one=one, two=two, away=away)
    assert register_providers() == [SimulatorProvider]
    assert one.address == ""
    await startup_hook(room)
    try:
        assert away.server is None
        assert away.address == "http://127.0.0.1:9/v1"
        assert one.address != two.address
        request = ChatRequest.parse(orjson.dumps(CHAT))
        exchange = two.exchange(request, "sim-gpt")
        assert exchange.request.url == two.address + "/chat/completions"
        assert two.server is not None
        _, headers, answer = await ask(two.server, "/chat/completions", exchange.request.body)
        exchange.answer(200, headers, orjson.dumps(answer))
        assert exchange.usage is not None
        assert exchange.usage.output == 4
    finally:
        await shutdown_hook(room)
    assert one.address == ""
    await shutdown_hook(room)


def test_the_default_pace_is_one_that_people_can_read() -> None:
    script = SimulatorProvider("demo", SimulatorProvider.Settings()).script
    assert script == Script(first_byte_s=0.05, pace=60.0)


async def test_as_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ezkielyna_simulator",
        "--length=2",
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on http://127.0.0.1:")
    server = SimulatedServer()
    server.address = line.split()[-1]
    _, _, answer = await ask(server, "/chat/completions", CHAT)
    assert answer["usage"]["completion_tokens"] == 2
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
