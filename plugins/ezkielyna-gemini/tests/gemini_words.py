"""Gemini's words for tests: what it answers, and what it is asked."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from ezkielyna.testing.asking import Asking
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
TOTALS = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
_ASK = Asking(GeminiProvider, "gemini-2.5-flash", api_key="secret")

exchange = _ASK.exchange
sent = _ASK.sent
streaming = partial(exchange, stream=True)


def contents(*messages: Json, model: str | None = None) -> list[Json]:
    """Return what the upstream gets for these messages."""
    found: list[Json] = sent(model, messages=list(messages))["contents"]
    return found


def document(*parts: Json, reason: str | None = "STOP", **more: Any) -> Json:
    """Return an answer of one candidate: a plain one, or an event of a stream."""
    candidate: Json = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    head = {"candidates": [candidate], "responseId": "r1", "modelVersion": "gemini-2.5-flash-001"}
    return head | {"usageMetadata": TOTALS} | more


def text(words: str, **more: Any) -> Json:
    """Return a part of a candidate."""
    return {"text": words, **more}


def call(name: str = "f", signature: str | None = None, **function: Any) -> Json:
    """Return a part that calls a function."""
    part: Json = {"functionCall": {"name": name, **function}}
    return part | ({"thoughtSignature": signature} if signature else {})


def event(document: Json) -> bytes:
    """Return an event of a stream."""
    return b"data: " + orjson.dumps(document) + b"\r\n\r\n"
