"""The pytest plugin: fixtures for asynchronous tests on real sockets.

Load it with `-p ezkielyna.testing.fixtures` beside pytest-tornasync, which awaits `async def`
tests on the `io_loop` below.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from tornado.ioloop import IOLoop

from ezkielyna.testing.browser import browser
from ezkielyna.testing.database import database, database_server
from ezkielyna.testing.gateway import gateways
from ezkielyna.testing.plugins import install_plugin

__all__ = [
    "browser",
    "database",
    "database_server",
    "gateways",
    "install_plugin",
    "io_loop",
]


_ABANDONED = pytest.StashKey[list[IOLoop]]()


@pytest.fixture(autouse=True)
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """Run every test on an event loop of its own, the kind that `serve` uses.

    A task that outlives its test is cancelled and awaited, so that one test cannot disturb the
    next. The loop of a failed test is kept instead of closed: what such a test leaves open can
    make uvloop's `close` wait for ever, and then nobody learns of the failure.
    """
    loop = IOLoop(asyncio_loop=uvloop.new_event_loop(), make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    failed_before = request.session.testsfailed
    yield loop
    loop.run_sync(_cancel_the_rest)
    asyncio.set_event_loop(None)
    if request.session.testsfailed == failed_before:
        loop.close(all_fds=False)
    else:
        request.config.stash.setdefault(_ABANDONED, []).append(loop)


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for _ in range(5):  # transports report their end in the next turns
        await asyncio.sleep(0)
