"""`ezkielyna ledger`: prove from the documents that no money is lost or made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.printing import json_option, print_json
from ezkielyna.contract.money import usd

if TYPE_CHECKING:
    from ezkielyna.ledger.verify import Verdict


@click.group()
def ledger() -> None:
    """Verify every balance from the documents."""


@ledger.command()
@json_option
@command_options
def verify(setup: Setup, as_json: bool) -> None:
    """Re-compute every balance and every invariant; exit status 0 only when all hold."""
    verdict = run(_verify(setup))
    if as_json:
        print_json(verdict.document())
    else:
        _print(verdict)
    if not verdict.ok:
        raise SystemExit(1)


async def _verify(setup: Setup) -> Verdict:
    from ezkielyna.ledger.verify import verify as verified

    async with setup.storage() as database:
        return await verified(database)


def _print(verdict: Verdict) -> None:
    for fault in verdict.faults:
        click.echo(f"{fault.invariant}  {fault.document}: {fault.reason}", err=True)
    unlisted = verdict.fault_count - len(verdict.faults)
    if unlisted:
        click.echo(f"and {unlisted} more", err=True)
    for lease, held in verdict.debts.items():
        click.echo(f"lease {lease} is {usd(-held)} USD in debt; the next top-up pays it")
    for payment, owed in verdict.owed.items():
        click.echo(f"payment {payment} owes {usd(owed)} USD of a refund; the next credit pays it")
    counts = ", ".join(f"{name} {count}" for name, count in sorted(verdict.checked.items()))
    click.echo(f"Checked {counts or 'nothing: there are no documents'}.")
    click.echo("The books balance." if verdict.ok else f"{verdict.fault_count} faults.")
