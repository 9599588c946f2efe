"""`ezkielyna models`: what can be asked for, where it goes, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Setup, command_options

if TYPE_CHECKING:
    from ezkielyna.contract.context import Model
    from ezkielyna.settings import ModelSettings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--demo", is_flag=True, help="List what `serve --demo` would serve.")
@command_options
def models(setup: Setup, as_json: bool, demo: bool) -> None:
    """List public models with route and prices, in USD per million tokens or per image."""
    import orjson

    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    settings = setup.amended(demo=demo).settings
    catalogue = build_catalogue(settings, load_plugins(settings))
    records = [_record(model, settings.models[name]) for name, model in catalogue.models.items()]
    if as_json:
        click.echo(orjson.dumps(records, option=orjson.OPT_INDENT_2))
    else:
        _print_table(records)


def _record(model: Model, chosen: ModelSettings) -> dict[str, Any]:
    from ezkielyna.contract.money import usd
    from ezkielyna.settings.model import RATE_KEYS

    prices = {
        key: usd(model.price.rates[bucket])
        for key, bucket in RATE_KEYS.items()
        if bucket in model.price.rates
    }
    return {
        "model": model.name,
        "provider": model.provider,
        "upstream_model": model.upstream_model,
        "context": model.context,
        "max_output": model.max_output,
        "prices": prices,
        "price_version": model.price.version,
        "priced_on": chosen.priced_on,
    }


PRICE_COLUMNS = ("input", "cached_input", "cache_write", "output", "image")


def _print_table(records: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "route", "context", *PRICE_COLUMNS, "priced on", box=None)
    for record in records:
        prices = (record["prices"].get(column, "") for column in PRICE_COLUMNS)
        route = f"{record['provider']} → {record['upstream_model']}"
        context, day = str(record["context"] or ""), str(record["priced_on"] or "")
        table.add_row(record["model"], route, context, *prices, day)
    # A pipe has no width: a table for grep must not be cut at 80 columns.
    console = Console()
    console.width = console.width if console.is_terminal else 400
    console.print(table)
