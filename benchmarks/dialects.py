"""Streams in the dialects of two other vendors, for gateways that translate. Pure.

Every chunk holds exactly one `MARK`, which translation keeps; so chunks are counted as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANTHROPIC = re.compile(rb"^POST \S*/messages[? ]")
_GEMINI = re.compile(rb"^POST \S*/models/([^/: ?]+):streamGenerateContent")


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one dialect: what comes before the chunks, a chunk, what comes after them."""

    opening: tuple[bytes, ...]
    chunk: bytes
    ending: tuple[bytes, ...]


def _named(name: bytes, rest: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, rest)


def _candidate(text: bytes, rest: bytes) -> bytes:
    return (
        b'data: {"candidates": [{"content": {"parts": [{"text": "%b"}],"role": "model"}%b,'
        b'"index": 0}],"usageMetadata": {"promptTokenCount": 57,"candidatesTokenCount": 64,'
        b'"totalTokenCount": 121},"modelVersion": "scripted-1","responseId": "Bench00000001"}'
        b"\r\n\r\n" % (text, rest)
    )


ANTHROPIC = Stream(
    opening=(
        _named(
            b"message_start",
            b',"message":{"id":"msg_Bench000000000001","type":"message","role":"assistant",'
            b'"model":"scripted-1","content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":57,"cache_creation_input_tokens":0,'
            b'"cache_read_input_tokens":0,"output_tokens":1}}',
        ),
        _named(b"content_block_start", b',"index":0,"content_block":{"type":"text","text":""}'),
    ),
    chunk=_named(
        b"content_block_delta", b',"index":0,"delta":{"type":"text_delta","text":" tok~"}'
    ),
    ending=(
        _named(b"content_block_stop", b',"index":0'),
        _named(
            b"message_delta",
            b',"delta":{"stop_reason":"end_turn","stop_sequence":null},'
            b'"usage":{"output_tokens":64}',
        ),
        _named(b"message_stop", b""),
    ),
)

GEMINI = Stream(
    opening=(),
    chunk=_candidate(b" tok~", b""),
    ending=(_candidate(b".", b',"finishReason": "STOP"'),),
)


def dialect_of(head: bytes) -> tuple[Stream | None, bytes | None]:
    """Return the dialect that a request's head asks in, and the model where its path names it.

    None is OpenAI's dialect, and a model that is in the body.
    """
    if _ANTHROPIC.match(head):
        return ANTHROPIC, None
    found = _GEMINI.match(head)
    return (GEMINI, found[1]) if found else (None, None)
