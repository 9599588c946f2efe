"""How a simulated server behaves, and what one request may change about it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

MOST_TOKENS = 100_000
"""What one request may ask for: its answer is made in one go, while every other one waits."""


@dataclass(frozen=True, slots=True)
class Script:
    """Times are in seconds; `pace` is in chunks a second, 0: all at once.

    `tokens` is the length of an answer, 0: a natural one. `error` answers with this HTTP status;
    `error_rate` is the share of requests that fail with 500. `error_after` and `cut_after` count
    chunks of a stream: there it reports an error, or the connection is closed; -1: never. `usage`
    false leaves usage out, as careless servers do.
    """

    first_byte_s: float = 0.0
    pace: float = 0.0
    tokens: int = 0
    error: int = 0
    error_rate: float = 0.0
    error_after: int = -1
    cut_after: int = -1
    usage: bool = True
    seed: int = 0

    def overlaid(self, changes: Any) -> Script:
        """Return the script of one request: this one, with the fields of its `simulate` object.

        Raises ValueError naming a field that is unknown, of another type or too large.
        """
        if changes is None:
            return self
        if not isinstance(changes, dict):
            raise ValueError("'simulate' must be an object")  # noqa: TRY004  (a value of JSON)
        for name, value in changes.items():
            if name not in _TYPES:
                raise ValueError(f"'simulate' knows {', '.join(_TYPES)}; not {name!r}")
            expected = _TYPES[name]
            if isinstance(value, bool) != (expected is bool) or not isinstance(
                value, (int, float) if expected is float else expected
            ):
                raise ValueError(f"'simulate.{name}' must be a {expected.__name__}")
        if changes.get("tokens", 0) > MOST_TOKENS:
            raise ValueError(f"'simulate.tokens' must be at most {MOST_TOKENS:,}")
        return replace(self, **changes)


_TYPES: dict[str, type] = {field.name: type(field.default) for field in fields(Script)}
