"""Long strings of a client's body in the upstream's: copied once, not parsed, not escaped."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.dialect.reading import Json

LONG = 64 * 1024
"""So many characters are worth looking for."""

_KNOWN = 64
_GAP = b"\0"
"""JSON has no such byte: it stands where a long string belongs."""


class Quoted:
    """What follows `start` in a string that a client sent, as a value of an upstream's document."""

    __slots__ = ("start", "whole")

    def __init__(self, whole: str, start: int) -> None:
        self.whole = whole
        self.start = start

    def json(self, body: bytes) -> tuple[bytes | memoryview, ...]:
        """Return the string as JSON: out of the body where it stands there without escapes."""
        at = _found(self.whole, self.start, body)
        if at < 0:
            return (orjson.dumps(self.whole[self.start :]),)
        return b'"', memoryview(body)[at + self.start : at + len(self.whole)], b'"'


def _found(whole: str, start: int, body: bytes) -> int:
    """Return where a string of ASCII stands in a JSON text as it is; -1 where it does not."""
    if not whole.isascii():
        return -1
    known = b'"' + whole[: start + _KNOWN].encode()
    at = -1
    while (at := body.find(known, at + 1)) >= 0:
        if _stands(whole, body, at + 1):
            end = at + 1 + len(whole)
            return at + 1 if body.find(b"\\", at, end) < 0 else -1
    return -1


def _stands(whole: str, body: bytes, at: int) -> bool:
    """True when the string ends with a quote and is the same here; compared without a copy."""
    return body.startswith(b'"', at + len(whole)) and all(
        body.startswith(whole[part : part + LONG].encode(), at + part)
        for part in range(0, len(whole), LONG)
    )


def encoded(document: Json, body: bytes = b"") -> bytes:
    """Return an upstream's body; what is `Quoted` in the document is copied out of the client's.

    Raises InvalidRequest where a client nested values too deeply.
    """
    quoted: list[Quoted] = []

    def gap(value: Any) -> orjson.Fragment:
        if not isinstance(value, Quoted):
            raise TypeError(f"{value!r} is no value of JSON")
        quoted.append(value)
        return orjson.Fragment(_GAP)

    try:
        written = orjson.dumps(document, default=gap)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"The request is no JSON that can be passed on, or nested too deep: {error}."
        ) from None
    if not quoted:
        return written
    before, *parts = written.split(_GAP)
    pieces: list[bytes | memoryview] = [before]
    for value, part in zip(quoted, parts, strict=True):
        pieces += (*value.json(body), part)
    return b"".join(pieces)
