"""JSON documents, and changes to their bytes that leave every other byte as it was."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

Span = tuple[int, int]

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)
_NULL = re.compile(rb'\s*"usage"\s*:\s*null')


def loads(raw: bytes) -> Any:
    """Return the value; raises ValueError where the bytes are no JSON.

    Half of a surrogate pair, which some servers send when they cut a character between two
    chunks, is no JSON to orjson, but is to the standard library.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def dumps(document: Any) -> bytes:
    """Return compact JSON; half of a surrogate pair is escaped."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


def without_member(raw: bytes, name: str, document: dict[str, Any]) -> bytes:
    """Return the JSON object `raw`, which holds `document`, without its member `name`."""
    found = value_span(raw, name, document)
    rest = {key: value for key, value in document.items() if key != name}
    if found is not None:
        start = raw.rindex(b'"', 0, raw.rindex(b":", 0, found[0]))
        start = raw.rindex(b'"', 0, start)
        before, after = raw[:start].rstrip(), raw[found[1] :].lstrip()
        if before.endswith(b","):
            before = before[:-1]
        elif after.startswith(b","):
            after = after[1:].lstrip()
        if _holds(before + after, rest):
            return before + after
    return dumps(rest)


def with_value(raw: bytes, name: str, value: bytes, document: dict[str, Any]) -> bytes:
    """Return the JSON object `raw`, which holds `document`, with another value for a member.

    The member is added at the end where the object has none.
    """
    found = value_span(raw, name, document)
    if found is not None:
        return raw[: found[0]] + value + raw[found[1] :]
    if name in document:  # its name is spelt with escapes
        return dumps({**document, name: orjson.Fragment(value)})
    end = raw.rindex(b"}")
    comma = b"," if document else b""
    return raw[:end].rstrip() + comma + dumps(name) + b":" + value + raw[end:]


def value_span(raw: bytes, name: str, document: dict[str, Any]) -> Span | None:
    """Return where the value of a member of the outermost object lies; None without such one.

    The last one where a name occurs twice, as parsers take it.
    """
    if name not in document:
        return None
    key = dumps(name)
    at = raw.find(key)
    if at >= 0 and raw.find(key, at + 1) < 0:
        start = _after_colon(raw, at + len(key))
        if not start:
            return None
        value = raw[start : raw.rfind(b"}")].rstrip()
        if _is(value, document[name]):  # the last member, as usage mostly is
            return start, start + len(value)
        return start, _value_end(raw, start)
    return _scanned(raw, key)


def _is(raw: bytes, value: Any) -> bool:
    try:
        return bool(orjson.loads(raw) == value)
    except orjson.JSONDecodeError:
        return False


def _scanned(raw: bytes, key: bytes) -> Span | None:
    depth = 0
    found: Span | None = None
    for token in _TOKEN.finditer(raw):
        text = token.group()
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == key and (start := _after_colon(raw, token.end())):
            found = (start, _value_end(raw, start))
    return found


def _after_colon(raw: bytes, position: int) -> int:
    """Return where the value begins after the name that ends here; 0 if it is no name."""
    rest = raw[position : position + 64]
    stripped = rest.lstrip()
    if not stripped.startswith(b":"):
        return 0
    value = stripped[1:].lstrip()
    return position + len(rest) - len(value) if value else 0


def _value_end(raw: bytes, start: int) -> int:
    if raw[start : start + 1] not in (b"{", b"[", b'"'):
        scalar = re.compile(rb"[^,}\]\s]*").match(raw, start)
        return scalar.end() if scalar else start
    depth = 0
    for token in _TOKEN.finditer(raw, start):
        text = token.group()
        depth += 1 if text in b"{[" else -1 if text in b"}]" else 0
        if depth == 0:
            return token.end()
    return len(raw)


def _holds(raw: bytes, document: dict[str, Any]) -> bool:
    try:
        return bool(loads(raw) == document)
    except ValueError:
        return False


def null_usage(raw: bytes, document: dict[str, Any]) -> bytes:
    """Return how this event spells its `usage` of null, with one comma; b"" if not plainly.

    A JSON string cannot hold an unescaped quote, so these bytes can only be a member of an
    object. That the member is the event's own, and that nothing else goes with it, is verified
    here on one event, so that the same spelling can be cut from all others without a parse.
    """
    match = _NULL.search(raw)
    if match is None or document.get("usage", ...) is not None:
        return b""
    rest = {key: value for key, value in document.items() if key != "usage"}
    for spelling in (b"," + match.group(), match.group() + b","):
        if raw.count(spelling) == 1 and _holds(raw.replace(spelling, b""), rest):
            return spelling
    return b""
