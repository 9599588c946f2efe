"""Thought signatures, carried by the ids of tool calls.

Gemini signs a function call with its encrypted thoughts and wants the signature back on exactly
that call. OpenAI clients drop fields they do not know, but every one of them echoes the id, and a
provider keeps no state; so the signature travels at the end of the id, in letters, digits, `-` and
`_` only: `call_1__gemi_b<signature>`. `g` in place of `i` says that Gemini itself gave the id and
wants it back; `t` in place of `b` that the signature is no ordinary base64.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

DUMMY = "skip_thought_signature_validator"
"""What Google documents for calls whose signature is lost: no refusal, but thoughts are lost."""

_CARRIER = re.compile(r"(.*?)__gem([gi])(?:_([bt])([\w-]+))?", re.ASCII | re.DOTALL)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TO_URL = str.maketrans("+/", "-_", "=")
_FROM_URL = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class CallId:
    """The id of a tool call taken apart; `own` is what Gemini gave, None where we made it."""

    own: str | None
    signature: str | None


def carrier(identifier: str, *, own: bool, signature: str | None) -> str:
    """Return the id for the client; with nothing to carry it is the plain id."""
    mark = "__gemg" if own else "__gemi"
    if not signature:
        return identifier + mark if own else identifier
    if _BASE64.fullmatch(signature):
        return f"{identifier}{mark}_b{signature.translate(_TO_URL)}"
    text = base64.urlsafe_b64encode(signature.encode()).decode().rstrip("=")
    return f"{identifier}{mark}_t{text}"


def opened(identifier: str) -> CallId:
    """Return what the id carries; ids that others made carry nothing."""
    found = _CARRIER.fullmatch(identifier)
    if found is None:
        return CallId(None, None)
    plain, origin, kind, text = found.groups()
    signature = _padded(text.translate(_FROM_URL)) if text else None
    if signature and kind == "t":
        signature = _decoded(signature)
    return CallId(plain if origin == "g" else None, signature)


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return None
