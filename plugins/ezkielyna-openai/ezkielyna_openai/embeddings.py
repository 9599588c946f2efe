"""Embeddings in the encoding that the client asked for.

The official SDKs ask for base64 (little-endian IEEE 754 single precision) whenever their caller
does not choose, and several servers answer with lists of numbers whatever was asked.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from ezkielyna import ApiRequest
from ezkielyna_openai.documents import dumps


def encoded(request: ApiRequest, document: dict[str, Any], body: bytes) -> bytes:
    """Return the answer with every vector as asked; its own bytes where that holds already."""
    as_text = getattr(request, "encoding_format", None) == "base64"
    changed = False
    for item in document["data"]:
        vector = item.get("embedding") if isinstance(item, dict) else None
        other = _other(vector, as_text)
        if other is not None:
            item["embedding"] = other
            changed = True
    return dumps(document) if changed else body


def _other(vector: Any, as_text: bool) -> str | list[float] | None:
    """Return the vector in the other encoding; None where it is as asked, or is no vector."""
    try:
        if as_text and isinstance(vector, list):
            return _text(vector)
        if not as_text and isinstance(vector, str):
            return _numbers(vector)
    except (ValueError, struct.error):
        return None
    return None


def _text(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _numbers(text: str) -> list[float]:
    """Return the numbers; raises ValueError for what are other than single precision ones.

    Some servers pack bytes or bits; read as numbers, those are of absurd size.
    """
    packed = base64.b64decode(text, validate=True)
    numbers = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    if not all(abs(number) < 1e6 for number in numbers):
        raise ValueError("not a vector of single precision numbers")
    return numbers
