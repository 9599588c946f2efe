"""`ezkielyna requestlog`: the last lines, for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson


def command(path_in: Callable[[Path], Path]) -> click.Command:
    """Return the command; `path_in` gives the file for a data folder."""

    @click.command()
    @click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1, 100_000))
    @click.option("--account", default="", help="Only of this account's id.")
    @click.option("--model", default="", help="Only of this model.")
    @click.option("--failed", is_flag=True, help="Only what did not end well.")
    @click.option("--json", "as_json", is_flag=True, help="Print the lines as they are.")
    @click.pass_context
    def requestlog(
        ctx: click.Context, count: int, account: str, model: str, failed: bool, as_json: bool
    ) -> None:
        """Show the last requests of the log, the newest last."""
        path = path_in(ctx.obj.folder)
        if not path.is_file():
            raise click.ClickException(f"{path} is not there: nothing was served with this plugin")
        wanted = {"account": account, "model": model}
        lines = deque(_chosen(path, wanted, failed), maxlen=count)
        for document in lines:
            click.echo(orjson.dumps(document) if as_json else _row(document))

    return requestlog


def _chosen(path: Path, wanted: dict[str, str], failed: bool) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for raw in file:
            document = orjson.loads(raw)
            if failed and document["outcome"] == "ok":
                continue
            if all(document[key] == value for key, value in wanted.items() if value):
                yield document


def _row(document: dict[str, Any]) -> str:
    tokens = sum(count for count in document["tokens"].values() if isinstance(count, int))
    return (
        f"{document['time'][:19]}  {document['status']}  {document['outcome']:<16} "
        f"{document['model']:<24} {tokens:>7} tokens  {document['duration_ms'] or 0:>7} ms  "
        f"{document['request_id']}"
    )
