"""Where the members of a JSON object lie in its bytes, so that few can change and no other moves.

Parsing a body of 10 MiB with an image in base64 and writing it again takes some 20 ms, in which
everybody else waits. To find its members takes a walk over its quotes and brackets, which are few:
long strings are stepped over at the speed of memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

MOST_STEPS = 2000
"""A walk of so many steps takes a millisecond; beyond, a parser in C is the quicker one."""

MOST_QUOTES = 500
_SPACES = rb"[ \t\n\r]{0,1024}+"
_NAME = re.compile(rb"%b[{,]%b(?=\")" % (_SPACES, _SPACES))
_COLON = re.compile(rb"%b:%b" % (_SPACES, _SPACES))
_CLOSED = re.compile(rb"%b\}" % _SPACES)
_SCALAR = re.compile(rb"[^\s,}\]\"{\[]{1,1024}+")
_MARK = re.compile(rb'["{}\[\]]')

_QUOTE, _BACKSLASH = b'"\\'
_OPENING, _CLOSING = b"{[", b"}]"
_MOST_BACKSLASHES = 64


class Member(NamedTuple):
    """A member of the outermost object: its own bytes begin at `start`, those of its value at
    `value`; both go to `end`.
    """

    name: str
    start: int
    value: int
    end: int


class _Lost(Exception):
    """The walk is too long, or is not in JSON."""


def members(raw: bytes) -> list[Member] | None:
    """Return the members of the object that these bytes are, in their order, repeated ones too.

    The bytes have been parsed before: they are JSON. None where the walk would take too long.
    """
    try:
        return _Walk(raw).members()
    except _Lost:
        return None


def with_members(raw: bytes, changes: Mapping[str, Any]) -> bytes | None:
    """Return the object with other values of some members, every other value in its own bytes.

    Changed to None, a member is left out, as are nulls; of repeated ones the last counts, as it
    does for parsers. The bytes are copied once. None where `members` finds none.
    """
    found = members(raw)
    if found is None:
        return None
    view = memoryview(raw)
    pieces: list[bytes | memoryview] = []
    for name, member in {member.name: member for member in found}.items():
        if name not in changes and not raw.startswith(b"null", member.value):
            pieces += (b",", view[member.start : member.end])
    for name, value in changes.items():
        if value is not None:
            pieces += (b",", dumped(name), b":", dumped(value))
    pieces[:1] = [b"{"]
    return b"".join((*pieces, b"}"))


def beginnings(raw: bytes, text: bytes) -> int:
    """Return how often a quote stands before this text: `raw.count(b'"' + text)`, but quicker.

    Strings of megabytes are stepped over, where there are few.
    """
    found = at = 0
    for _ in range(MOST_QUOTES):
        if (at := raw.find(b'"', at) + 1) == 0:
            return found
        found += raw.startswith(text, at)
    return found + raw.count(b'"' + text, at)


def dumped(value: Any) -> bytes:
    """Return compact JSON, of whatever a parser made of a client's."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


class _Walk:
    """One walk over the bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._steps = 0

    def members(self) -> list[Member]:
        raw, found = self._raw, []
        at = 0
        while opening := _NAME.match(raw, at):
            start = opening.end()
            named = self._string_end(start)
            colon = _COLON.match(raw, named)
            if colon is None:
                raise _Lost
            value = colon.end()
            at = self._value_end(value)
            found.append(Member(orjson.loads(raw[start:named]), start, value, at))
        if not found or not _CLOSED.match(raw, at):
            raise _Lost
        return found

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _Lost

    def _value_end(self, at: int) -> int:
        first = self._raw[at]
        if first == _QUOTE:
            return self._string_end(at)
        if first in _OPENING:
            return self._container_end(at)
        scalar = _SCALAR.match(self._raw, at)
        if scalar is None:
            raise _Lost
        return scalar.end()

    def _container_end(self, at: int) -> int:
        depth = 0
        while mark := _MARK.search(self._raw, at):
            self._step()
            at = mark.end()
            kind = self._raw[at - 1]
            if kind == _QUOTE:
                at = self._string_end(at - 1)
            elif kind in _OPENING:
                depth += 1
            else:
                depth -= 1
                if not depth:
                    return at
        raise _Lost

    def _string_end(self, at: int) -> int:
        """Return what follows the string that begins here."""
        end = at
        while (end := self._raw.find(b'"', end + 1)) > 0:
            self._step()
            if not self._escaped(at, end):
                return end + 1
        raise _Lost

    def _escaped(self, start: int, at: int) -> bool:
        """True when the quote here has an odd number of backslashes before it."""
        if self._raw[at - 1] != _BACKSLASH:
            return False
        before = self._raw[max(start + 1, at - _MOST_BACKSLASHES) : at]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes == _MOST_BACKSLASHES:
            raise _Lost
        return backslashes % 2 == 1
