"""`ezkielyna check`: validate configuration and plugins, touch nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ezkielyna.cli.options import Setup, command_options

if TYPE_CHECKING:
    from ezkielyna.gateway.catalogue import Catalogue
    from ezkielyna.settings import Settings


@click.command()
@click.option("--demo", is_flag=True, help="Check what `serve --demo` would serve.")
@command_options
def check(setup: Setup, demo: bool) -> None:
    """Validate configuration and plugins, touch nothing.

    Prints `file: key: reason` for every fault; exit status 0 only when there is none.
    """
    from ezkielyna.cli.main import COMMANDS
    from ezkielyna.cli.offered import offered_commands
    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    settings = setup.amended(demo=demo).settings
    registries = load_plugins(settings)
    catalogue = build_catalogue(settings, registries)
    offered_commands(registries, COMMANDS)
    for warning in _warnings(settings, catalogue):
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"ok: {len(catalogue.models)} models, {len(catalogue.providers)} providers, "
        f"{len(catalogue.plans)} plans, {len(settings.plugins)} plugins"
    )


def _warnings(settings: Settings, catalogue: Catalogue) -> Iterator[str]:
    """Yield what is allowed and may still surprise."""
    if not settings.models:
        yield "no [models.…] are configured, so nothing is served"
    workers = settings.server.processes
    shared = [name for name, plan in settings.plans.items() if plan.limiter == "memory"]
    if workers > 1 and shared:
        yield (
            f"each of {workers} workers holds a part of the limits of plan {', '.join(shared)}: "
            'limiter = "memory" counts in one process'
        )
    for name, method in catalogue.payments.items():
        if method.pretends:
            yield f"payments.{name} moves no real money: who uses it gets credit for nothing"
