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
    wrong = [
        item
        for item in document["data"]
        if isinstance(item, dict) and isinstance(item.get("embedding"), list if as_text else str)
    ]
    for item in wrong:
        item["embedding"] = _text(item["embedding"]) if as_text else _numbers(item["embedding"])
    return dumps(document) if wrong else body


def _text(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _numbers(text: str) -> list[float]:
    packed = base64.b64decode(text)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
