"""What every command takes, and what it gets: `--config`, `--data`, and a `Setup` made of them."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ezkielyna.settings import Settings

T = TypeVar("T")

config_option = click.option(
    "--config",
    multiple=True,
    is_eager=True,  # --help shows the commands of its plugins
    metavar="FILE",
    help="Configuration file; repeat it to lay one over another. Also EZKIELYNA_CONFIG, "
    "separated by colons.",
)
data_option = click.option(
    "--data", metavar="DIR", help="Folder for what must last. Also EZKIELYNA_DATA. [./data]"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options as they were typed, before or after the command's name."""

    config: tuple[str, ...] = ()
    data: str | None = None

    def then(self, config: tuple[str, ...], data: str | None) -> Chosen:
        """Return these options with those typed later: files are added, a folder replaces."""
        return Chosen(self.config + config, data or self.data)

    @property
    def folder(self) -> Path:
        """The data folder: as typed, or as the environment says, or `data`."""
        return Path(self.data or os.environ.get("EZKIELYNA_DATA") or "data")


@dataclass(frozen=True)
class Setup:
    """What a command works with. Nothing is read before it is asked for.

    `files` and `data` are relative to the working directory unless absolute; `options` are
    tables that the command line lays over the files; `demo` adds the simulated models.
    """

    files: tuple[Path, ...]
    data: Path
    environment: Mapping[str, str]
    demo: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, chosen: Chosen, environment: Mapping[str, str]) -> Setup:
        """Return the setup that options and environment ask for."""
        named = filter(None, environment.get("EZKIELYNA_CONFIG", "").split(":"))
        return cls(tuple(map(Path, chosen.config or named)), chosen.folder, environment)

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises SettingsRefused with every fault."""
        from ezkielyna.settings import load

        return load(self.files, self.environment, demo=self.demo, options=self.options)

    @cached_property
    def secret(self) -> bytes:
        """The server's secret; made at first use when its file is absent."""
        from ezkielyna.settings import server_secret

        return server_secret(self.settings, self.data)

    def amended(self, *, demo: bool = False, **tables: Mapping[str, Any]) -> Setup:
        """Return a setup with tables such as `server={"port": 9000}` laid over the files.

        None stands for an option that was not typed.
        """
        options = {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in tables.items()
        }
        return replace(self, demo=demo, options=options)

    def storage(self) -> AbstractAsyncContextManager[Any]:
        """Return the database, open inside `async with`."""
        from ezkielyna.storage.embedded import open_storage

        chosen = self.settings.storage
        opened: AbstractAsyncContextManager[Any] = open_storage(
            chosen.url, chosen.database, chosen.driver, self.data
        )
        return opened


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part to its end."""
    import asyncio

    return asyncio.run(work)


def command_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command `--config` and `--data`, a `setup` argument, and refusals as exit status 1.

    Place it under `@click.command()` and its options.
    """

    def wrapped(*args: Any, config: tuple[str, ...], data: str | None, **rest: Any) -> T:
        above = click.get_current_context().find_object(Chosen) or Chosen()
        with refusals():
            setup = Setup.of(above.then(config, data), os.environ)
            return command(*args, setup=setup, **rest)

    return config_option(data_option(functools.update_wrapper(wrapped, command)))


class Refusal(click.ClickException):
    """Exit status 1 with the reason alone on standard error: one line a fault."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the reason."""
        click.echo(self.format_message(), file=file, err=file is None)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every error that has a place in our trees into exit status 1 and a reason."""
    try:
        yield
    except _expected() as error:
        raise Refusal(_reason(error)) from error


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors that are no fault in the program; looked up only when one is there."""
    from ezkielyna.contract.errors import GatewayError
    from ezkielyna.contract.money import MoneyError
    from ezkielyna.settings import Refused

    # The storage room imports the database driver; where it was not imported, it did not fail.
    storage = sys.modules.get("ezkielyna.storage.errors")
    of_storage = (storage.StorageError,) if storage else ()
    return (GatewayError, MoneyError, Refused, OSError, *of_storage)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
