"""`ezkielyna accounts`: make accounts, look at them and their money, credit and suspend them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.limits import account_limits
from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.parameters import EmailType, UsdType
from ezkielyna.cli.printing import json_option, print_json, print_table, timestamp
from ezkielyna.contract.money import Nano, usd

if TYPE_CHECKING:
    from ezkielyna.storage.accounts import AccountRecord
    from ezkielyna.storage.ledger import Entry

BY = "command line"

email_argument = click.argument("email", type=EmailType())


@click.group()
def accounts() -> None:
    """Create, list, credit, suspend and resume accounts."""


@accounts.command()
@email_argument
@click.option("--credit", type=UsdType(least=0), default=0, help="Credit to begin with.")
@click.option("--plan", metavar="NAME", help="Plan; the configuration names the default.")
@click.option("--password-stdin", is_flag=True, help="Read a password for the console.")
@click.option("--verified", is_flag=True, help="Take the e-mail address as verified.")
@json_option
@command_options
def create(
    setup: Setup,
    email: str,
    credit: Nano,
    plan: str | None,
    password_stdin: bool,
    verified: bool,
    as_json: bool,
) -> None:
    """Create an account for EMAIL."""
    password = _password() if password_stdin else None
    record = run(_create(setup, email, credit, _plan(setup, plan), password, verified))
    balance = usd(record.balance)
    if as_json:
        print_json({"account": record.id, "email": record.email, "balance": balance})
    else:
        click.echo(f"Created account {record.id} for {record.email} with {balance} USD.")


@accounts.command(name="list")
@json_option
@command_options
def list_(setup: Setup, as_json: bool) -> None:
    """List all accounts."""
    records = run(_list(setup))
    if as_json:
        print_json([_document(record) for record in records])
        return
    print_table(
        ("ACCOUNT", "E-MAIL", "STATUS", "PLAN", "BALANCE USD", "CREATED"),
        [
            (
                record.id,
                record.email,
                record.status,
                record.plan,
                usd(record.balance),
                timestamp(record.created_at) or "",
            )
            for record in records
        ],
        empty="There are no accounts; make one with: ezkielyna accounts create EMAIL",
    )


@accounts.command()
@email_argument
@json_option
@command_options
def show(setup: Setup, email: str, as_json: bool) -> None:
    """Show one account."""
    _print(run(_by_email(setup, email)), as_json)


@accounts.command()
@email_argument
@json_option
@command_options
def suspend(setup: Setup, email: str, as_json: bool) -> None:
    """Refuse all requests of an account, everywhere within 5 seconds."""
    _print(run(_suspend(setup, email)), as_json)


@accounts.command()
@email_argument
@json_option
@command_options
def resume(setup: Setup, email: str, as_json: bool) -> None:
    """Let a suspended account go on."""
    _print(run(_resume(setup, email)), as_json)


# A negative amount begins like an option.
@accounts.command(context_settings={"ignore_unknown_options": True})
@email_argument
@click.argument("amount", type=UsdType(), metavar="USD")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@click.option("--reference", help="Name of this credit: the same twice credits once.")
@json_option
@command_options
def credit(
    setup: Setup, email: str, amount: Nano, reason: str, reference: str | None, as_json: bool
) -> None:
    """Add USD to an account; a negative amount takes it away."""
    if amount == 0:
        raise click.BadParameter("an amount of 0 changes nothing", param_hint="USD")
    if not reason.strip() or (reference is not None and not reference.strip()):
        raise click.UsageError("--reason and --reference must not be empty")
    done, reference, record = run(_credit(setup, email, amount, reason, reference))
    if as_json:
        print_json(
            {
                "account": record.id,
                "email": record.email,
                "amount": usd(amount),
                "reference": reference,
                "credited": done,
                "balance": usd(record.balance),
            }
        )
        return
    what = "Booked" if done else "Nothing to do: this reference was booked before:"
    click.echo(
        f"{what} {usd(amount)} USD for {record.email}, reference {reference}. "
        f"The balance is {usd(record.balance)} USD."
    )


@accounts.command()
@email_argument
@json_option
@command_options
def ledger(setup: Setup, email: str, as_json: bool) -> None:
    """Print all that moved the balance of an account, oldest first."""
    run(_ledger(setup, email, as_json))


accounts.add_command(account_limits)


async def _create(
    setup: Setup, email: str, credit: Nano, plan: str, password: str | None, verified: bool
) -> AccountRecord:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.passwords import hashed

    password_hash = None if password is None else await hashed(password)
    async with setup.storage() as database:
        return await Accounts(database).create(
            email,
            plan,
            verified=verified,
            password_hash=password_hash,
            credit=credit,
            by=BY,
        )


async def _list(setup: Setup) -> list[AccountRecord]:
    from ezkielyna.storage.accounts import Accounts

    async with setup.storage() as database:
        return [record async for record in Accounts(database).list()]


async def _by_email(setup: Setup, email: str) -> AccountRecord:
    from ezkielyna.storage.accounts import Accounts

    async with setup.storage() as database:
        return await Accounts(database).by_email(email)


async def _suspend(setup: Setup, email: str) -> AccountRecord:
    from ezkielyna.storage.accounts import Accounts

    async with setup.storage() as database:
        return await Accounts(database).suspend(email, by=BY)


async def _resume(setup: Setup, email: str) -> AccountRecord:
    from ezkielyna.storage.accounts import Accounts

    async with setup.storage() as database:
        return await Accounts(database).resume(email, by=BY)


async def _credit(
    setup: Setup, email: str, amount: Nano, reason: str, reference: str | None
) -> tuple[bool, str, AccountRecord]:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.credits import credit
    from ezkielyna.storage.keyformat import identifier

    async with setup.storage() as database:
        records = Accounts(database)
        account = await records.by_email(email)
        reference = reference or identifier("manual")
        done = await credit(
            database,
            account.id,
            amount,
            reference=reference,
            kind="credit" if amount > 0 else "correction",
            by=BY,
            note=reason,
        )
        return done, reference, await records.by_id(account.id)


async def _ledger(setup: Setup, email: str, as_json: bool) -> None:
    """Print the statement entry by entry: it may be longer than memory."""
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.ledger import statement

    async with setup.storage() as database:
        account = await Accounts(database).by_email(email)
        balance, shown = 0, 0
        async for entry in statement(database, account.id, oldest_first=True):
            balance += entry.amount
            if as_json:
                click.echo("," if shown else "[", nl=False)
                print_json(_entry(entry, balance))
            else:
                if not shown:
                    click.echo(ENTRY_LINE.format(*ENTRY_COLUMNS))
                click.echo(_entry_line(entry, balance))
            shown += 1
        if as_json:
            click.echo("]" if shown else "[]")
        elif not shown:
            click.echo(f"Nothing ever moved the balance of {email}.")


ENTRY_COLUMNS = ("TIME", "KIND", "AMOUNT USD", "BALANCE USD", "REFERENCE", "NOTE")
ENTRY_LINE = "{:<20}  {:<10}  {:>16}  {:>16}  {}  {}"


def _entry(entry: Entry, balance: Nano) -> dict[str, Any]:
    return {
        "at": timestamp(entry.at),
        "kind": entry.kind,
        "amount": usd(entry.amount),
        "balance": usd(balance),
        "reference": entry.reference,
        "by": entry.by,
        "note": entry.note,
    }


def _entry_line(entry: Entry, balance: Nano) -> str:
    note = " ".join(entry.note.split())
    amounts = usd(entry.amount), usd(balance)
    at = timestamp(entry.at)
    return ENTRY_LINE.format(at, entry.kind, *amounts, entry.reference, note).rstrip()


def _plan(setup: Setup, name: str | None) -> str:
    settings = setup.settings
    if name is not None and name not in settings.plans:
        raise click.ClickException(
            f"There is no plan {name!r}; plans are {', '.join(settings.plans)}."
        )
    return name or settings.accounts.plan


def _password() -> str:
    """Return the first line of standard input."""
    return sys.stdin.readline().rstrip("\r\n")


def _document(record: AccountRecord) -> dict[str, Any]:
    return {
        "account": record.id,
        "email": record.email,
        "status": record.status,
        "plan": record.plan,
        "verified": record.verified,
        "balance": usd(record.balance),
        "available": usd(record.available),
        "held": usd(record.held),
        "created_at": timestamp(record.created_at),
    }


def _print(record: AccountRecord, as_json: bool) -> None:
    document = _document(record)
    if as_json:
        print_json(document)
        return
    document["verified"] = "yes" if record.verified else "no"
    for name in ("balance", "available", "held"):
        document[name] += " USD"
    for name, value in document.items():
        click.echo(f"{name.replace('_', ' '):<12}{value}")
