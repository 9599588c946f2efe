"""`ezkielyna plugins`: what is installed, and what it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Setup, command_options

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ezkielyna.plugins import Registries


@click.group()
def plugins() -> None:
    """List plugins."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_options
def list_plugins(setup: Setup, as_json: bool) -> None:
    """List every installed plugin: name, version, whether it is enabled, what it offers.

    A plugin that the configuration does not name is not imported; it says what it is for.
    """
    import orjson

    from ezkielyna.plugins import DEFAULTS, installed, load_plugins

    settings = setup.settings
    registries = load_plugins(settings)
    records = [_record(DEFAULTS, None, True, registries)]
    for name, points in installed().items():
        enabled = name in settings.plugins
        records.extend(_record(name, point, enabled, registries) for point in points)
    if as_json:
        click.echo(orjson.dumps(records, option=orjson.OPT_INDENT_2))
        return
    for record in records:
        word = "enabled" if record["enabled"] else "-"
        offers = ", ".join(record["offers"]) or record["summary"]
        click.echo(f"{record['name']:<16} {record['version']:<10} {word:<8} {offers}")


def _record(
    name: str, point: EntryPoint | None, enabled: bool, registries: Registries
) -> dict[str, Any]:
    from importlib.metadata import metadata

    distribution = point.dist.name if point is not None and point.dist else "ezkielyna"
    about = metadata(distribution)
    return {
        "name": name,
        "distribution": distribution,
        "version": about["Version"],
        "enabled": enabled,
        "offers": registries.offers(name) if enabled else [],
        "summary": about["Summary"] or "",
    }
