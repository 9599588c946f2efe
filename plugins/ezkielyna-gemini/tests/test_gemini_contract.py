"""The contract suite, on Gemini's dialect."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.testing import ProviderContract
from ezkielyna_gemini import GeminiProvider

USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}


def said(text: str, reason: str = "") -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "index": 0,
        "content": {"role": "model", "parts": [{"text": text}]},
        **({"finishReason": reason} if reason else {}),
    }
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-x",
        "responseId": "r1",
    }


STREAM = b"".join(
    b"data: " + orjson.dumps(document) + b"\r\n\r\n"
    for document in (said("Hello "), said("Grüße"), said("", "STOP"))
)


class TestGemini(ProviderContract):
    provider = GeminiProvider
    streams = {"text": STREAM}
    answers = {"text": orjson.dumps(said("Hello", "STOP"))}
    failures = {
        "key": (400, b'{"error":{"code":400,"message":"API key not valid.","status":"X"}}'),
        "quota": (429, b'{"error":{"code":429,"message":"q","status":"RESOURCE_EXHAUSTED"}}'),
    }
