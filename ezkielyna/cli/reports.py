"""What `ezkielyna bench` shows: a bar while it runs, tables and files afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Refusal
from ezkielyna.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from ezkielyna.bench.compare import Ratio
    from ezkielyna.bench.report import Document, Run, Step
    from ezkielyna.bench.running import Progress

FILES = ("report.json", "report.csv", "requests.jsonl", "report.html")


@contextmanager
def progress_bar(planned: Run, rounds: int, *, quiet: bool) -> Iterator[Progress]:
    """Give what draws a bar on standard error, a line for every step and round."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ezkielyna.bench.compare import name_of

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        begun: dict[tuple[int, int], tuple[Any, float]] = {}

        def told(step: Step, number: int, ended: int, failed: int, still: int) -> None:
            at = (planned.steps.index(step), number)
            if at not in begun:
                load = step.load
                name = name_of({"way": load.way, "amount": load.amount})
                name += f", round {number + 1} of {rounds}" if rounds > 1 else ""
                total = load.requests or load.before_s + load.duration_s
                begun[at] = bars.add_task(name, total=total, said=""), time.monotonic()
            task, since = begun[at]
            done = ended if step.load.requests else time.monotonic() - since
            said = f"{ended:,} ended, {failed:,} failed, {still:,} open"
            bars.update(task, completed=done, said=said)

        yield told


def write_files(planned: Run, document: Document, folder: Path) -> None:
    """Write the report in its four forms; raises OSError."""
    import orjson

    from ezkielyna.bench.page import page
    from ezkielyna.bench.report import csv_text

    folder.mkdir(parents=True, exist_ok=True)
    report, table, lines, html = (folder / name for name in FILES)
    report.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    table.write_text(csv_text(document))
    with lines.open("wb") as file:
        file.writelines(planned.jsonl())
    html.write_text(page(document))


def rounds_of(document: Document) -> list[Any]:
    """Return all rounds of all steps."""
    return [found for step in document["steps"] for found in step["rounds"]]


def first_error(document: Document) -> str:
    """Return an error that came often, "" without any."""
    kinds = (kind for found in rounds_of(document) for kind in found["error_kinds"])
    return next(kinds, "")


def print_report(document: Document, out: Path | None) -> None:
    """Print the table, what made figures doubtful, and the errors by kind."""
    from ezkielyna.bench.compare import name_of
    from ezkielyna.bench.page import COLUMNS, cell

    rows = []
    for step in document["steps"]:
        errors = sum(found["errors"] for found in step["rounds"])
        cells = [cell(step["figures"].get(figure)) for figure in COLUMNS.values()]
        rows.append([name_of(step["load"]), f"{errors:,}", *cells])
    print_table(("load", "errors", *COLUMNS), rows, empty="nothing was measured")
    click.echo("times in milliseconds")
    for step in document["steps"]:
        for found in step["rounds"]:
            kinds = [f"{count:,} times: {kind}" for kind, count in found["error_kinds"].items()]
            for text in (*found["warnings"], *kinds):
                click.echo(f"{name_of(step['load'])}: {text}", err=True)
    if out is not None:
        click.echo(f"written: {', '.join(str(out / name) for name in FILES)}")


def print_comparison(first: Path, second: Path, *, as_json: bool) -> None:
    """Print the ratios of two reports; raises Refusal for a file that is none."""
    from dataclasses import asdict

    from ezkielyna.bench.compare import ratios, unmatched
    from ezkielyna.bench.report import NoReport, read

    try:
        documents = [read(path.read_bytes(), str(path)) for path in (first, second)]
    except NoReport as error:
        raise Refusal(str(error)) from error
    found = list(ratios(*documents))
    if as_json:
        print_json([{**asdict(one), "certain": one.certain} for one in found])
        return
    rows = [
        (one.step, one.figure, f"{one.first:,.4g}", f"{one.second:,.4g}", *_quotient(one))
        for one in found
    ]
    columns = ("load", "figure", "A", "B", "B / A", "least … most", "")
    print_table(columns, rows, empty="the reports have no step in common")
    for name in unmatched(*documents):
        click.echo(f"only in one of them: {name}", err=True)
    if found and found[0].rounds < 2:
        click.echo("one round: nothing is known about the spread; use --rounds 3", err=True)


def _quotient(one: Ratio) -> tuple[str, str, str]:
    if one.ratio is None:
        return "-", "", ""
    between = f"{one.least:.3f} … {one.most:.3f}" if one.rounds > 1 and one.least else ""
    return f"{one.ratio:.3f}", between, "differs" if one.certain else ""
