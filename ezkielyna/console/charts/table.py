"""The table under a chart of usage: the same numbers, with the total of every bar and line."""

from __future__ import annotations

from tornado.escape import xhtml_escape as escape

from ezkielyna.console.charts.usage import View, long_label, title
from ezkielyna.contract.money import usd
from ezkielyna.ledger.series import MEASURES


def table(view: View) -> str:
    """Return the table of a view; every amount of money has its exact value as a title."""
    unit = view.series.period.unit
    names = [view.name(line) for line in view.lines]
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in names)
    rows = "".join(_rows(view))
    region = f"{escape(title(view))}: numbers"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{region}">'
        f'<table class="numbers"><thead><tr><th scope="col">{unit.title()} (UTC)</th>'
        f'<th scope="col" class="number">Total</th>{head}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{_foot(view)}</tfoot></table></div>"
    )


def _rows(view: View) -> list[str]:
    columns = [view.values(line) for line in view.lines]
    whole = view.values(view.series.whole)
    rows: list[str] = []
    for position, bucket in enumerate(view.series.buckets):
        cells = [_cell(view, whole[position], "sum")]
        cells += [_cell(view, column[position]) for column in columns]
        quiet = "" if view.series.whole.buckets[position].requests else ' class="nothing"'
        first = escape(long_label(bucket, view.series.period.unit))
        rows.append(f'<tr{quiet}><th scope="row">{first}</th>{"".join(cells)}</tr>')
    return rows


def _foot(view: View) -> str:
    measure = MEASURES[view.metric]
    cells = [_cell(view, measure(view.series.whole.total), "sum")]
    cells += [_cell(view, measure(line.total)) for line in view.lines]
    return f'<tr><th scope="row">All</th>{"".join(cells)}</tr>'


def _cell(view: View, number: int | None, kind: str = "") -> str:
    exact = f' title="{usd(number, 2)} USD"' if view.metric == "cost" and number else ""
    classes = " ".join(["number", *filter(None, [kind, "" if number else "zero"])])
    text = "0" if number == 0 else view.written(number)
    return f'<td class="{classes}"{exact}>{text}</td>'
