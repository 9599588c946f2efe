"""Thinking blocks inside tool call ids, for clients that drop every field they do not know.

Anthropic wants the thinking blocks back, signatures untouched, when the next request of a turn
holds tool results. So the blocks before a call travel in its id:

    toolu_01A…  _ezt1_  b base64url(zlib(JSON [[characters of text before it, block], …]))

The alphabet is that of Anthropic's own ids. Upstream only ever sees the part before the mark.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import orjson

from ezkielyna.dialect import Json, with_cargo, without_cargo

MARK = "_ezt1_"
_MAX_JSON_BYTES = 1024 * 1024

Placed = tuple[int, Json]
"""A thinking block, and how many characters of visible text the answer had before it."""


def packed(tool_id: str, blocks: list[Placed]) -> str:
    """Return the id with the blocks in it; the bare id for no blocks or too many.

    In the latter case the next request of that turn goes without thinking.
    """
    if not blocks:
        return tool_id
    document = zlib.compress(orjson.dumps(blocks), 9)
    return with_cargo(tool_id, MARK, base64.b64encode(document).decode())


def unpacked(tool_id: str) -> tuple[str, list[Placed]]:
    """Return the bare id and what it carries; nothing where it was cut or tampered with."""
    bare, carried = without_cargo(tool_id, MARK)
    if carried is None:
        return bare, []
    inflater = zlib.decompressobj()
    try:
        # Bounded, because a few bytes of a forged id could stand for gigabytes.
        document = orjson.loads(inflater.decompress(base64.b64decode(carried), _MAX_JSON_BYTES))
    except (zlib.error, ValueError):
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
