"""Reading what a client sent: every fault is a 400 that names the field."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ezkielyna import InvalidRequest, Unsupported

Json = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def invalid(where: str, what: str) -> InvalidRequest:
    """Return the 400 for a field that is wrong."""
    return InvalidRequest(f"Invalid value for '{where}': {what}.", param=where)


def unsupported(where: str, what: str) -> Unsupported:
    """Return the 400 for a field that asks for what the upstream cannot do."""
    return Unsupported(f"This model's upstream does not support {what}.", param=where)


def table(value: Any, where: str) -> Json:
    """Return the value as an object; raises InvalidRequest for anything else."""
    if not isinstance(value, dict):
        raise invalid(where, "expected an object")
    return value


def listed(value: Any, where: str) -> list[Any]:
    """Return the value as an array; raises InvalidRequest for anything else."""
    if not isinstance(value, list):
        raise invalid(where, "expected an array")
    return value


def named(value: Any, where: str) -> str:
    """Return a name that Anthropic takes for a tool; raises InvalidRequest for anything else."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise invalid(where, "expected 1 to 128 letters, digits, '_' and '-'")
    return value


def encoded(document: Json) -> bytes:
    """Return the document as JSON; raises InvalidRequest where it is nested too deeply."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The request cannot be passed on: {error}.") from None


def cached(block: Json, source: Json) -> Json:
    """Return the block, marked as the end of a cached prefix where the client marked its own."""
    if isinstance(source.get("cache_control"), dict):
        block["cache_control"] = source["cache_control"]
    elif source.get("prompt_cache_breakpoint"):
        block["cache_control"] = {"type": "ephemeral"}
    return block
