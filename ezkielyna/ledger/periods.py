"""Periods: half-open ranges of UTC hours, cut into bars of hours, days or weeks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal, get_args

from ezkielyna.contract.errors import InvalidRequest

Unit = Literal["hour", "day", "week"]
UNITS: tuple[Unit, ...] = get_args(Unit)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)

_LENGTHS: dict[Unit, timedelta] = {"hour": HOUR, "day": DAY, "week": WEEK}

MOST_BARS = 48
"""Where nobody asks for a unit, the finest one is taken that makes no more bars than this."""

MOST_BUCKETS = 800
LONGEST = timedelta(days=3 * 366)
DEFAULT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bar: from `start` to just before `end`. The outer ones may be cut off by the range."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to just before `until`, both full hours in UTC, in bars of one unit."""

    since: datetime
    until: datetime
    unit: Unit

    def buckets(self) -> list[Bucket]:
        """Return every bar, oldest first; weeks begin on Monday."""
        edges = [self.since]
        while edges[-1] < self.until:
            edges.append(min(self.until, _next(edges[-1], self.unit)))
        return [Bucket(*pair) for pair in pairwise(edges)]

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.since


def period(since: datetime, until: datetime, unit: Unit | None = None) -> Period:
    """Return a period; raises InvalidRequest for a range that is empty, too long or too fine."""
    if since >= until:
        raise InvalidRequest("'from' must be before 'to': 'to' is not included.", param="from")
    if until - since > LONGEST:
        raise InvalidRequest(f"The range is longer than {LONGEST.days} days.", param="from")
    chosen = Period(since, until, unit or _fitting(until - since))
    if until - since > MOST_BUCKETS * _LENGTHS[chosen.unit]:
        raise InvalidRequest(
            f"The range has more than {MOST_BUCKETS} {chosen.unit}s; ask for a longer unit.",
            param="unit",
        )
    return chosen


def requested(since: str | None, until: str | None, unit: str | None, now: datetime) -> Period:
    """Return the period that somebody asked for in words; by default 30 days, today included.

    A time is a date or a full hour, such as `2026-11-01` or `2026-11-01T15:00Z`, in UTC. Raises
    InvalidRequest.
    """
    if unit is not None and unit not in UNITS:
        raise InvalidRequest(f"'unit' must be {' or '.join(UNITS)}.", param="unit")
    end = tomorrow(now) if until is None else hour(until, "to")
    begin = end - DEFAULT_DAYS * DAY if since is None else hour(since, "from")
    return period(begin, end, unit)


def moments(since: str | None, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Return a half-open range that may begin and end at any time and be of any length.

    By default 30 days, today included. Raises InvalidRequest.
    """
    end = tomorrow(now) if until is None else moment(until, "to")
    begin = end - DEFAULT_DAYS * DAY if since is None else moment(since, "from")
    if begin >= end:
        raise InvalidRequest("'from' must be before 'to': 'to' is not included.", param="from")
    return begin, end


def hour(text: str, param: str) -> datetime:
    """Return a date or a full hour in UTC; raises InvalidRequest, naming `param`."""
    found = moment(text, param)
    if found.minute or found.second or found.microsecond:
        raise InvalidRequest(
            f"'{param}' must be a date or a full hour: usage is added up by the hour.", param=param
        )
    return found


def moment(text: str, param: str) -> datetime:
    """Return a time in UTC; one without a zone is in UTC. Raises InvalidRequest."""
    try:
        # A plus sign that nobody escaped arrives as a space.
        found = datetime.fromisoformat(text.strip().replace(" ", "+"))
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"'{param}' must be a date or a time such as 2026-11-01 or 2026-11-01T15:00Z.",
            param=param,
        ) from None
    if not 2000 <= found.year <= 9000:
        raise InvalidRequest(f"'{param}' must be in this millennium.", param=param)
    return found


def tomorrow(now: datetime) -> datetime:
    """Return the next midnight in UTC."""
    return midnight(now) + DAY


def midnight(now: datetime) -> datetime:
    """Return the last midnight in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _fitting(length: timedelta) -> Unit:
    if length <= MOST_BARS * HOUR:
        return "hour"
    return "day" if length <= MOST_BARS * DAY else "week"


def _next(moment: datetime, unit: Unit) -> datetime:
    if unit == "hour":
        return moment + HOUR
    day = midnight(moment)
    return day + DAY if unit == "day" else day - timedelta(days=day.weekday()) + WEEK
