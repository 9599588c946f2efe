"""The report as one HTML file that needs no other: no script, no link, no font. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from ezkielyna.bench.compare import name_of
from ezkielyna.bench.plots import Series, plot
from ezkielyna.bench.report import Document

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:72rem;margin:2rem auto;padding:0 1rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:2rem}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
svg text{font-size:12px;fill:currentColor}.grid{stroke:currentColor;opacity:.15}
figure ul{list-style:none;display:flex;flex-wrap:wrap;gap:0 1rem;padding:0;margin:0}
figure li span{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem}
.wide{overflow-x:auto}table{border-collapse:collapse;white-space:nowrap}
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left}
.warning{border-left:.3rem solid #d55e00;padding-left:1rem}
code{overflow-wrap:anywhere}
"""

COLUMNS = {
    "requests/s": "requests_s",
    "good/s": "good_s",
    "chunks/s": "chunks_s",
    "tokens/s": "tokens_s",
    "first byte p50": "first_byte_ms.p50",
    "p99": "first_byte_ms.p99",
    "first token p50": "first_token_ms.p50",
    "gap p50": "gap_ms.p50",
    "gap p99": "gap_ms.p99",
    "total p50": "total_ms.p50",
    "total p99": "total_ms.p99",
}
"""The figures that are shown, times in milliseconds, under the heading of their columns."""


def page(document: Document) -> str:
    """Return the HTML of a report."""
    title = f"{document['target']['model']} at {document['target']['url']}"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>Load on {escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>Load on {escape(title)}</h1>",
            *_about(document),
            *_warnings(document),
            _table(document),
            f'<div class="plots">{"".join(_plots(document))}</div>',
            "</body></html>\n",
        ]
    )


def _about(document: Document) -> Iterator[str]:
    machine, versions = document["machine"], document["versions"]
    yield f"<p>{escape(document['taken'])} · {escape(machine['system'])} · {machine['cores']} cores"
    yield f" · ezkielyna {escape(versions['ezkielyna'])} · Python {escape(versions['python'])}</p>"
    yield f"<p><code>{escape(document['command'])}</code></p>"
    if document["limits_s"]:
        limits = ", ".join(
            f"{name.replace('_', ' ')} {1000 * limit:g} ms"
            for name, limit in document["limits_s"].items()
        )
        yield f"<p>Good is a request that met all of: {escape(limits)}.</p>"


def _warnings(document: Document) -> Iterator[str]:
    for step in document["steps"]:
        told = {text for one in step["rounds"] for text in one["warnings"]}
        for text in sorted(told):
            yield f'<p class="warning">{escape(name_of(step["load"]))}: {escape(text)}.</p>'


def _table(document: Document) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("load", "errors", *COLUMNS))
    rows = []
    for step in document["steps"]:
        errors = sum(one["errors"] for one in step["rounds"])
        cells = [name_of(step["load"]), f"{errors:,}"]
        cells += [cell(step["figures"].get(figure)) for figure in COLUMNS.values()]
        rows.append(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in cells)}</tr>")
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(rows)}</table></div>'


def cell(figure: dict[str, float] | None) -> str:
    """Return a figure as a table shows it: the median, with the extremes where they differ."""
    if figure is None:
        return "-"
    middle, low, high = (_number(figure[name]) for name in ("median", "min", "max"))
    return middle if low == high else f"{middle} ({low}…{high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _plots(document: Document) -> Iterator[str]:
    steps = document["steps"]
    curves = [Series(name_of(step["load"]), _shares(step["rounds"][-1])) for step in steps]
    yield plot("Whole answer: share within a time", "ms", "% of requests", curves, log_x=True)
    for way, label in (("closed", "requests at once"), ("open", "requests due a second")):
        of_way = [step for step in steps if step["load"]["way"] == way]
        if of_way:
            rates = [_over(of_way, "requests_s", "answered"), _over(of_way, "good_s", "good")]
            yield plot(f"Throughput over {label}", label, "requests/s", rates)
            firsts = [_over(of_way, f"first_byte_ms.{point}", point) for point in ("p50", "p99")]
            yield plot(f"First byte over {label}", label, "ms", firsts)
    for step in steps:
        yield plot(f"Time line: {name_of(step['load'])}", "s", "a second", _times(step))


def _over(steps: list[dict[str, Any]], figure: str, name: str) -> Series:
    found = (
        (step["load"]["amount"], step["figures"][figure]["median"])
        for step in steps
        if figure in step["figures"]
    )
    return Series(name, sorted(found))


def _shares(found: dict[str, Any]) -> list[tuple[float, float]]:
    times = found["curve"]["total_ms"]
    return [(time, 100 * number / (len(times) - 1)) for number, time in enumerate(times)]


def _times(step: dict[str, Any]) -> list[Series]:
    rows = step["rounds"][-1]["timeline"]
    return [
        Series("answered", [(row["second"], row["answered"]) for row in rows]),
        Series("errors", [(row["second"], row["errors"]) for row in rows if row["errors"]], True),
    ]
