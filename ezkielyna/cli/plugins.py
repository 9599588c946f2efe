"""`ezkielyna plugins`: what is installed and what it offers; new ones, written from templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Setup, command_options
from ezkielyna.cli.scaffold import SUMMARIES, Unscaffolded, write_plugin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ezkielyna.plugins import Registries


@click.group()
def plugins() -> None:
    """List plugins, and write new ones."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_options
def list_plugins(setup: Setup, as_json: bool) -> None:
    """List every installed plugin: name, version, whether it is enabled, what it offers.

    A plugin that the configuration does not name is not imported; it says what it is for. The
    first line says the version of the contract that this gateway keeps.
    """
    import orjson

    from ezkielyna.contract.plugin import CONTRACT_VERSION
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
    click.echo(f"contract {CONTRACT_VERSION}")
    for record in records:
        word = "enabled" if record["enabled"] else "-"
        offers = ", ".join(record["offers"]) or record["summary"]
        click.echo(f"{record['name']:<16} {record['version']:<10} {word:<8} {offers}")


@plugins.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(list(SUMMARIES)), help="What it offers.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Folder to write it into.",
)
def new_plugin(name: str, kind: str, into: Path) -> None:
    """Write an installable package ezkielyna-NAME: one module that works, a README, tests."""
    try:
        files = write_plugin(name, kind, into)
    except Unscaffolded as error:
        raise click.ClickException(str(error)) from None
    for path in files:
        click.echo(f"wrote {path}")
    folder = files[0].parent
    click.echo(f"next: pip install -e '{folder}[test]' && pytest {folder}")
    click.echo(f'then: add "{name}" to plugins, and see {folder / "README.md"}')


def _record(
    name: str, point: EntryPoint | None, enabled: bool, registries: Registries
) -> dict[str, Any]:
    from importlib.metadata import metadata

    from ezkielyna.contract.plugin import CONTRACT_VERSION

    distribution = point.dist.name if point is not None and point.dist else "ezkielyna"
    about = metadata(distribution)
    return {
        "name": name,
        "distribution": distribution,
        "version": about["Version"],
        "enabled": enabled,
        "contract": CONTRACT_VERSION,
        "offers": registries.offers(name) if enabled else [],
        "summary": about["Summary"] or "",
    }
