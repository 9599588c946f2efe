"""Money, counts and times as people read them. Formatted once, here, from whole numbers."""

from __future__ import annotations

from datetime import UTC, datetime

from tornado.escape import xhtml_escape

from ezkielyna.contract.money import NANOS_PER_USD, Nano

CENT = NANOS_PER_USD // 100


def money(amount: Nano) -> str:
    """Return an amount as `$1,234.56`; below one cent with six decimals, as `$0.000123`.

    Rounded half up in size; what is not nothing never shows as nothing.
    """
    size = abs(amount)
    places = 2 if size >= CENT or size == 0 else 6
    unit = 10 ** (9 - places)
    rounded = max((size + unit // 2) // unit, 1 if size else 0)
    whole, rest = divmod(rounded, 10**places)
    sign = "\N{MINUS SIGN}" if amount < 0 else ""
    return f"{sign}${whole:,}.{rest:0{places}d}"


def count(number: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{number:,}"


def rate(number: float) -> str:
    """Return so much a second: `1,234`, `8.5`."""
    return f"{number:,.0f}" if number >= 10 else f"{number:,.1f}"


def when(moment: datetime | None, absent: str = "never") -> str:
    """Return a `<time>` element in UTC; `time.js` adds the reader's local time as its title."""
    if moment is None:
        return xhtml_escape(absent)
    utc = moment.astimezone(UTC)
    iso = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{iso}">{utc.strftime("%-d %b %Y, %H:%M")} UTC</time>'


def day(moment: datetime | None, absent: str = "never") -> str:
    """Return a `<time>` element that shows the day alone."""
    if moment is None:
        return xhtml_escape(absent)
    utc = moment.astimezone(UTC)
    iso = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{iso}">{utc.strftime("%-d %b %Y")}</time>'


BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
"""What a User-Agent holds, and what people call it; whoever pretends to be another comes first."""


def browser(agent: str) -> str:
    """Return what a User-Agent header says in two words; else the header itself."""
    program = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, (program, system))) or agent or "unknown"
