"""The whole way: the official SDK, the gateway, and an upstream that answers as recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.recordings import recordings
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming

Json = dict[str, Any]
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TABLES: Json = {
    "plugins": ["openai", "anthropic"],
    "providers": {"lab": {"kind": "anthropic"}},
    "models": {"gpt-lab": {"upstream_model": "claude-haiku-4-5"}},
}
CONTENT: list[Json] = [
    {"type": "thinking", "thinking": "I should ask f.", "signature": "c2lnbmVk"},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 6}},
]
JSON = {"content-type": "application/json"}


def message(content: list[Json], stop: str) -> bytes:
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
    usage = {"input_tokens": 40, "output_tokens": 20}
    return orjson.dumps({**told, "content": content, "stop_reason": stop, "usage": usage})


@asynccontextmanager
async def through(gateways: Gateways, upstream: ScriptedUpstream) -> AsyncIterator[AsyncOpenAI]:
    """Start a gateway before the upstream and hand out an SDK that talks to it."""
    async with (
        gateways(upstream.url, tables=TABLES) as gateway,
        AsyncOpenAI(base_url=gateway.api, api_key=gateway.key, max_retries=0) as sdk,
    ):
        yield sdk


async def overloaded(turn: Turn) -> None:
    """Answer as Anthropic does where it has no room; 529 is no registered status."""
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    lines = f"HTTP/1.1 529 Overloaded\r\nretry-after: 3\r\ncontent-length: {len(body)}\r\n\r\n"
    await turn.send(lines.encode() + body)


async def test_a_tool_loop_keeps_its_thinking_through_the_sdk_alone(gateways: Gateways) -> None:
    upstream = ScriptedUpstream(
        answering(200, JSON, message(CONTENT, "tool_use")),
        answering(200, JSON, message([{"type": "text", "text": "42"}], "end_turn")),
    )
    async with upstream, through(gateways, upstream) as sdk:
        asked: list[Any] = [{"role": "user", "content": "6 times 7?"}]
        same: Json = {"model": "gpt-lab", "tools": [TOOL], "reasoning_effort": "low"}
        first = (await sdk.chat.completions.create(messages=asked, **same)).choices[0].message
        assert first.tool_calls
        calls = [
            {"id": call.id, "type": "function", "function": call.function.model_dump()}
            for call in first.tool_calls
            if call.type == "function"
        ]
        asked.append({"role": "assistant", "content": first.content, "tool_calls": calls})
        asked.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "42"})
        last = await sdk.chat.completions.create(messages=asked, **same)
    assert last.choices[0].message.content == "42"
    sent = orjson.loads(upstream.requests[1].body)
    assert sent["messages"][1]["content"] == CONTENT
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert upstream.requests[0].target == "/v1/messages"
    assert upstream.requests[0].headers["x-api-key"] == "upstream-key"


async def test_a_recorded_stream_reaches_the_sdk_whole(gateways: Gateways) -> None:
    streams = recordings(provider="anthropic", mode="sse", covers="parallel_tool_use")
    if not streams:
        pytest.skip("no recordings")
    body = streams[0].response.body
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
    upstream = ScriptedUpstream(streaming(pieces))
    async with upstream, through(gateways, upstream) as sdk:
        stream = sdk.chat.completions.stream(
            model="gpt-lab",
            messages=[{"role": "user", "content": "Go."}],
            stream_options={"include_usage": True},
        )
        async with stream as events:
            done = await events.get_final_completion()
    calls = done.choices[0].message.tool_calls
    assert calls
    assert len(calls) > 1
    assert all(isinstance(orjson.loads(call.function.arguments), dict) for call in calls)
    assert done.choices[0].finish_reason == "tool_calls"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.usage.model_extra
    assert done.usage.model_extra["cost"] > 0


async def test_what_was_dropped_is_told_and_an_overload_is_a_503(gateways: Gateways) -> None:
    upstream = ScriptedUpstream(
        answering(200, JSON, message([{"type": "text", "text": "hi"}], "end_turn")),
        overloaded,
    )
    async with upstream, through(gateways, upstream) as sdk:
        fields: Json = {"model": "gpt-lab", "messages": [{"role": "user", "content": "hi"}]}
        raw = await sdk.chat.completions.with_raw_response.create(**fields, seed=7)
        assert raw.headers["x-ezkielyna-dropped"] == "seed"
        with pytest.raises(openai.InternalServerError) as raised:
            await sdk.chat.completions.create(**fields)
    assert raised.value.status_code == 503
    assert raised.value.response.headers["retry-after"] == "3"
