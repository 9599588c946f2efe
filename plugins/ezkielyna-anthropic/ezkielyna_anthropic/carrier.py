"""Thinking blocks inside tool call ids, for clients that drop every field they do not know.

Anthropic wants the thinking blocks back, signatures untouched, when the next request of a turn
holds tool results, and an exchange keeps no state. The one opaque value that every client returns
is the id of a tool call, so the blocks before a call travel in its id:

    toolu_01A…  _ezt1_  base64url(zlib(JSON [[characters of text before it, block], …]))

The alphabet is that of Anthropic's own ids. Upstream only ever sees the part before the mark.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import orjson

MARK = "_ezt1_"
MAX_CHARACTERS = 32 * 1024
"""A longer id is not made; the next request of that turn then goes without thinking."""
_MAX_JSON_BYTES = 1024 * 1024

Block = dict[str, Any]
Placed = tuple[int, Block]
"""A thinking block, and how many characters of visible text the answer had before it."""


def packed(tool_id: str, blocks: list[Placed]) -> str:
    """Return the id with the blocks in it; the bare id for no blocks or too many."""
    if not blocks:
        return tool_id
    document = zlib.compress(orjson.dumps(blocks), 9)
    carried = tool_id + MARK + base64.urlsafe_b64encode(document).decode().rstrip("=")
    return carried if len(carried) <= MAX_CHARACTERS else tool_id


def unpacked(tool_id: str) -> tuple[str, list[Placed]]:
    """Return the bare id and what it carries; nothing where it was cut or tampered with."""
    bare, mark, carried = tool_id.partition(MARK)
    if not mark or len(tool_id) > MAX_CHARACTERS:
        return bare, []
    try:
        compressed = base64.urlsafe_b64decode(carried + "=" * (-len(carried) % 4))
        inflater = zlib.decompressobj()
        # Bounded, because a few bytes of a forged id could stand for gigabytes.
        document = orjson.loads(inflater.decompress(compressed, _MAX_JSON_BYTES))
    except (binascii.Error, zlib.error, ValueError):
        return bare, []
    return bare, _sound(document) if inflater.eof else []


def _sound(document: Any) -> list[Placed]:
    if not isinstance(document, list):
        return []
    placed = [(item[0], item[1]) for item in document if isinstance(item, list) and len(item) == 2]
    sound = all(type(at) is int and at >= 0 and thinking(block) for at, block in placed)
    return placed if sound and len(placed) == len(document) else []


def thinking(block: Any) -> bool:
    """True for a block that Anthropic takes back: signed thinking, or redacted thinking."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "redacted_thinking":
        return isinstance(block.get("data"), str)
    return (
        block.get("type") == "thinking"
        and isinstance(block.get("thinking"), str)
        and isinstance(block.get("signature"), str)
        and bool(block["signature"])
    )
