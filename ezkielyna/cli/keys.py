"""`ezkielyna keys`: make, list and revoke the API keys of an account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.limits import changed, chosen, key_limits, limit_options
from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.parameters import DurationType, EmailType, NamesType, UsdType
from ezkielyna.cli.printing import json_option, print_json, print_table, timestamp
from ezkielyna.contract.money import Nano, usd

if TYPE_CHECKING:
    from ezkielyna.contract.limits import Override
    from ezkielyna.storage.keys import KeyRecord

BY = "command line"


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("email", type=EmailType())
@click.option("--name", default="default", show_default=True, help="What the key is for.")
@click.option("--models", type=NamesType(), help="Models it may use; prefixes end in *.")
@click.option("--expires", type=DurationType(), help="When it ends: 30d, 12h, 45m.")
@click.option("--limit", type=UsdType(least=1), help="The most it may spend.")
@limit_options
@json_option
@command_options
def create(
    setup: Setup,
    email: str,
    name: str,
    models: tuple[str, ...] | None,
    expires: timedelta | None,
    limit: Nano | None,
    as_json: bool,
    **options: int | None,
) -> None:
    """Create a key for the account of EMAIL. It is shown this once."""
    if not name.strip():
        raise click.BadParameter("must not be empty", param_hint="--name")
    limits = changed(None, chosen(options))
    record, text = run(_create(setup, email, name.strip(), models or (), expires, limit, limits))
    if as_json:
        print_json({"id": record.id, "key": text, "name": record.name})
        return
    click.echo(f"Created key {record.id} ({record.name}) for {email}. It is shown this once:")
    click.echo(text)


@keys.command(name="list")
@click.argument("email", type=EmailType())
@json_option
@command_options
def list_(setup: Setup, email: str, as_json: bool) -> None:
    """List the keys of the account of EMAIL."""
    records = run(_list(setup, email))
    now = datetime.now(UTC)
    if as_json:
        print_json([_document(record, now) for record in records])
        return
    print_table(
        ("KEY", "NAME", "HINT", "STATE", "MODELS", "LIMIT USD", "EXPIRES", "LAST USED"),
        [
            (
                record.id,
                record.name,
                record.hint,
                record.state(now),
                ",".join(record.models) or "all",
                "" if record.limit is None else usd(record.limit),
                timestamp(record.expires_at) or "never",
                timestamp(record.last_used_at) or "never",
            )
            for record in records
        ],
        empty=f"{email} has no keys; make one with: ezkielyna keys create {email}",
    )


@keys.command()
@click.argument("key_id")
@json_option
@command_options
def revoke(setup: Setup, key_id: str, as_json: bool) -> None:
    """Revoke the key KEY_ID for ever, everywhere within 5 seconds."""
    if key_id.startswith("ez-"):
        raise click.BadParameter(
            "this is a key; name its id, which begins with key_", param_hint="KEY_ID"
        )
    record = run(_revoke(setup, key_id))
    if as_json:
        print_json(_document(record, datetime.now(UTC)))
    else:
        click.echo(f"Key {record.id} ({record.name}) is revoked.")


keys.add_command(key_limits)


async def _create(
    setup: Setup,
    email: str,
    name: str,
    models: tuple[str, ...],
    expires: timedelta | None,
    limit: Nano | None,
    limits: Override | None,
) -> tuple[KeyRecord, str]:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.keys import Keys

    async with setup.storage() as database:
        account = await Accounts(database).by_email(email)
        return await Keys(database, setup.secret).create(
            account.id,
            name=name,
            models=models,
            expires_at=None if expires is None else datetime.now(UTC) + expires,
            limit=limit,
            by=BY,
            limits=limits,
        )


async def _list(setup: Setup, email: str) -> Sequence[KeyRecord]:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.keys import Keys

    async with setup.storage() as database:
        account = await Accounts(database).by_email(email)
        return await Keys(database, setup.secret).list(account.id)


async def _revoke(setup: Setup, key_id: str) -> KeyRecord:
    from ezkielyna.storage.keys import Keys

    async with setup.storage() as database:
        return await Keys(database, setup.secret).revoke(key_id, by=BY)


def _document(record: KeyRecord, now: datetime) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "hint": record.hint,
        "state": record.state(now),
        "models": record.models,
        "limit": None if record.limit is None else usd(record.limit),
        "expires_at": timestamp(record.expires_at),
        "created_at": timestamp(record.created_at),
        "last_used_at": timestamp(record.last_used_at),
        "revoked_at": timestamp(record.revoked_at),
    }
