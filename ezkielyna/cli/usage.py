"""`ezkielyna usage`: what an account used, by day and model, or request by request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.parameters import EmailType
from ezkielyna.cli.printing import json_option, print_json, print_table
from ezkielyna.contract.money import usd
from ezkielyna.contract.usage import BUCKETS

DAYS = 30
DATE = click.DateTime(["%Y-%m-%d"])

Range = tuple[datetime, datetime]


@click.command()
@click.argument("email", type=EmailType())
@click.option("--from", "since", type=DATE, metavar="DATE", help="First day. [30 days ago]")
@click.option("--to", "until", type=DATE, metavar="DATE", help="Day after the last. [tomorrow]")
@click.option("--csv", "as_csv", is_flag=True, help="One line a request.")
@json_option
@command_options
def usage(
    setup: Setup,
    email: str,
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show what the account of EMAIL used; days begin and end in UTC."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    days = _range(since, until)
    if as_csv:
        run(_csv(setup, email, days))
        return
    rows = run(_by_day_and_model(setup, email, days))
    if as_json:
        print_json([{**row, "cost": usd(row["cost"])} for row in rows])
    else:
        _print(rows)


def _range(since: datetime | None, until: datetime | None) -> Range:
    """Return the half-open range in UTC; raises BadParameter for an empty one."""
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow += timedelta(days=1)
    end = tomorrow if until is None else until.replace(tzinfo=UTC)
    begin = end - timedelta(days=DAYS) if since is None else since.replace(tzinfo=UTC)
    if begin >= end:
        raise click.BadParameter("the range ends before it begins", param_hint="--from")
    return begin, end


async def _csv(setup: Setup, email: str, days: Range) -> None:
    from ezkielyna.ledger.report import csv_of
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.usage import requests

    async with setup.storage() as database:
        account = await Accounts(database).by_email(email)
        async for lines in csv_of(requests(database, account.id, *days), end="\n"):
            click.echo(lines, nl=False)


async def _by_day_and_model(setup: Setup, email: str, days: Range) -> list[dict[str, Any]]:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.rollups import cells
    from ezkielyna.storage.usage import Sums

    async with setup.storage() as database:
        account = await Accounts(database).by_email(email)
        found = await cells(database, account.id, "model", *days)
    sums: dict[tuple[str, str], Sums] = {}
    for cell in found:
        day = f"{cell.start:%Y-%m-%d}"
        sums.setdefault((day, cell.value), Sums()).add(cell.sums)
    return [
        {
            "day": day,
            "model": model,
            "requests": one.requests,
            "errors": one.errors,
            "cost": one.cost,
            "tokens": {bucket: one.tokens.get(bucket, 0) for bucket in BUCKETS},
        }
        for (day, model), one in sorted(sums.items())
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    used = [bucket for bucket in BUCKETS if any(row["tokens"][bucket] for row in rows)]
    names = [bucket.replace("_", " ").upper() for bucket in used]
    lines = [
        (
            row["day"],
            row["model"],
            f"{row['requests']:,}",
            f"{row['errors']:,}",
            *(f"{row['tokens'][bucket]:,}" for bucket in used),
            usd(row["cost"]),
        )
        for row in [*rows, *_total(rows)]
    ]
    columns = ("DAY", "MODEL", "REQUESTS", "ERRORS", *names, "COST USD")
    print_table(columns, lines, empty="Nothing was used in these days.")


def _total(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sum of the rows as a row of its own; none for none."""
    if not rows:
        return []
    return [
        {
            "day": "total",
            "model": "",
            "requests": sum(row["requests"] for row in rows),
            "errors": sum(row["errors"] for row in rows),
            "cost": sum(row["cost"] for row in rows),
            "tokens": {bucket: sum(row["tokens"][bucket] for row in rows) for bucket in BUCKETS},
        }
    ]
