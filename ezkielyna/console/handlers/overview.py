"""Overview: money, how long it lasts, what happens now, and the first steps of who is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ezkielyna.console.charts.chart import figure
from ezkielyna.console.charts.sample import sample
from ezkielyna.console.charts.table import table
from ezkielyna.console.charts.usage import OUTCOME_NAMES, View, chart
from ezkielyna.console.formats import money
from ezkielyna.console.handlers.activity import FAILED
from ezkielyna.console.handlers.usage import error_rate, key_names
from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.money import Nano
from ezkielyna.ledger.periods import DAY, Period, midnight, tomorrow
from ezkielyna.ledger.series import series
from ezkielyna.storage.keys import KeyRecord
from ezkielyna.storage.requests import Sought, page
from ezkielyna.storage.rollups import Cell, cells
from ezkielyna.storage.usage import Sums

MONTH = 30
LATEST = 5
ACTIVE = "active"
CLOCKS = timedelta(minutes=1)
"""How far another process's clock may be ahead."""

FOLDED = "<details><summary>The numbers</summary>{}</details>"


@dataclass(slots=True)
class Span:
    """So many days, today included, beside as many before them."""

    days: int
    now: Sums = field(default_factory=Sums)
    before: Sums = field(default_factory=Sums)

    def add(self, days_ago: int, sums: Sums) -> None:
        """Add what was used so many days ago."""
        if days_ago < self.days:
            self.now.add(sums)
        elif days_ago < 2 * self.days:
            self.before.add(sums)

    @property
    def comparison(self) -> str:
        """How the cost compares with that of the days before, in words."""
        before = self.before.cost
        if not before:
            return "nothing before" if self.now.cost else "nothing before, either"
        share = round(100 * (self.now.cost - before) / before)
        if share == 0:
            return f"as much as before: {money(before)}"
        return f"{abs(share):,} % {'more' if share > 0 else 'less'} than before: {money(before)}"


@dataclass(slots=True)
class Spans:
    """Today, a week and a month, and how many of the last seven days there is usage of."""

    today: Span = field(default_factory=lambda: Span(1))
    week: Span = field(default_factory=lambda: Span(7))
    month: Span = field(default_factory=lambda: Span(MONTH))
    days_used: int = 0

    @classmethod
    def of(cls, found: Sequence[Cell], now: datetime) -> Spans:
        """Return the spans of an account's cells, of twice a month."""
        today = midnight(now)
        by_day: dict[int, Sums] = {}
        for cell in found:
            by_day.setdefault((today - midnight(cell.start)).days, Sums()).add(cell.sums)
        spans = cls()
        for days_ago, sums in by_day.items():
            for span in (spans.today, spans.week, spans.month):
                span.add(days_ago, sums)
            if days_ago < 7:
                spans.days_used = max(spans.days_used, days_ago + 1)
        return spans

    def days_left(self, balance: Nano) -> str:
        """Return how long a balance lasts at the rate of the last week; nothing if not known."""
        if not self.week.now.cost or balance <= 0:
            return ""
        days = balance * self.days_used // self.week.now.cost
        if days > 365:
            return "more than a year"
        return "less than a day" if days < 1 else "1 day" if days == 1 else f"{days} days"


@dataclass(frozen=True, slots=True)
class Step:
    """A first step: done or not, and where it is done."""

    name: str
    done: bool
    path: str


class Overview(AccountPage):
    """The page that who logged in begins with."""

    async def get(self) -> None:
        """Show it; all numbers come from the roll-ups, the latest requests from their documents."""
        now = datetime.now(UTC)
        until = tomorrow(now)
        database, account = self.console.database, self.account
        found = await cells(database, account.id, "model", until - 2 * MONTH * DAY, until)
        sought = Sought(until - MONTH * DAY, now + CLOCKS)
        latest = await page(database, account.id, sought, LATEST) if found else []
        every_key = await self.console.keys.list(account.id)
        keys = [key for key in every_key if key.state(now) == ACTIVE]
        spans = Spans.of(found, now)
        period = Period(until - MONTH * DAY, until, "day")
        shown = series(period, [cell for cell in found if cell.start >= period.since])
        used = bool(latest or found)
        view = View(shown, "model", "cost", now)
        if not shown.lines:
            view = View(sample(period), "model", "cost", now, sample=True)
        self.render(
            "overview.html",
            title="Overview",
            styles=("charts.css",),
            scripts=("live.js",),
            spans=spans,
            days_left=spans.days_left(account.balance),
            error_rate=error_rate(spans.week.now),
            chart=figure(chart(view), table="" if view.sample else FOLDED.format(table(view))),
            latest=latest,
            keys=key_names(every_key),
            key=keys[-1] if keys else None,
            steps=self._steps(keys, used),
            model=next(iter(self.console.models), "a-model"),
        )

    def _steps(self, keys: Sequence[KeyRecord], used: bool) -> list[Step]:
        """Return the first steps; none once all are done."""
        has = self.console.has
        steps = [
            Step("Create an API key", bool(keys) or used, "/keys" if has("/keys") else ""),
            Step("Top up", self.account.balance > 0, "/billing" if has("/billing") else ""),
            Step("Make your first call", used, "#first-call"),
        ]
        return [] if all(step.done for step in steps) else steps


TOPIC = Topic(
    routes=((r"/overview", Overview),),
    menu=(Entry(10, "Overview", "/overview", "home"),),
    names={"failures": frozenset(FAILED), "outcome_names": OUTCOME_NAMES},
)
