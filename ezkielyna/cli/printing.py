"""What commands print: records as JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import orjson

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(record: Any) -> None:
    """Print one record, or a list of them, as a line of JSON."""
    click.echo(orjson.dumps(record).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print rows under their columns, or the sentence for no rows.

    Piped, nothing is cut to the width of a terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    if not table.row_count:
        click.echo(empty)
        return
    console = Console(soft_wrap=False)
    console = console if console.is_terminal else Console(width=10_000)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def timestamp(moment: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the second; None for none."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
