"""Where a request holds what people wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

SPOKEN = ("messages", "prompt", "input", "suffix")
"""The fields of OpenAI's requests that hold text for the model."""

MACHINE = frozenset({"role", "type", "id", "tool_call_id", "name", "url", "data", "detail"})
"""Keys inside of them that hold words of the protocol, addresses and encoded media."""


def texts(fields: dict[str, Any]) -> Iterator[str]:
    """Yield every text for the model."""
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    redacted(fields, keep)
    yield from found


def redacted(fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the fields with every text for the model changed; what was given stays as it is."""
    return {
        name: _changed(value, change) if name in SPOKEN else value for name, value in fields.items()
    }


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(item, change) for item in value]
    if isinstance(value, dict):
        return {
            key: item if key in MACHINE else _changed(item, change) for key, item in value.items()
        }
    return value
