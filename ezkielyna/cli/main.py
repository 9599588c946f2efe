"""The command `ezkielyna`: imports a command's file when it runs, so that it starts fast."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from ezkielyna.cli.offered import commands_of, typed
from ezkielyna.cli.options import Chosen, Refusal, config_option, data_option

OFFERED = "ezkielyna.offered"

COMMANDS = {
    "serve": "Run the gateway.",
    "check": "Validate configuration and plugins, touch nothing.",
    "accounts": "Create, list, credit, suspend and resume accounts.",
    "keys": "Create, list and revoke API keys.",
    "vouchers": "Create codes that customers redeem.",
    "models": "List public models with route and prices.",
    "providers": "Try upstreams.",
    "prices": "Compare prices with the vendors' lists.",
    "plugins": "List plugins, and write new ones.",
    "usage": "Show what an account used.",
    "ledger": "Verify every balance from the documents.",
    "bench": "Put load on an OpenAI-compatible address and measure it.",
}
"""Every command, with its line of help: the file `cli/NAME.py` has a click command `NAME`."""


class Commands(click.Group):
    """Imports a command's file only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands that are there, in the order of the help."""
        return [name for name in COMMANDS if find_spec(f"ezkielyna.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is no such file."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(import_module(f"ezkielyna.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names: ours, else a plugin's."""
        if args[0] in COMMANDS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        chosen, rest = typed(args[1:])
        chosen = Chosen(ctx.params["config"], ctx.params["data"]).then(chosen.config, chosen.data)
        command = commands_of(chosen, COMMANDS).get(args[0])
        if command is None:
            return super().resolve_command(ctx, args)
        ctx.meta[OFFERED] = chosen
        return args[0], command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table above: importing all of them is slow."""
        rows = [(name, COMMANDS[name]) for name in self.list_commands(ctx)]
        chosen = Chosen(ctx.params.get("config", ()), ctx.params.get("data"))
        try:
            offered = commands_of(chosen, COMMANDS)
        except Refusal:
            offered = {}
            formatter.write_text("(Commands of plugins are not shown: see `ezkielyna check`.)")
        rows += [(name, command.get_short_help_str()) for name, command in offered.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ezkielyna", message="%(prog)s %(version)s")
@config_option
@data_option
@click.pass_context
def main(ctx: click.Context, config: tuple[str, ...], data: str | None) -> None:
    """Ezkielyna: an OpenAI-compatible LLM gateway."""
    ctx.obj = ctx.meta.get(OFFERED) or Chosen(config, data)
