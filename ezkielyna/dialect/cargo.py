"""Cargo in the ids of tool calls.

Some upstreams want opaque values back with the next request: signatures of what a model thought. An
exchange keeps no state, and most clients drop every field that they do not know; the one opaque
value that all of them return is the id of a tool call. So the cargo travels at the end of the id,
after a mark of the upstream's own, in letters, digits, `-` and `_` only.
"""

from __future__ import annotations

import base64
import re

MOST_CHARACTERS = 32 * 1024
"""A longer id is not made, and not read."""

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TO_URL = str.maketrans("+/", "-_", "=")
_FROM_URL = str.maketrans("-_", "+/")


def with_cargo(identifier: str, mark: str, cargo: str) -> str:
    """Return the id with the cargo; the bare id where there is none, or too much.

    Cargo in base64 is not encoded a second time.
    """
    if _BASE64.fullmatch(cargo):
        carried = "b" + cargo.translate(_TO_URL)
    else:
        carried = "t" + base64.urlsafe_b64encode(cargo.encode()).decode().rstrip("=")
    loaded = f"{identifier}{mark}{carried}"
    return loaded if cargo and len(loaded) <= MOST_CHARACTERS else identifier


def without_cargo(identifier: str, mark: str) -> tuple[str, str | None]:
    """Return the bare id and the cargo; None where there is none, or where it was cut or forged."""
    bare, found, carried = identifier.partition(mark)
    if not found or len(identifier) > MOST_CHARACTERS:
        return bare, None
    padded = carried[1:].translate(_FROM_URL) + "=" * (-len(carried[1:]) % 4)
    if not _BASE64.fullmatch(padded) or carried[:1] not in ("b", "t"):
        return bare, None
    try:
        return bare, padded if carried[0] == "b" else base64.b64decode(padded).decode()
    except ValueError:
        return bare, None
