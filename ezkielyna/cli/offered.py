"""Commands that plugins offer: they are looked for only where the core has no such command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from ezkielyna.cli.options import Chosen, Refusal, Setup

if TYPE_CHECKING:
    from ezkielyna.plugins import Registries


def offered_commands(registries: Registries, taken: Mapping[str, str]) -> dict[str, click.Command]:
    """Return the plugins' commands by name; raises PluginRefused for what is none, or is taken."""
    from ezkielyna.hooks import PluginRefused, blaming
    from ezkielyna.settings import Fault

    commands: dict[str, click.Command] = {}
    owners = dict.fromkeys(taken, "ezkielyna")
    for hook in registries.commands:
        with blaming(hook.plugin, hook.name):
            for command in hook.call():
                if not isinstance(command, click.Command) or not command.name:
                    reason = f"must return click commands with a name, not {command!r}"
                elif command.name in owners:
                    owner = owners[command.name]
                    reason = f"the command {command.name!r} is also offered by {owner}; rename it"
                else:
                    owners[command.name] = f"plugin {hook.plugin}"
                    commands[command.name] = command
                    continue
                raise PluginRefused([Fault(f"plugin {hook.plugin}", hook.name, reason)])
    return commands


def commands_of(chosen: Chosen, taken: Mapping[str, str]) -> Mapping[str, click.Command]:
    """Return the commands of the plugins that the configuration names; none without one.

    Raises Refusal where the configuration or a plugin is refused.
    """
    setup = Setup.of(chosen, os.environ)
    if not setup.files and not os.environ.get("EZKIELYNA_PLUGINS"):
        return MappingProxyType({})
    from ezkielyna.plugins import load_plugins
    from ezkielyna.settings import Refused

    try:
        return offered_commands(load_plugins(setup.settings), taken)
    except Refused as refused:
        raise Refusal(str(refused)) from refused


def typed(arguments: list[str]) -> tuple[Chosen, list[str]]:
    """Return `--config` and `--data` wherever they stand among the arguments, and the others."""
    config: list[str] = []
    data: str | None = None
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, text = argument.partition("=")
        if name not in ("--config", "--data"):
            rest.append(argument)
            continue
        value = text if equals else next(waiting, None)
        if value is None:
            raise click.UsageError(f"Option '{name}' requires an argument.")
        if name == "--config":
            config.append(value)
        else:
            data = value
    return Chosen(tuple(config), data), rest
