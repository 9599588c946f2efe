"""Simulated models for demonstrations, tests and benchmarks, behind a real HTTP server."""

from __future__ import annotations

from ezkielyna import Gateway, Provider, hookimpl
from ezkielyna_simulator.provider import SimulatorProvider
from ezkielyna_simulator.script import Script
from ezkielyna_simulator.server import SimulatedServer

__all__ = ["Script", "SimulatedServer", "SimulatorProvider"]


@hookimpl
def register_providers() -> list[type[Provider]]:
    """Return the kind `simulator`."""
    return [SimulatorProvider]


@hookimpl
async def startup(gateway: Gateway) -> None:
    """Start the server of every simulated provider."""
    for provider in gateway.providers.values():
        if isinstance(provider, SimulatorProvider):
            await provider.start()


@hookimpl
async def shutdown(gateway: Gateway) -> None:
    """Stop what `startup` started."""
    for provider in gateway.providers.values():
        if isinstance(provider, SimulatorProvider):
            await provider.stop()
