"""`ezkielyna vouchers`: make codes that customers redeem on the billing page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.parameters import DurationType, UsdType
from ezkielyna.cli.printing import json_option, print_json
from ezkielyna.contract.money import Nano, usd

MOST = 1000


@click.group()
def vouchers() -> None:
    """Create vouchers."""


@vouchers.command()
@click.argument("amount", type=UsdType(least=1), metavar="USD")
@click.option(
    "--count", type=click.IntRange(1, MOST), default=1, show_default=True, help="How many."
)
@click.option("--expires", type=DurationType(), help="When they end: 90d. Never by default.")
@json_option
@command_options
def create(
    setup: Setup, amount: Nano, count: int, expires: timedelta | None, as_json: bool
) -> None:
    """Create codes worth USD each. A code is redeemed once, and shown this once."""
    codes = run(_create(setup, amount, count, expires))
    if as_json:
        print_json([{"code": code, "amount": usd(amount)} for code in codes])
        return
    for code in codes:
        click.echo(code)
    what = "1 voucher" if count == 1 else f"{count} vouchers"
    click.echo(f"Created {what} of {usd(amount)} USD; not shown again.", err=True)


async def _create(setup: Setup, amount: Nano, count: int, expires: timedelta | None) -> list[str]:
    from ezkielyna.defaults.vouchers import KIND, create_voucher
    from ezkielyna.storage.payments import Notes

    ends = None if expires is None else datetime.now(UTC) + expires
    async with setup.storage() as database:
        desk = Notes(database, setup.secret, KIND)
        return [await create_voucher(desk, amount, ends) for _ in range(count)]
