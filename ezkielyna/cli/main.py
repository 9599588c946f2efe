"""The command `ezkielyna`: imports a command's file when it runs, so that it starts fast."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from ezkielyna.cli.options import Chosen, config_option, data_option

COMMANDS = {
    "serve": "Run the gateway.",
    "check": "Validate configuration and plugins, touch nothing.",
    "accounts": "Create, list, credit, suspend and resume accounts.",
    "keys": "Create, list and revoke API keys.",
    "vouchers": "Create codes that customers redeem.",
    "models": "List public models with route and prices.",
    "prices": "Compare prices with the vendors' lists.",
    "plugins": "List plugins.",
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table above: importing all of them is slow."""
        rows = [(name, COMMANDS[name]) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ezkielyna", message="%(prog)s %(version)s")
@config_option
@data_option
@click.pass_context
def main(ctx: click.Context, config: tuple[str, ...], data: str | None) -> None:
    """Ezkielyna: an OpenAI-compatible LLM gateway."""
    ctx.obj = Chosen(config, data)
