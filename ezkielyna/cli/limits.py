"""Limits of one account or key: what the plan gives, what an operator changed, what holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import click

from ezkielyna.cli.options import Setup, command_options, run
from ezkielyna.cli.parameters import EmailType
from ezkielyna.cli.printing import json_option, print_json, print_table
from ezkielyna.contract.limits import LIMIT_NAMES, NO_LIMITS, Limits, Override

F = TypeVar("F", bound=Callable[..., Any])

BY = "command line"
PLANS = -1
"""What `plan` means on the command line: as the plan says."""

Change: TypeAlias = "dict[str, int]"

WORDS = {
    "rpm": "Requests a minute.",
    "tpm": "Tokens a minute.",
    "tpd": "Tokens a day.",
    "concurrency": "Requests at once.",
}


class LimitType(click.ParamType[int]):
    """A limit: a whole number, 0 for none, or `plan` for what the plan says."""

    name = "N|plan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the limit; fails for what is none."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        if text == "plan":
            return PLANS
        if not text.isascii() or not text.isdigit() or int(text) > 10**15:
            self.fail(f"{value!r} is no limit; write a whole number, 0 for none, or plan", param)
        return int(text)


def limit_options(command: F) -> F:
    """Give a command the four limits as options."""
    for name in reversed(LIMIT_NAMES):
        command = click.option(f"--{name}", type=LimitType(), help=WORDS[name])(command)
    return command


def chosen(options: dict[str, int | None]) -> Change:
    """Return what was given of the four options."""
    return {name: value for name, value in options.items() if value is not None}


def changed(override: Override | None, change: Change, model: str | None = None) -> Override | None:
    """Return an override after a change, of everything or of one model; None overrides nothing."""
    override = override or Override()
    if model is None:
        values = {name: None if value == PLANS else value for name, value in change.items()}
        done = replace(override, **values)  # type: ignore[arg-type]
    else:
        models = dict(override.models)
        one = changed(models.pop(model, None), change)
        rest = tuple(models.items())
        done = replace(override, models=rest if one is None else (*rest, (model, one)))
    return None if done == Override() else done


@click.command(name="limits")
@click.argument("email", type=EmailType())
@limit_options
@click.option("--model", metavar="NAME", help="Of this model only; a prefix ends in *.")
@click.option("--clear", is_flag=True, help="Go back to the plan's limits.")
@json_option
@command_options
def account_limits(
    setup: Setup, email: str, model: str | None, clear: bool, as_json: bool, **options: int | None
) -> None:
    """Show or change the limits of the account of EMAIL, in force within 5 seconds.

    What is not given stays. 0 is no limit, `plan` is what the plan says.
    """
    change = chosen(options)
    if model is not None and not change:
        raise click.UsageError("--model needs one of --rpm, --tpm, --tpd and --concurrency")
    override, plan = run(_of_account(setup, email, change, model, clear))
    own = setup.settings.plans.get(plan) or setup.settings.plans[setup.settings.accounts.plan]
    limits = Limits(own.rpm, own.tpm, own.tpd, own.concurrency)
    rows = [(f"plan {plan}", limits), ("in force", (override or Override()).over(limits))]
    models = {}
    for pattern, one in override.models if override is not None else ():
        table = own.model.get(pattern)
        models[pattern] = one.over(table.limits if table is not None else NO_LIMITS)
    _show(rows, models, override, as_json, {"email": email, "plan": plan})


@click.command(name="limits")
@click.argument("key_id")
@limit_options
@click.option("--clear", is_flag=True, help="Go back to the plan's limits.")
@json_option
@command_options
def key_limits(
    setup: Setup, key_id: str, clear: bool, as_json: bool, **options: int | None
) -> None:
    """Show or change the limits of the key KEY_ID, in force within 5 seconds.

    What is not given stays. 0 is no limit, `plan` is what the plan says of each key.
    """
    override, plan = run(_of_key(setup, key_id, chosen(options), clear))
    own = setup.settings.plans.get(plan) or setup.settings.plans[setup.settings.accounts.plan]
    limits = own.key.limits
    rows = [(f"plan {plan}", limits), ("in force", (override or Override()).over(limits))]
    _show(rows, {}, override, as_json, {"key": key_id, "plan": plan})


async def _of_account(
    setup: Setup, email: str, change: Change, model: str | None, clear: bool
) -> tuple[Override | None, str]:
    from ezkielyna.storage.accounts import Accounts

    async with setup.storage() as database:
        accounts = Accounts(database)
        record = await accounts.by_email(email)
        if change or clear:
            override = changed(None if clear else record.limits, change, model)
            record = await accounts.set_limits(email, override, by=BY)
        return record.limits, record.plan


async def _of_key(
    setup: Setup, key_id: str, change: Change, clear: bool
) -> tuple[Override | None, str]:
    from ezkielyna.storage.accounts import Accounts
    from ezkielyna.storage.keys import Keys

    async with setup.storage() as database:
        keys = Keys(database, setup.secret)
        record = await keys.one(key_id)
        if change or clear:
            override = changed(None if clear else record.limits, change)
            record = await keys.set_limits(key_id, override, by=BY)
        return record.limits, (await Accounts(database).by_id(record.account)).plan


def _show(
    rows: list[tuple[str, Limits]],
    models: dict[str, Limits],
    override: Override | None,
    as_json: bool,
    whose: dict[str, str],
) -> None:
    if as_json:
        print_json(
            {
                **whose,
                "override": {
                    name: value
                    for name in LIMIT_NAMES
                    if (value := getattr(override, name, None)) is not None
                },
                "limits": _document(rows[-1][1]),
                "models": {pattern: _document(limits) for pattern, limits in models.items()},
            }
        )
        return
    shown = [*rows, *((f"model {pattern}", limits) for pattern, limits in models.items())]
    print_table(
        ("", "RPM", "TPM", "TPD", "CONCURRENCY"),
        [
            (name, *(str(getattr(limits, one) or "no limit") for one in LIMIT_NAMES))
            for name, limits in shown
        ],
        empty="",
    )


def _document(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in LIMIT_NAMES}
