"""`ezkielyna providers test`: does an upstream answer, how fast, and what does it say if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ezkielyna.cli.options import Refusal, Setup, command_options, run
from ezkielyna.cli.printing import json_option, print_json

if TYPE_CHECKING:
    from ezkielyna.contract.context import Model
    from ezkielyna.contract.provider import Provider
    from ezkielyna.gateway.catalogue import Catalogue
    from ezkielyna.gateway.probe import Probe


@click.group()
def providers() -> None:
    """Try upstreams."""


@providers.command()
@click.argument("name")
@click.option("--model", metavar="MODEL", help="Public name of the model to call. [the cheapest]")
@click.option("--demo", is_flag=True, help="Take the providers that `serve --demo` would have.")
@json_option
@command_options
def test(setup: Setup, name: str, model: str | None, demo: bool, as_json: bool) -> None:
    """Send one tiny request through a configured provider.

    Shows how long it took, the model, and the upstream's own error, but never a key. Nobody's
    account is charged; your upstream may charge you for a few tokens. Exit status 1 when it failed.
    """
    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    settings = setup.amended(demo=demo).settings
    catalogue = build_catalogue(settings, load_plugins(settings))
    found = run(_probed(*_chosen(catalogue, name, model)))
    if as_json:
        print_json(found.document())
    else:
        _print(found)
    if not found.ok:
        raise click.exceptions.Exit(1)


def _chosen(catalogue: Catalogue, name: str, model: str | None) -> tuple[Provider, Model]:
    from ezkielyna.gateway.probe import cheapest

    if name not in catalogue.providers:
        there = ", ".join(catalogue.providers) or "none"
        raise Refusal(f"there is no provider {name!r}; providers are: {there}")
    if model is None:
        chosen = cheapest(catalogue.models.values(), name)
        if chosen is None:
            raise Refusal(f"no model of {name!r} is sold by the token; add one to [models]")
        return catalogue.providers[name], chosen
    if model not in catalogue.models or catalogue.models[model].provider != name:
        theirs = [m.name for m in catalogue.models.values() if m.provider == name]
        raise Refusal(f"{name!r} has no model {model!r}; its models are: {', '.join(theirs)}")
    return catalogue.providers[name], catalogue.models[model]


async def _probed(provider: Provider, model: Model) -> Probe:
    from ezkielyna.gateway.probe import probe
    from ezkielyna.wire.upstream import Upstream

    upstream = Upstream()
    try:
        return await probe(provider, model, upstream)
    finally:
        await upstream.close()


def _print(found: Probe) -> None:
    named = "" if found.model == found.upstream_model else f" (public name {found.model})"
    verb = "answered" if found.ok else "failed"
    click.echo(f"{found.provider} {verb} after {found.latency_ms} ms")
    click.echo(f"model    {found.upstream_model}{named}")
    if found.ok:
        click.echo(f"tokens   {found.input_tokens} in, {found.output_tokens} out")
        if found.said:
            click.echo(f"said     {found.said}")
        return
    click.echo(f"status   {found.status or 'no answer'}")
    click.echo(f"error    {found.error}")
    if found.raw:
        click.echo(f"raw      {found.raw}")
