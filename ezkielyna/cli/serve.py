"""`ezkielyna serve`: run the gateway."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.options import Setup, command_options, run

if TYPE_CHECKING:
    from ezkielyna.plugins import Registries
    from ezkielyna.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for a free one.")
@click.option("--workers", type=click.IntRange(0, 512), help="Processes; 0 for one a core.")
@click.option("--demo", is_flag=True, help="Add simulated models and a demo account.")
@command_options
def serve(
    host: str | None, port: int | None, workers: int | None, demo: bool, setup: Setup
) -> None:
    """Run the gateway until SIGTERM, which drains it.

    Prints `listening on http://H:P` when it accepts connections.
    """
    with _uncollected():
        _serve(setup, host, port, workers, demo=demo)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make no collections: a start makes a hundred thousand objects, and hardly one in vain.

    A worker that accepts connections begins with them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _serve(
    setup: Setup, host: str | None, port: int | None, workers: int | None, *, demo: bool
) -> None:
    from ezkielyna import logs, server

    logs.configure()
    setup = setup.amended(demo=demo, server={"host": host, "port": port, "workers": workers})
    settings = setup.settings
    registries = _checked(settings)
    if server.supervised():
        sock = server.bound_socket(settings.server.host, settings.server.port)
        _work(setup, registries, sock, None)
        return
    server.refuse_taken_port(settings.server.host, settings.server.port)
    sock = server.bound_socket(settings.server.host, settings.server.port)
    settled = _with_port(setup, sock.getsockname()[1])
    if settings.server.processes == 1:
        _work(settled, registries, sock, _announcement(settled, demo))
    else:
        _supervise(settled, _announcement(settled, demo))


def _checked(settings: Settings) -> Registries:
    """Return what the plugins offer; raises Refused with every fault, before anything runs."""
    from ezkielyna.gateway.catalogue import build_catalogue
    from ezkielyna.plugins import load_plugins

    registries = load_plugins(settings)
    build_catalogue(settings, registries)
    return registries


def _work(
    setup: Setup, registries: Registries, sock: socket.socket, announcement: str | None
) -> None:
    """Serve in this process."""
    from ezkielyna import server

    def ready() -> None:
        if announcement is None:
            server.tell_supervisor()
        else:
            click.echo(announcement)

    server.Worker(setup.settings, registries, setup.data, setup.secret).run(sock, ready)


def _supervise(setup: Setup, announcement: str) -> None:
    """Serve in several processes; the port is settled before the first one starts."""
    from ezkielyna import server

    settings = setup.settings.server
    command = [*server.this_command(), "--port", str(settings.port)]
    if not server.Supervisor(command, settings.processes).run(lambda: click.echo(announcement)):
        raise click.ClickException("A worker did not start; its reason is above.")


def _with_port(setup: Setup, port: int) -> Setup:
    """Return the setup with the port that the system chose."""
    tables: dict[str, Any] = {name: dict(table) for name, table in setup.options.items()}
    tables.setdefault("server", {})["port"] = port
    return setup.amended(demo=setup.demo, **tables)


def _announcement(setup: Setup, demo: bool) -> str:
    """Return what is printed when connections are accepted."""
    server = setup.settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    line = f"listening on http://{host}:{server.port}"
    return f"{run(_greeting(setup))}\n{line}" if demo else line


async def _greeting(setup: Setup) -> str:
    from ezkielyna.demo import demo_account, greeting

    async with setup.storage() as database:
        demo = await demo_account(database, setup.data, setup.secret, setup.settings.accounts.plan)
    model = next(iter(setup.settings.models))
    return greeting(setup.settings.server.address, model, demo)
