"""Tool loops with signed thinking through the whole gateway; the client keeps nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna.testing.dialect import JSON, event
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.loops import looped, torn
from ezkielyna.testing.scripted import Script, ScriptedUpstream, answering

Json = dict[str, Any]
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def thinking(thought: str) -> Json:
    return {"type": "thinking", "thinking": thought, "signature": "c2ln" + thought.encode().hex()}


def use(at: int, **given: int) -> Json:
    return {"type": "tool_use", "id": f"toolu_{at}", "name": "f", "input": given}


STEPS: list[list[Json]] = [
    [thinking("First a."), {"type": "text", "text": "So:"}, use(1, a=6), use(2)],
    [{"type": "redacted_thinking", "data": "c2VjcmV0"}, thinking("Then b."), use(3, b=7)],
    [thinking("Once more."), use(4, c=8), thinking("And this."), use(5, c=9)],
    [thinking("Done."), {"type": "text", "text": "42"}],
]


def plain(content: list[Json]) -> Script:
    stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
    usage = {"input_tokens": 40, "output_tokens": 20}
    body = orjson.dumps({**told, "content": content, "stop_reason": stop, "usage": usage})
    return answering(200, JSON, body)


def streamed(content: list[Json]) -> Script:
    stop = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
    start = {"id": "msg_1", "model": "claude-haiku-4-5", "usage": {"input_tokens": 40}}
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(content):
        opening, deltas = pieces(block)
        events.append(
            {"type": "content_block_start", "index": index, "content_block": {**block, **opening}}
        )
        events += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        events.append({"type": "content_block_stop", "index": index})
    usage = {"output_tokens": 20}
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})
    events.append({"type": "message_stop"})
    return torn(b"".join(map(event, events)))


def pieces(block: Json) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            return {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "thinking":
            return {"thinking": "", "signature": ""}, [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use":
            given = orjson.dumps(block["input"]).decode() if block["input"] else ""
            parts = [given[:3], given[3:]]
            return {"input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in parts
            ]
    return {}, []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("claude-haiku-4-5", {"type": "enabled", "budget_tokens": 8192}),
        ("claude-opus-4-8", {"type": "adaptive", "display": "summarized"}),
    ],
)
async def test_thinking_comes_back_block_by_block(
    gateways: Gateways, model: str, wanted: Json, stream: bool
) -> None:
    tables: Json = {
        "plugins": ["openai", "anthropic"],
        "providers": {"lab": {"kind": "anthropic"}},
        "models": {"gpt-lab": {"upstream_model": model}},
    }
    upstream = ScriptedUpstream(*map(streamed if stream else plain, STEPS))
    asked: Json = {"tools": [TOOL], "reasoning_effort": "medium"}
    talk = await looped(gateways, upstream, tables, stream=stream, **asked)
    assert talk[-1] == {"role": "assistant", "content": "42"}
    assert len(upstream.requests) == len(STEPS)
    for turn in range(1, len(STEPS)):
        sent = orjson.loads(upstream.requests[turn].body)
        assert sent["thinking"] == wanted
        turns = sent["messages"]
        assert [turn["role"] for turn in turns] == ["user", *["assistant", "user"] * turn]
        for step in range(turn):
            assert turns[1 + 2 * step]["content"] == STEPS[step]
            used = [block["id"] for block in STEPS[step] if block["type"] == "tool_use"]
            results = turns[2 + 2 * step]["content"]
            assert [block["tool_use_id"] for block in results] == used[::-1]
