"""A tool loop over several turns through the official SDK, by a client that keeps nothing but
what OpenAI documents.
"""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageToolCall

from ezkielyna import ChatRequest
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k"))
SIGNED = ("Cg0xLzIrMysv", "CiQBVKhc7gVNlWrmzW9MEk/bjBDP+pxUEY9TBFuB8vn6CVg=", None)


class Upstream:
    """Answers like Gemini 3: every step has two calls, the first of which is signed."""

    def __init__(self) -> None:
        self.seen: list[Json] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        asked = ChatRequest.parse(request.content)
        made = PROVIDER.exchange(asked, "gemini-3-flash-preview")
        self.seen.append(orjson.loads(made.request.body))
        answer = orjson.dumps(self._answer())
        if asked.streamed:
            body = made.feed(b"data: " + answer + b"\r\n\r\n") + made.close()
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
        headers = {"content-type": "application/json"}
        return httpx2.Response(200, headers=headers, content=made.answer(200, {}, answer))

    def _answer(self) -> Json:
        step = len(self.seen) - 1
        parts: list[Json] = [{"text": "done"}]
        if SIGNED[step]:
            function = {"name": "look", "args": {"step": step}, "id": f"g{step}"}
            parts = [
                {"functionCall": function, "thoughtSignature": SIGNED[step]},
                {"functionCall": {"name": "look", "args": {}}},
            ]
        candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
        return {"candidates": [candidate], "responseId": f"r{step}"}


def asked(client: OpenAI, messages: list[Json], *, stream: bool) -> list[Json]:
    """Return the next calls with the documented fields only."""
    tools: Any = [{"type": "function", "function": {"name": "look"}}]
    fields: Json = {"model": "m", "messages": messages, "tools": tools}
    calls: list[Json] = []
    if not stream:
        message = client.chat.completions.create(**fields).choices[0].message
        for call in message.tool_calls or []:
            assert isinstance(call, ChatCompletionMessageToolCall)
            calls.append(plain(call.id, call.function.name, call.function.arguments))
        return calls
    for chunk in client.chat.completions.create(**fields, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == len(calls)
            calls.append(plain(call.id, call.function.name, call.function.arguments))
    return calls


def plain(identifier: str, name: str, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": identifier, "type": "function", "function": function}


@pytest.mark.parametrize("stream", [False, True])
def test_signatures_survive_a_client_that_drops_unknown_fields(stream: bool) -> None:
    upstream = Upstream()
    transport = httpx2.MockTransport(upstream)
    with httpx2.Client(transport=transport) as http:
        client = OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=http)
        messages: list[Json] = [{"role": "user", "content": "look twice"}]
        while calls := asked(client, messages, stream=stream):
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            for call in reversed(calls):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": "{}"})
    assert len(upstream.seen) == 3
    last = upstream.seen[-1]["contents"]
    assert [content["role"] for content in last] == ["user", "model", "user", "model", "user"]
    for step in (0, 1):
        first, second = last[1 + 2 * step]["parts"]
        assert first["thoughtSignature"] == SIGNED[step]
        assert first["functionCall"] == {"name": "look", "args": {"step": step}, "id": f"g{step}"}
        assert second == {"functionCall": {"name": "look", "args": {}}}
        results = [part["functionResponse"] for part in last[2 + 2 * step]["parts"]]
        assert [result.get("id") for result in results] == [f"g{step}", None]
