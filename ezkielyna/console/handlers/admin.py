"""Pages for operators: what was earned, what failed, and whether the gateway is well.

Operators are accounts that `[accounts] operators` names. To everybody else these pages are not
there. Whatever an operator does is in an account's history, with the operator's address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tornado.web import HTTPError

from ezkielyna.console.asked import DEFAULT_RANGE, RANGE_NAMES, Asked, days_of, in_range
from ezkielyna.console.charts.chart import figure
from ezkielyna.console.charts.sample import sample
from ezkielyna.console.charts.table import table
from ezkielyna.console.charts.usage import (
    GROUP_NAMES,
    OUTCOME_NAMES,
    SELLERS_NAMES,
    View,
    chart,
    span,
)
from ezkielyna.console.handlers.overview import FOLDED, Step
from ezkielyna.console.margins import earned
from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.ledger.periods import Period
from ezkielyna.ledger.series import series, tokens
from ezkielyna.storage.totals import spenders, totals_by, used

RANGES = {name: text for name, text in RANGE_NAMES.items() if name != "24h"}
"""The presets; whole days only, as roll-ups of all accounts are read by the day."""

GROUPS = {name: text for name, text in GROUP_NAMES.items() if name != "key"}
TOP = 10
"""How many models and accounts are listed."""


class OperatorPage(AccountPage):
    """A page for operators; to others it is not there."""

    async def prepare(self) -> None:
        """Let nobody through who is not logged in as an operator."""
        await super().prepare()
        if not self._finished and not self.operator:
            raise HTTPError(404)

    @property
    def signature(self) -> str:
        """Who did it, as the trail and the ledger say it."""
        return f"operator {self.account.email}"


class Admin(OperatorPage):
    """What all accounts used in a range: revenue, cost and margin, errors, who used most."""

    async def get(self) -> None:
        """Show the view that the address asks for; its numbers come from the roll-ups alone."""
        now = datetime.now(UTC)
        asked, period = self._asked(now)
        database = self.console.database
        by = await totals_by(database, {asked.group, "model"}, period.since, period.until)
        found, by_model = series(period, by[asked.group]), series(period, by["model"])
        view = View(found, asked.group, asked.metric, now, names=OUTCOME_NAMES, seller=True)
        if not found.lines:
            view = View(sample(period), "model", asked.metric, now, sample=True, seller=True)
        providers = {name: model.provider for name, model in self.console.models.items()}
        whole, by_provider, models = earned(by_model.lines, self.console.costs, providers)
        spending = await spenders(database, period.since, period.until, TOP)
        self.render(
            "admin.html",
            title="Operators",
            styles=("charts.css",),
            scripts=("usage.js",),
            asked=asked,
            span=span(period),
            days=days_of(period),
            ranges=RANGES,
            metrics=SELLERS_NAMES,
            groups=GROUPS,
            chart=figure(chart(view), table="" if view.sample else FOLDED.format(table(view))),
            sample=view.sample,
            whole=whole,
            providers=by_provider,
            models=models[:TOP],
            sold=len(models),
            spenders=spending,
            emails=await self.console.accounts.emails([one.account for one in spending]),
            steps=await self._steps(),
            total=await self.console.accounts.count(),
            suspended=await self.console.accounts.count("suspended"),
        )

    def _asked(self, now: datetime) -> tuple[Asked, Period]:
        """Return what the address asks for, in bars of days at least."""
        asked = Asked.of(lambda name: self.get_query_argument(name, ""), now)
        if asked.preset and asked.preset not in RANGES:
            asked = replace(asked, preset=DEFAULT_RANGE)
        if asked.group not in GROUPS:
            asked = replace(asked, group="model")
        asked = replace(asked, unit=None, log=False, cumulative=False, sort="cost")
        asked, period = in_range(self, asked, now)
        return asked, replace(period, unit="day") if period.unit == "hour" else period

    async def _steps(self) -> Sequence[Step]:
        """Return the first steps of a new gateway; none once all are done."""
        console = self.console
        steps = [
            Step("Configure a provider", bool(console.office.providers), "/admin/providers"),
            Step("Offer a model with its price", bool(console.models), "/admin/models"),
            Step("Make a call", await used(console.database), "/playground"),
        ]
        return [] if all(step.done for step in steps) else steps


TOPIC = Topic(
    routes=((r"/admin", Admin),),
    menu=(Entry(95, "Operators", "/admin", "shield", operators=True),),
    names={"all_used": tokens},
)
