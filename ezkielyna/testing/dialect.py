"""OpenAI's answers as bytes, for scripts of upstreams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
JSON = {"content-type": "application/json"}


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return a usage object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat_answer(text: str = "Hi", prompt: int = 8, completion: int = 2, **more: Any) -> bytes:
    """Return a plain chat answer."""
    message = {"role": "assistant", "content": text, "refusal": None}
    document = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-lab",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage(prompt, completion),
    }
    return orjson.dumps({**document, **more})


def event(document: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def chunk_of(*choices: dict[str, Any], **more: Any) -> bytes:
    """Return one chunk of a streamed chat answer with these choices and further fields."""
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "gpt-lab",
            "choices": choices,
            **more,
        }
    )


def bare_chunk(
    delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any
) -> bytes:
    """Return one chunk of one choice, as OpenAI sends it when usage was not asked for."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return chunk_of(choice, **more)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return one chunk of a streamed chat answer, as OpenAI sends it when usage was asked for."""
    return bare_chunk(delta, finish, usage=None)


def usage_chunk(prompt: int, completion: int) -> bytes:
    """Return the last chunk of a stream whose usage was asked for."""
    return chunk_of(usage=usage(prompt, completion))


def chat_stream(pieces: Iterable[str], prompt: int = 8) -> list[bytes]:
    """Return the events of a streamed chat answer, one token a piece, with usage."""
    texts = list(pieces)
    return [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chunk({"content": text}) for text in texts),
        chunk({}, "stop"),
        usage_chunk(prompt, len(texts)),
        DONE,
    ]
