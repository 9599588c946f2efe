"""What people type for a load: numbers, times, limits, lengths. A wrong one is exit status 2."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LIMITS = ("first_byte", "first_token", "gap", "token", "total")


def seconds(text: str) -> float | None:
    """Return a time such as `500ms`, `10s`, `10` or `2m` in seconds; None for what is none."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)?", text.strip().lower())
    return None if found is None else float(found[1]) * _UNITS[found[2] or "s"]


class TimeType(click.ParamType[float]):
    """A time, in seconds in the program."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds; fails for what is no time."""
        if isinstance(value, int | float):
            return float(value)
        found = seconds(str(value))
        if found is None:
            self.fail(f"{value!r} is not a time; write 500ms, 10s or 2m", param, ctx)
        return found


class NumbersType(click.ParamType[tuple[float, ...]]):
    """Positive numbers with commas between them: `1,8,32`."""

    name = "NUMBERS"

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers; fails for none, for zero, and for what is no number."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple((int if self._whole else float)(part) for part in str(value).split(","))
        except ValueError:
            found = ()
        if not found or not all(0 < one < 1e9 for one in found):
            kind = "whole numbers" if self._whole else "numbers"
            self.fail(f"{value!r}: write positive {kind}, such as 8 or 1,8,32", param, ctx)
        return found


class LengthType(click.ParamType[str]):
    """How many tokens: a number or a distribution."""

    name = "TOKENS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, once it is known to describe lengths."""
        from ezkielyna.bench.lengths import length

        try:
            length(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class LimitType(click.ParamType[tuple[str, float]]):
    """A limit that a good request meets: `first_byte=200ms`."""

    name = "NAME=TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return name and seconds; fails for an unknown name and for what is no time."""
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        limit = seconds(text)
        if name not in LIMITS or not limit:
            named = ", ".join(LIMITS)
            self.fail(f"{value!r}: write NAME=TIME with a name of {named}", param, ctx)
        return name, limit


class HeaderType(click.ParamType[tuple[str, str]]):
    """A header: `Name: value`. A refusal does not repeat the value, which may be secret."""

    name = "HEADER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, colon, text = str(value).partition(":")
        if not (colon and re.fullmatch(r"[!-9;-~]+", name) and text.strip().isprintable()):
            self.fail("write a header as 'Name: value'", param, ctx)
        return name, text.strip()


class FieldsType(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Return the object; fails for any other JSON, and for none."""
        import orjson

        if isinstance(value, dict):
            return value
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            self.fail(f"no JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail('write a JSON object, such as {"temperature": 0}', param, ctx)
        return found
