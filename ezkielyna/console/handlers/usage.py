"""Usage: charts over the roll-ups, tokens by model, and the export request by request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from ezkielyna.console.asked import RANGE_NAMES, Asked, days_of, in_range
from ezkielyna.console.charts.chart import figure
from ezkielyna.console.charts.sample import sample
from ezkielyna.console.charts.table import table
from ezkielyna.console.charts.usage import (
    GROUP_NAMES,
    METRIC_NAMES,
    OUTCOME_NAMES,
    View,
    chart,
    milliseconds,
    span,
)
from ezkielyna.console.formats import rate
from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.money import Nano, usd
from ezkielyna.ledger.periods import Period, moments
from ezkielyna.ledger.report import csv_of
from ezkielyna.ledger.series import Line, Series, latency, output_speed, tokens
from ezkielyna.ledger.statistics import usage_by
from ezkielyna.storage.errors import StorageError
from ezkielyna.storage.keys import KeyRecord
from ezkielyna.storage.usage import Dimension, Sums, requests


class Usage(AccountPage):
    """The page: a chart and its table, and what each model was used for."""

    async def get(self) -> None:
        """Show the view that the address asks for."""
        now = datetime.now(UTC)
        asked = Asked.of(lambda name: self.get_query_argument(name, ""), now)
        asked, period = in_range(self, asked, now)
        database, account = self.console.database, self.account.id
        by = await usage_by(database, account, {asked.group, "model"}, period)
        found, names = by[asked.group], await value_names(self, asked.group)
        view = View(found, asked.group, asked.metric, now, asked.log, asked.cumulative, names)
        if not found.lines:
            view = View(sample(period), "model", asked.metric, now, asked.log, sample=True)
        self.render(
            "usage.html",
            title="Usage",
            styles=("charts.css",),
            scripts=("live.js", "usage.js"),
            asked=asked,
            period=period,
            span=span(period),
            days=days_of(period),
            ranges=RANGE_NAMES,
            metrics=METRIC_NAMES,
            groups=GROUP_NAMES,
            chart=figure(chart(view), table="" if view.sample else table(view)),
            sample=view.sample,
            whole=found.whole.total,
            tokens=tokens,
            models=sorted_models(by["model"], asked.sort),
            export=export_path(period),
        )


class Export(AccountPage):
    """The CSV file: one line a request, streamed, from the usage documents."""

    async def get(self) -> None:
        """Send the file; half of it never ends like a whole one."""
        since = self.get_query_argument("from", "") or None
        until = self.get_query_argument("to", "") or None
        try:
            begin, end = moments(since, until, datetime.now(UTC))
        except InvalidRequest as error:
            raise HTTPError(400, reason=error.message) from None
        name = f"usage-{begin:%Y-%m-%d}-{end:%Y-%m-%d}.csv"
        self.set_header("Content-Type", "text/csv; charset=utf-8; header=present")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Cache-Control", "no-store")
        pieces = csv_of(requests(self.console.database, self.account.id, begin, end))
        self.write(await anext(pieces))
        try:
            async for piece in pieces:
                await self.flush()
                self.write(piece)
        except StreamClosedError:
            return
        except StorageError:
            if self.request.connection is not None:
                self.request.connection.close()  # type: ignore[attr-defined]
            raise


async def value_names(page: AccountPage, by: Dimension) -> Mapping[str, str]:
    """Return what people call the values of a dimension; models and endpoints are their names."""
    if by == "outcome":
        return OUTCOME_NAMES
    return key_names(await page.console.keys.list(page.account.id)) if by == "key" else {}


def key_names(keys: Sequence[KeyRecord]) -> dict[str, str]:
    """Return what people call keys: by their name, and by the end of the key where names repeat."""
    names = Counter(key.name for key in keys)
    return {
        key.id: key.name if names[key.name] == 1 else f"{key.name} ({key.hint})" for key in keys
    }


def sorted_models(found: Series, sort: str) -> list[Line]:
    """Return a line for each model, largest first; by name from A to Z."""
    if sort == "model":
        return sorted(found.lines, key=lambda line: line.value)
    return sorted(found.lines, key=lambda line: -_weight(line, sort))


def _weight(line: Line, sort: str) -> int:
    if sort == "requests":
        return line.total.requests
    bucket = BUCKET_OF.get(sort)
    return line.total.cost if bucket is None else line.total.tokens.get(bucket, 0)


BUCKET_OF = {
    "input": "input",
    "cached": "cached_input",
    "written": "cache_write",
    "output": "output",
    "reasoning": "reasoning",
}
"""Columns of the table of models, by the word in the address, and their buckets."""


def reported(line: Line) -> bool:
    """True when an upstream told the usage of some request, so that a zero is known to be one."""
    sums = line.total
    return sums.estimated < sums.requests - sums.errors


def speed(line: Line) -> str:
    """Return output tokens a second, as people read it; nothing where it is not known."""
    found = output_speed(line.total)
    return "" if found is None else rate(found)


def first_byte(line: Line) -> str:
    """Return the mean time to the first byte; nothing where there was none."""
    found = latency(line.total)
    return "" if found is None else milliseconds(found)


def error_rate(sums: Sums) -> str:
    """Return the share of requests that failed; nothing without requests."""
    if not sums.requests:
        return ""
    share = 100 * sums.errors / sums.requests
    return f"{share:.0f} %" if share >= 10 or not share else f"{share:.2g} %"


def exact(amount: Nano) -> str:
    """Return an amount to the nano."""
    return f"{usd(amount)} USD"


def activity_path(model: str, period: Period) -> str:
    """Return the address of a model's requests in a period."""
    first, last = days_of(period)
    return f"/activity?{urlencode({'model': model, 'first': first, 'last': last})}"


def export_path(period: Period) -> str:
    """Return the address of the export of a period."""
    return f"/usage/export?from={period.since:%Y-%m-%dT%H:%M}Z&to={period.until:%Y-%m-%dT%H:%M}Z"


TOPIC = Topic(
    routes=((r"/usage", Usage), (r"/usage/export", Export)),
    menu=(Entry(12, "Usage", "/usage", "chart"),),
    names={
        "activity_path": activity_path,
        "bucket_of": BUCKET_OF,
        "error_rate": error_rate,
        "exact": exact,
        "first_byte": first_byte,
        "reported": reported,
        "speed": speed,
    },
)
