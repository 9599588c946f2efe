"""Reading what nobody has checked yet.

The first half reads clients: every fault is a 400 that names the field. The second half reads
upstreams, whose answers are neither trusted nor refused for one odd field: what is not of its kind
counts as absent.
"""

from __future__ import annotations

import re
from typing import Any

from ezkielyna.contract.errors import InvalidRequest, Unsupported

Json = dict[str, Any]


def invalid(where: str, what: str) -> InvalidRequest:
    """Return the 400 for a field that is wrong: `expected an object`."""
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


def text(value: Any, where: str) -> str:
    """Return the value as a string; raises InvalidRequest for anything else."""
    if not isinstance(value, str):
        raise invalid(where, "expected a string")
    return value


def named(value: Any, pattern: re.Pattern[str], where: str) -> str:
    """Return a name that fits the pattern; raises InvalidRequest for anything else."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise invalid(where, f"expected a name that matches {pattern.pattern}")
    return value


def flag(value: Any, where: str) -> bool:
    """Return the value as true or false; raises InvalidRequest for anything else."""
    if not isinstance(value, bool):
        raise invalid(where, "expected true or false")
    return value


def integer(value: Any, where: str) -> int:
    """Return the value as a whole number; raises InvalidRequest for anything else."""
    if type(value) is not int:
        raise invalid(where, "expected a whole number")
    return value


def number(value: Any, low: float, high: float, where: str) -> int | float:
    """Return a number of this range, ends included; raises InvalidRequest for anything else."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise invalid(where, f"expected a number from {low} to {high}")
    return value  # type: ignore[no-any-return]  # of one of the two types


def mapping(value: Any) -> Json:
    """Return an upstream's object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Json]:
    """Return the objects of an upstream's list; empty in place of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def word(value: Any) -> str | None:
    """Return an upstream's text, None in place of an empty one or of anything else."""
    return value if isinstance(value, str) and value else None


def count(value: Any) -> int:
    """Return an upstream's count; 0 in place of what is none."""
    return value if type(value) is int and 0 < value < 2**53 else 0
