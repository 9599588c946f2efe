"""What a usage page is asked for, all of it in the address: to be shared, and gone back to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.ledger.periods import DAY, UNITS, Period, Unit, hour, midnight, period, tomorrow
from ezkielyna.ledger.series import METRICS, Metric
from ezkielyna.storage.usage import DIMENSIONS, Dimension

if TYPE_CHECKING:
    from ezkielyna.console.page import Page

RANGES = {"24h": 1, "7d": 7, "30d": 30, "90d": 90, "12m": 365}
"""Presets, in days; the first one is in hours up to now."""

RANGE_NAMES = {
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "12m": "12 months",
}
DEFAULT_RANGE = "30d"
SORTS = ("model", "requests", "input", "cached", "written", "output", "reasoning", "cost")

Argument = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One view of usage. `preset` is empty for a range of the reader's own: `first` to `last`."""

    preset: str = DEFAULT_RANGE
    first: str = ""
    last: str = ""
    metric: Metric = "cost"
    group: Dimension = "model"
    unit: Unit | None = None
    log: bool = False
    cumulative: bool = False
    sort: str = "cost"

    @classmethod
    def of(cls, argument: Argument, now: datetime) -> Asked:
        """Read the address; what it does not say, or says wrongly, is as usual.

        Days that are not those of the preset beside them win: somebody has changed them.
        """
        first, last = argument("first"), argument("last")
        preset = argument("range")
        if preset not in RANGES:
            preset = "" if first or last else DEFAULT_RANGE
        elif first or last:
            own = cls(preset).period(now)
            preset = preset if (first, last) == days_of(own) else ""
        return cls(
            preset=preset,
            first="" if preset else first,
            last="" if preset else last,
            metric=_one_of(METRICS, argument("metric"), "cost"),
            group=_one_of(DIMENSIONS, argument("group"), "model"),
            unit=_one_of((None, *UNITS), argument("unit"), None),
            log=argument("scale") == "log",
            cumulative=argument("sum") == "running",
            sort=_one_of(SORTS, argument("sort"), "cost"),
        )

    def period(self, now: datetime) -> Period:
        """Return the range in UTC hours; raises InvalidRequest for one that cannot be shown."""
        if self.preset == "24h":
            until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
            return period(until - DAY, until, self.unit)
        if self.preset:
            until = tomorrow(now)
            return period(until - RANGES[self.preset] * DAY, until, self.unit)
        last = midnight(hour(self.last, "last")) if self.last else midnight(now)
        first = midnight(hour(self.first, "first")) if self.first else last - 29 * DAY
        if first > last:
            raise InvalidRequest("The first day is after the last.", param="first")
        return period(first, last + DAY, self.unit)

    def link(self, path: str = "/usage", **changes: Any) -> str:
        """Return the address of this view with some things changed."""
        if "preset" in changes:
            changes |= {"first": "", "last": ""}
        words = replace(self, **changes)._words()
        return f"{path}?{urlencode(words)}" if words else path

    def _words(self) -> dict[str, str]:
        """Return what the address says; what is as usual is left out."""
        words = {
            "range": self.preset,
            "first": self.first,
            "last": self.last,
            "metric": self.metric,
            "group": self.group,
            "unit": self.unit or "",
            "scale": "log" if self.log else "",
            "sum": "running" if self.cumulative else "",
            "sort": self.sort,
        }
        usual = {"range": DEFAULT_RANGE, "metric": "cost", "group": "model", "sort": "cost"}
        return {name: text for name, text in words.items() if text and text != usual.get(name)}


def in_range(page: Page, asked: Asked, now: datetime) -> tuple[Asked, Period]:
    """Return what is asked for, and its range; the usual one where that is none, and say so."""
    try:
        return asked, asked.period(now)
    except InvalidRequest as error:
        page.errors[error.param or "first"] = error.message
        page.set_status(400)
        usual = Asked(metric=asked.metric, group=asked.group)
        return usual, usual.period(now)


def days_of(period: Period) -> tuple[str, str]:
    """Return the first and the last day of a period, as forms and addresses have them."""
    last = period.until - timedelta(seconds=1)
    return f"{period.since:%Y-%m-%d}", f"{last:%Y-%m-%d}"


def _one_of(choices: Any, given: str, usual: Any) -> Any:
    return given if given in choices and given else usual
