"""Simulated models, behind a real HTTP server, and payments without money: to try and to test."""

from __future__ import annotations

from ezkielyna import Gateway, PaymentMethod, Provider, hookimpl
from ezkielyna_simulator.payments import TestPayments
from ezkielyna_simulator.provider import SimulatorProvider
from ezkielyna_simulator.script import Script
from ezkielyna_simulator.server import SimulatedServer

__all__ = ["Script", "SimulatedServer", "SimulatorProvider", "TestPayments"]


@hookimpl
def register_providers() -> list[type[Provider]]:
    """Return the kind `simulator`."""
    return [SimulatorProvider]


@hookimpl
def register_payment_methods() -> list[type[PaymentMethod]]:
    """Return the kind `test`."""
    return [TestPayments]


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
