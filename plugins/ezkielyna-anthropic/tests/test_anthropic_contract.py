"""The contract suite, on Claude's dialect."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.testing import ProviderContract
from ezkielyna_anthropic import AnthropicProvider

START = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [],
    "stop_reason": None,
    "usage": {"input_tokens": 9, "output_tokens": 1},
}


def event(kind: str, **fields: Any) -> bytes:
    document = orjson.dumps({"type": kind, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), document)


STREAM = b"".join(
    [
        event("message_start", message=START),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello "}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Grüße"}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}),
        event("message_stop"),
    ]
)
ANSWER = {**START, "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}


class TestAnthropic(ProviderContract):
    provider = AnthropicProvider
    streams = {"text": STREAM}
    answers = {"text": orjson.dumps(ANSWER)}
    failures = {
        "overloaded": (529, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'),
        "key": (401, b'{"type":"error","error":{"type":"authentication_error","message":"x"}}'),
    }
