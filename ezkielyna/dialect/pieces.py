"""Documents that arrive as single values at paths such as `$.operations[0].price`."""

from __future__ import annotations

import re
from typing import Any

_MOST_STEPS = 64
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\['([^']*)'\]")


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at its path; text goes on where a piece of it is there already.

    Raises ValueError for what is no such path, and for one that skips places of a list.
    """
    steps = [int(at) if at else name or quoted for name, at, quoted in _STEP.findall(path)]
    if _STEP.sub("", path) != "$" or not steps or len(steps) > _MOST_STEPS:
        raise ValueError(f"no path: {path!r}")
    _placed(document, steps, value)


def _placed(node: Any, steps: list[int | str], value: Any) -> Any:
    """Return the node with the value at the end of the steps."""
    if not steps:
        return node + value if isinstance(node, str) and isinstance(value, str) else value
    step, *rest = steps
    if isinstance(step, str):
        fields = node if isinstance(node, dict) else {}
        fields[step] = _placed(fields.get(step), rest, value)
        return fields
    items = node if isinstance(node, list) else []
    if step > len(items):
        raise ValueError(f"a list of {len(items)} has no place {step}")
    before = items[step] if step < len(items) else None
    items[step : step + 1] = [_placed(before, rest, value)]
    return items
