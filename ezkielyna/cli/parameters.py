"""What people type: amounts of USD, durations, e-mail addresses. A wrong one is exit status 2."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from ezkielyna.contract.money import MoneyError, Nano, nano

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36_500)


class UsdType(click.ParamType[Nano]):
    """An amount of USD as text, exact nano-dollars in the program."""

    name = "USD"

    def __init__(self, *, least: Nano | None = None) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Nano:
        """Return nano-dollars; fails for what is no exact amount, or less than the least."""
        if isinstance(value, int):
            return value
        try:
            amount = nano(str(value).strip().removeprefix("$"))
        except MoneyError as error:
            self.fail(f"{error}; write an amount such as 5 or 12.50", param, ctx)
        if self._least is not None and amount < self._least:
            self.fail(f"{value} USD is too little here", param, ctx)
        return amount


class DurationType(click.ParamType[timedelta]):
    """A time from now, such as `30d`, `12h` or `45m`."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the duration; fails unless it lies in the future, within a hundred years."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value).strip().lower(), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a duration; write 30d, 12h or 45m", param, ctx)
        duration = timedelta(**{UNITS[match[2]]: int(match[1])})
        if not timedelta() < duration <= LONGEST:
            self.fail(f"{value} does not end between now and in a hundred years", param, ctx)
        return duration


class EmailType(click.ParamType[str]):
    """An e-mail address, in small letters in the program."""

    name = "EMAIL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address as accounts store it; fails for what is none."""
        from ezkielyna.storage.accounts import normalised
        from ezkielyna.storage.errors import Invalid

        try:
            return normalised(str(value))
        except Invalid as error:
            self.fail(str(error), param, ctx)


class NamesType(click.ParamType[tuple[str, ...]]):
    """Names with commas between them: `gpt-4o*,o3`."""

    name = "NAMES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names; fails without any."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(",") if name.strip())
        if not names:
            self.fail("name at least one, such as gpt-4o* or gpt-4o,o3", param, ctx)
        return names
