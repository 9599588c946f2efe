"""The command line's skeleton: options before and after the command, lazy files, exit statuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import COMMANDS, main
from ezkielyna.cli.options import Chosen, Setup, command_options, run
from ezkielyna.contract.errors import Unavailable
from ezkielyna.contract.money import nano
from ezkielyna.storage.errors import StorageAway
from ezkielyna.testing.processes import clean_environment


def invoke(
    command: click.Command, *arguments: str, environment: dict[str, str] | None = None
) -> Result:
    empty = {"EZKIELYNA_CONFIG": None, "EZKIELYNA_DATA": None, **(environment or {})}
    return CliRunner().invoke(command, list(arguments), env=empty, catch_exceptions=False)


def probe(seen: list[Setup]) -> click.Group:
    """Return a group like ours with one command that shows what it got."""

    @click.command()
    @click.option("--number", type=int)
    @command_options
    def show(setup: Setup, number: int | None) -> None:
        seen.append(setup)
        click.echo(f"{[str(file) for file in setup.files]} {setup.data} {number}")

    group = click.Group("probe", commands={"show": show}, params=list(main.params))

    @click.pass_context
    def keep(ctx: click.Context, /, config: tuple[str, ...], data: str | None, **rest: Any) -> None:
        ctx.obj = Chosen(config, data)

    group.callback = keep
    return group


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["show"], {}, "[] data None"),
        (["show", "--config", "a", "--config", "b"], {}, "['a', 'b'] data None"),
        (["--config", "a", "show", "--config", "b"], {}, "['a', 'b'] data None"),
        (["--data", "x", "show"], {}, "[] x None"),
        (["--data", "x", "show", "--data", "y", "--number", "3"], {}, "[] y 3"),
        (["show"], {"EZKIELYNA_CONFIG": "a:b", "EZKIELYNA_DATA": "z"}, "['a', 'b'] z None"),
        (["show", "--config", "c"], {"EZKIELYNA_CONFIG": "a:b"}, "['c'] data None"),
    ],
)
def test_config_and_data_come_from_three_places(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    result = invoke(probe([]), *arguments, environment=environment)
    assert result.stdout.strip() == said


def test_nothing_is_read_before_it_is_asked_for() -> None:
    result = invoke(probe([]), "show", "--config", "/nowhere/at/all")
    assert result.exit_code == 0


def test_a_setup_gives_settings_secret_and_changes(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[server]\nport = 1\nhost = '0.0.0.0'\n")
    seen: list[Setup] = []
    invoke(probe(seen), "show", "--config", str(file), "--data", str(tmp_path / "data"))
    [setup] = seen
    assert setup.settings.server.port == 1
    assert setup.settings is setup.settings
    assert setup.secret == (tmp_path / "data" / "secret").read_bytes().strip()
    changed = setup.amended(demo=True, server={"port": 2, "host": None})
    assert (changed.settings.server.port, changed.settings.server.host) == (2, "0.0.0.0")
    assert "sim-gpt" in changed.settings.models
    assert setup.settings.server.port == 1
    assert "sim-gpt" not in setup.settings.models


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("not now"), "not now"),
        (StorageAway("the database cannot be reached"), "the database cannot be reached"),
        (OSError(98, "Address already in use"), "Address already in use"),
        (FileNotFoundError(2, "No such file or directory", "x.toml"), "x.toml: No such file"),
    ],
)
def test_a_refusal_is_exit_status_1_and_a_reason(error: Exception, reason: str) -> None:
    @click.command()
    @command_options
    def fail(setup: Setup) -> None:
        raise error

    result = invoke(fail)
    assert result.exit_code == 1
    assert result.stderr.startswith(reason)
    assert not result.stdout


def test_a_wrong_amount_is_a_refusal() -> None:
    @click.command()
    @command_options
    def pay(setup: Setup) -> None:
        nano("much")

    result = invoke(pay)
    assert result.exit_code == 1
    assert "'much' is not an amount" in result.stderr


def test_a_fault_in_the_program_is_not_hidden() -> None:
    @click.command()
    @command_options
    def fail(setup: Setup) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        invoke(fail)


def test_run_runs_to_the_end() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 3

    assert run(work()) == 3


def test_wrong_usage_is_exit_status_2() -> None:
    assert invoke(main, "check", "--colour").exit_code == 2
    assert invoke(main, "dance").exit_code == 2


def test_help_names_every_command_that_is_there() -> None:
    result = invoke(main, "--help")
    assert result.exit_code == 0
    for command in ("serve", "check", "models", "plugins"):
        assert COMMANDS[command] in result.stdout
        assert invoke(main, command, "--help").exit_code == 0


def test_a_command_without_a_file_disturbs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "yodel", "Yodel.")
    assert "Yodel." not in invoke(main, "--help").stdout
    assert invoke(main, "yodel").exit_code == 2


def test_the_version_is_the_packages() -> None:
    assert invoke(main, "--version").stdout.startswith("main ")


HEAVY = (
    "pydantic", "pydantic_core", "tornado", "motor", "pymongo", "bson", "pluggy", "httptools",
    "uvloop", "asyncio", "ssl", "structlog", "rich", "argon2", "markdown_it", "tiktoken",
    "ezkielyna.exports", "ezkielyna.contract.requests", "ezkielyna.settings", "ezkielyna.storage",
)  # fmt: skip


def test_help_imports_no_room(tmp_path: Path) -> None:
    """What makes `--help` and `plugins new` quick: no contract, no server, no driver."""
    check = (
        "import sys, ezkielyna\n"
        "from ezkielyna.cli.main import COMMANDS, main\n"
        "helps = [[], *([command] for command in COMMANDS)]\n"
        "new = ['plugins', 'new', 'quick', '--kind', 'provider', '--into', sys.argv[1]]\n"
        "for words in [*([*words, '--help'] for words in helps), new]:\n"
        "    main(words, standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", check, str(tmp_path)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_it_is_a_module_too() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ezkielyna", "--help"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("Usage: ezkielyna ")
