"""Reads what a client or an upstream sent, where nothing is known about its types."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from ezkielyna import InvalidRequest

T = TypeVar("T")
_KINDS = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    int: "an integer",
}


def expect(value: Any, kind: type[T], param: str) -> T:
    """Return a client's value; raises InvalidRequest naming `param` where it is of another kind."""
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise InvalidRequest(f"'{param}' must be {_KINDS[kind]}.", param=param)


def number(value: Any, low: float, high: float, param: str) -> float:
    """Return a client's number within a range; raises InvalidRequest naming `param`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise InvalidRequest(f"'{param}' must be a number from {low} to {high}.", param=param)


def encoded(document: dict[str, Any]) -> bytes:
    """Return a request's body; raises InvalidRequest where a client nested values too deep."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The body is nested too deep.") from None


def mapping(value: Any) -> dict[str, Any]:
    """Return an upstream's object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of an upstream's list; empty in place of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def word(value: Any) -> str | None:
    """Return an upstream's text, None in place of an empty one or of anything else."""
    return value if isinstance(value, str) and value else None


def count(value: Any) -> int:
    """Return an upstream's count; 0 in place of what is none."""
    return value if type(value) is int and 0 < value < 2**53 else 0
