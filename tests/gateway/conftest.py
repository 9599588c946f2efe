"""A plugin that records what it is called with, and the log as entries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog

from ezkielyna.testing.gateway import RunningGateway
from ezkielyna.testing.plugins import InstallPlugin

RECORDER = """
from ezkielyna import Answer, InvalidRequest, Plugin, Usage, hookimpl

class Recorder(Plugin):
    def __init__(self, settings):
        super().__init__(settings)
        self.trace = []
        self.shown = []
        self.ended = []

    @hookimpl
    async def startup(self, gateway):
        gateway.recorder = self

    @hookimpl
    async def before_request(self, ctx):
        self.trace.append(("before", ctx.request_id))
        BEFORE

    @hookimpl
    def watch_stream(self, ctx):
        self.trace.append(("watch", ctx.request_id))
        WATCH

    @hookimpl
    async def after_request(self, ctx):
        self.trace.append(("after", ctx.request_id))
        self.ended.append(ctx.ended)
        self.ctx = ctx
        AFTER
"""


@pytest.fixture
def recording(install_plugin: InstallPlugin) -> Callable[..., dict[str, Any]]:
    """Install the recorder with these lines in its hooks; return the tables to serve with."""

    def install(
        before: str = "", watch: str = "return self.shown.append", after: str = ""
    ) -> dict[str, Any]:
        source = RECORDER.replace("BEFORE", before).replace("WATCH", watch).replace("AFTER", after)
        install_plugin("recorder", source, attribute="Recorder")
        return {"plugins": ["openai", "recorder"]}

    return install


async def until(true: Callable[[], Any], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
def ended() -> Callable[..., Awaitable[list[Any]]]:
    """Return what waits until `after_request` was told of so many requests, and how they ended."""

    async def ended(gateway: RunningGateway, count: int = 1) -> list[Any]:
        recorder = gateway.app.recorder  # type: ignore[attr-defined]
        await until(lambda: len(recorder.ended) >= count)
        return list(recorder.ended)

    return ended


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Return the entries of the log from now on, exceptions as text."""
    capture = structlog.testing.LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, capture])
    yield capture.entries
    structlog.configure(**before)
