"""Tool loops with thought signatures through the whole gateway, by a client that keeps nothing
but what OpenAI documents.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.loops import looped, torn
from ezkielyna.testing.scripted import Script, ScriptedUpstream, answering
from gemini_words import Json, event

TOOL: Any = {"type": "function", "function": {"name": "look"}}
TABLES: Json = {
    "plugins": ["openai", "gemini"],
    "providers": {"lab": {"kind": "gemini"}},
    "models": {"gpt-lab": {"upstream_model": "gemini-3-flash-preview"}},
}


def call(identifier: str | None = None, signature: str | None = None, **given: Any) -> Json:
    function: Json = {"name": "look", "args": given}
    if identifier:
        function["id"] = identifier
    return {"functionCall": function} | ({"thoughtSignature": signature} if signature else {})


STEPS: list[list[Json]] = [
    [
        {"text": "hm", "thought": True},
        {"text": "Both:"},
        call("g0", "Cg0xLzIrMysv", at=0),
        call(at=1),
    ],
    [call(None, "CiQBVKhc7gVNlWrmzW9MEk/bjBDP+pxUEY9TBFuB8vn6CVg=", at=2)],
    [call("call_966934", "signature_REDACTED_1")],
    [{"text": "done", "thoughtSignature": "QUJD"}],
]
"""Gemini 3: of every step the first call is signed; ids are its own, or there are none."""


def answer(parts: list[Json], step: int) -> Json:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return {"candidates": [candidate], "responseId": f"r{step}", "usageMetadata": usage}


def script(step: int, *, stream: bool) -> Script:
    if not stream:
        body = orjson.dumps(answer(STEPS[step], step))
        return answering(200, {"content-type": "application/json"}, body)
    events = [answer([part], step) for part in STEPS[step]]  # one part an event
    return torn(b"".join(map(event, events)))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_signatures_come_back_call_by_call(gateways: Gateways, stream: bool) -> None:
    upstream = ScriptedUpstream(*(script(step, stream=stream) for step in range(len(STEPS))))
    asked: Json = {"tools": [TOOL], "reasoning_effort": "low"}
    talk = await looped(gateways, upstream, TABLES, stream=stream, **asked)
    assert talk[-1] == {"role": "assistant", "content": "done"}
    assert len(upstream.requests) == len(STEPS)
    contents = orjson.loads(upstream.requests[-1].body)["contents"]
    assert [content["role"] for content in contents] == ["user", *["model", "user"] * 3]
    for step, parts in enumerate(STEPS[:-1]):
        kept = [part for part in parts if not part.get("thought")]
        assert contents[1 + 2 * step]["parts"] == kept
        called = [part["functionCall"] for part in kept if "functionCall" in part]
        results = [part["functionResponse"] for part in contents[2 + 2 * step]["parts"]]
        assert [result.get("id") for result in results] == [one.get("id") for one in called]
        for result, one in zip(results, called, strict=True):
            said = f"look of {orjson.dumps(one['args']).decode()}"
            assert result["response"] == {"output": said}
