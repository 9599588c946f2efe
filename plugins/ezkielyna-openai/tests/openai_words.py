"""A stream in OpenAI's words, event by event, for tests that send it wrong."""

from __future__ import annotations

from typing import Any

from ezkielyna.testing.dialect import bare_chunk, chunk_of, usage

COMPATIBLE = {"base_url": "http://127.0.0.1:1/v1"}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
UNASKED = {"stream": True}

FIRST = bare_chunk({"role": "assistant", "content": "", "refusal": None})
HELLO = bare_chunk({"content": "Hello"})
LAST = bare_chunk({}, "stop")
USAGE = usage(10, 5)


def usage_chunk(stated: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return the last chunk of a stream, with the usage that an upstream states."""
    return chunk_of(usage=stated or USAGE, **more)
