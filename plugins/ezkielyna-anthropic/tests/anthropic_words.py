"""Anthropic's words for tests: what it answers, and what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ezkielyna.testing.asking import USER, Asking, called, result, tool
from ezkielyna.testing.recordings import Recording
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
TOOL = tool(parameters={"type": "object"})
CALLED = called("call_1", arguments="{}")
(CALL,) = CALLED["tool_calls"]
RESULT = result("call_1", "42")
LOOP = [USER, CALLED, RESULT]
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_ASK = Asking(AnthropicProvider, "claude-opus-4-6", api_key="k")

exchange = _ASK.exchange
sent = _ASK.sent


def upstream_events(body: bytes) -> Iterator[Json]:
    """Read the events of a recorded stream."""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield orjson.loads(line[5:])


def message_of(recording: Recording) -> Json:
    """Fold a recorded stream into the message it stands for, in the plainest way.

    The arguments of its calls are left as they came, in `raw`.
    """
    body = recording.response.body
    if recording.mode == "json":
        return orjson.loads(body)
    message: Json = {}
    for event in upstream_events(body):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(dict(event["content_block"], raw=""))
            case "content_block_delta":
                _add(message["content"][event["index"]], event["delta"])
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= {k: v for k, v in event["usage"].items() if v is not None}
    return message


def _add(block: Json, delta: Json) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["raw"] += delta["partial_json"]
