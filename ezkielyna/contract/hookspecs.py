"""Every hook a plugin may implement. `plugins/README.md` documents each with its signature.

Hooks that register hand over classes once, at start-up. Asynchronous hooks are awaited in the
order in which the configuration names the plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ezkielyna.contract.billing import BillingPolicy
    from ezkielyna.contract.context import Gateway
    from ezkielyna.contract.limiter import RateLimiter
    from ezkielyna.contract.payment import PaymentMethod
    from ezkielyna.contract.provider import Provider

hookspec = pluggy.HookspecMarker("ezkielyna")
hookimpl = pluggy.HookimplMarker("ezkielyna")


@hookspec
def register_providers() -> list[type[Provider]]:  # type: ignore[empty-body]
    """Return the provider classes this plugin offers."""


@hookspec
def register_rate_limiters() -> list[type[RateLimiter]]:  # type: ignore[empty-body]
    """Return the rate limiter classes this plugin offers."""


@hookspec
def register_billing_policies() -> list[type[BillingPolicy]]:  # type: ignore[empty-body]
    """Return the billing policy classes this plugin offers."""


@hookspec
def register_payment_methods() -> list[type[PaymentMethod]]:  # type: ignore[empty-body]
    """Return the payment method classes this plugin offers."""


@hookspec
def startup(gateway: Gateway) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable that is done before the process accepts connections."""


@hookspec
def shutdown(gateway: Gateway) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable that is done after the process served its last request."""
