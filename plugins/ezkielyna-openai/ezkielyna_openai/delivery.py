"""What a stream handed on, kept small.

The stream appends the blocks of bytes that it emits, which costs nothing. Once a second, or when
they pass `FOLD_BYTES`, the texts in them are cut out, and the blocks are let go. So a stream holds
little more than the text it delivered, no chunk is parsed on its way, and a quick stream that ends
with its usage is never searched at all.
"""

from __future__ import annotations

import json
import re

import orjson

from ezkielyna import Delivered

FOLD_BYTES = 1024 * 1024

MAX_PARTS = 64
"""So many texts are joined into one: a slow stream would have more memory in objects than in
text."""

_CHAT = {
    b"content": "text",
    b"refusal": "text",
    b"transcript": "text",
    b"reasoning_content": "reasoning",
    b"reasoning": "reasoning",
    b"arguments": "tools",
    b"input": "tools",
}
_COMPLETION = {b"text": "text"}
_STRINGS = {
    name: re.compile(rb'"%b":\s*("(?!")[^"\\]*(?:\\.[^"\\]*)*")' % name, re.DOTALL)
    for name in (*_CHAT, *_COMPLETION)
}
"""A name and a string that is not empty. A quoted name followed by a colon is always a member:
inside of a JSON string the quotes would be escaped."""

_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_REASONING = frozenset((b"reasoning_content", b"reasoning"))
_TOOLS = frozenset((b"arguments", b"input"))


class Delivery:
    """The texts that were handed on, and whether a choice has finished."""

    __slots__ = ("_finished", "_names", "_parts", "blocks", "characters")

    def __init__(self, endpoint: str) -> None:
        self._names = _COMPLETION if endpoint == "completions" else _CHAT
        self._parts: dict[str, list[str]] = {"text": [], "reasoning": [], "tools": []}
        self._finished = False
        self.blocks: list[bytes] = []
        self.characters = 0

    def fold(self) -> None:
        """Cut the texts out of the blocks and let the blocks go."""
        joined = b"".join(self.blocks)
        self.blocks.clear()
        self._finished = self._finished or _FINISHED.search(joined) is not None
        for name, kind in self._names.items():
            if joined.find(b'"%b"' % name) < 0:
                continue
            strings = _STRINGS[name].findall(joined)
            if strings:
                text = _joined(strings)
                parts = self._parts[kind]
                parts.append(text)
                if len(parts) >= MAX_PARTS:
                    parts[:] = ["".join(parts)]
                self.characters += len(text)

    @property
    def finished(self) -> bool:
        """True when a choice with a finish reason was handed on."""
        self.fold()
        return self._finished

    def delivered(self) -> Delivered:
        """Return everything so far."""
        self.fold()
        return Delivered(**{kind: "".join(parts) for kind, parts in self._parts.items()})


def _joined(strings: list[bytes]) -> str:
    """Return the JSON strings as one text; halves of surrogate pairs are put together."""
    array = b"[" + b",".join(strings) + b"]"
    try:
        return "".join(orjson.loads(array))
    except orjson.JSONDecodeError:
        pass
    try:
        text = "".join(json.loads(array))
    except ValueError:
        return b"".join(strings).decode("utf-8", "replace")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
