"""Thought signatures, carried by the ids of tool calls.

Gemini signs a function call with its encrypted thoughts and wants the signature back on exactly
that call: `call_1__gemi_b<signature>`. `g` in place of `i` says that Gemini itself gave the id and
wants it back.
"""

from __future__ import annotations

from typing import NamedTuple

from ezkielyna.dialect import with_cargo, without_cargo

DUMMY = "skip_thought_signature_validator"
"""What Google documents for calls whose signature is lost: no refusal, but thoughts are lost."""

OURS, THEIRS = "__gemi", "__gemg"


class CallId(NamedTuple):
    """The id of a tool call taken apart; `own` is what Gemini gave, None where we made it."""

    own: str | None
    signature: str | None


def carrier(identifier: str, *, own: bool, signature: str | None) -> str:
    """Return the id for the client; with nothing to carry it is the plain id."""
    identifier += THEIRS if own else OURS
    return with_cargo(identifier, "_", signature or "").removesuffix(OURS)


def opened(identifier: str) -> CallId:
    """Return what the id carries; ids that others made carry nothing."""
    for mark in (THEIRS, OURS):
        if identifier.endswith(mark):
            return CallId(identifier.removesuffix(mark) if mark == THEIRS else None, None)
        bare, signature = without_cargo(identifier, f"{mark}_")
        if bare != identifier:
            return CallId(bare if mark == THEIRS else None, signature)
    return CallId(None, None)
