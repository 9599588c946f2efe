"""Simulated contents: texts, vectors, pictures and values for a JSON schema. All deterministic."""

from __future__ import annotations

import hashlib
import math
import random
import re
import struct
import zlib
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

_GREETINGS = (
    "Hello! You have reached a simulated model.",
    "Good to hear from you! This is a simulated model speaking.",
    "Thank you for writing. A simulated model answers here.",
)
_REMARKS = (
    "Nobody thought about it for long, but it arrived in one piece.",
    "I cannot tell you anything wise about it, only that it was well received.",
    "It was counted, weighed and passed along with care.",
)
_CLOSINGS = (
    "Everything around these words is real: the stream, the limits, and the bill.",
    "The words are made up; the way they came to you is not.",
    "Configure a provider, and the next answer will have something in it.",
)
_MORE = (
    "To fill the length that was asked for, here is one sentence more.",
    "Simulated models are patient: they can go on like this for as long as you like.",
    "Each word you read is one token, sent as one chunk.",
    "Somewhere a counter moves by one, and a fraction of a cent with it.",
)
_PIECE = re.compile(r"\s*\S+")


def text(prompt: str, seed: int, number: int) -> str:
    """Return a few friendly sentences for a prompt; another `number` reads differently."""
    chance = random.Random(digest(prompt, seed, number))  # noqa: S311  (no secret depends on it)
    quoted = " ".join(prompt.split())
    quoted = quoted if len(quoted) <= 80 else quoted[:79] + "…"
    said = f"You wrote: “{quoted}”." if quoted else "You wrote nothing at all."
    return " ".join(
        (chance.choice(_GREETINGS), said, chance.choice(_REMARKS), chance.choice(_CLOSINGS))
    )


def thought(prompt: str) -> str:
    """Return what a simulated model thinks before it answers."""
    return f"The message has {len(prompt.split())} words. There is nothing to weigh, so I answer."


def pieces(content: str, length: int = 0) -> list[str]:
    """Return the content as tokens, one a word; with a length, exactly that many."""
    found = _PIECE.findall(content)
    return list(islice(_endless(found), length)) if length else found


def _endless(found: list[str]) -> Iterator[str]:
    yield from found
    for sentence in cycle(_MORE):
        yield from _PIECE.findall(" " + sentence)


def tokens(content: str) -> int:
    """Return about how many tokens a text has: one for every four bytes, rounded up."""
    return -(-len(content.encode()) // 4)


def vector(content: str, size: int, seed: int) -> list[float]:
    """Return a vector of length one in single precision; the same for the same text."""
    chance = random.Random(digest(content, seed, size))  # noqa: S311  (no secret depends on it)
    raw = [chance.gauss(0.0, 1.0) for _ in range(size)]
    length = math.sqrt(sum(x * x for x in raw)) or 1.0
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(x / length for x in raw))))


def picture(prompt: str, seed: int, number: int, side: int = 64) -> bytes:
    """Return a small PNG: a gradient between two colours that the prompt decides."""
    hashed = digest(prompt, seed, number).to_bytes(32, "big")
    one, two = hashed[:3], hashed[3:6]
    rows = bytearray()
    for y in range(side):
        rows.append(0)
        for x in range(side):
            share = (x + y) / (2 * side - 2)
            rows += bytes(round(a + (b - a) * share) for a, b in zip(one, two, strict=True))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = _part(b"IHDR", header) + _part(b"IDAT", zlib.compress(bytes(rows))) + _part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def value(schema: Any, depth: int = 0) -> Any:
    """Return a value that fits a plain JSON schema."""
    if not isinstance(schema, dict) or depth > 8:
        return {}
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return value(schema[name][0], depth + 1)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        known = schema.get("properties") or {}
        return {name: value(known[name], depth + 1) for name in known}
    if kind == "array":
        return [value(schema["items"], depth + 1)] if "items" in schema else []
    return {"string": "simulated", "integer": 1, "number": 1.5, "boolean": True}.get(kind)


def digest(content: str, seed: int, number: int) -> int:
    """Return a number that depends on all three."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{content}".encode()).digest(), "big")


def _part(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
