"""`/metrics` for Prometheus: requests, tokens, cost and times, over all workers."""

from __future__ import annotations

import asyncio
import contextlib

from pydantic import Field, SecretStr

from ezkielyna import Gateway, Plugin, PluginSettings, RequestContext, Route, hookimpl
from ezkielyna_metrics.numbers import Numbers
from ezkielyna_metrics.page import MetricsPage
from ezkielyna_metrics.shared import Shared

__all__ = ["Metrics"]

NOTE = "metrics.running"
SHARE_EVERY_S = 1.0


class Metrics(Plugin):
    """Counts every request when it has ended, and shows the sums of all workers."""

    class Settings(PluginSettings):
        """`[plugin.metrics]`."""

        token: SecretStr = Field(
            SecretStr(""), description="bearer token for /metrics; without one only this machine"
        )

    settings: Settings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self.numbers = Numbers()
        self._shared: Shared | None = None
        self._sharing: asyncio.Task[None] | None = None

    @hookimpl
    def register_routes(self, gateway: Gateway) -> list[Route]:
        """Offer `/metrics`."""
        self._shared = Shared(gateway.data / "metrics", self.numbers.registry)
        token = self.settings.token.get_secret_value()
        return [("/metrics", MetricsPage, {"shared": self._shared, "token": token})]

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        """Take a place among the workers, and share what is counted every second."""
        assert self._shared is not None
        self._shared.open()
        self._sharing = asyncio.get_running_loop().create_task(self._share_for_ever(self._shared))

    @hookimpl
    async def before_request(self, ctx: RequestContext) -> None:
        """Count a request that runs."""
        ctx.notes[NOTE] = True
        self.numbers.begun(ctx)

    @hookimpl
    async def after_request(self, ctx: RequestContext) -> None:
        """Count a request that ended."""
        self.numbers.ended(ctx, running=NOTE in ctx.notes)

    @hookimpl
    async def shutdown(self, gateway: Gateway) -> None:
        """Leave the counts to those who come after."""
        if self._sharing is not None:
            self._sharing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sharing
        if self._shared is not None:
            self._shared.close()

    async def _share_for_ever(self, shared: Shared) -> None:
        while True:
            await asyncio.sleep(SHARE_EVERY_S)
            if self.numbers.changed():
                await asyncio.to_thread(shared.write)
