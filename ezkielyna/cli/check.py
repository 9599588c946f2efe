"""`ezkielyna check`: validate configuration and plugins, touch nothing."""

from __future__ import annotations

import click

from ezkielyna.cli.options import Setup, command_options


@click.command()
@click.option("--demo", is_flag=True, help="Check what `serve --demo` would serve.")
@command_options
def check(setup: Setup, demo: bool) -> None:
    """Validate configuration and plugins, touch nothing.

    Prints `file: key: reason` for every fault; exit status 0 only when there is none.
    """
    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    settings = setup.amended(demo=demo).settings
    catalogue = build_catalogue(settings, load_plugins(settings))
    if not catalogue.models:
        click.echo("warning: no [models.…] are configured, so nothing is served", err=True)
    click.echo(
        f"ok: {len(catalogue.models)} models, {len(catalogue.providers)} providers, "
        f"{len(catalogue.plans)} plans, {len(settings.plugins)} plugins"
    )
