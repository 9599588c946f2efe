"""Every hook a plugin may implement. `plugins/README.md` documents each with its signature.

Hooks that register hand over classes once, at start-up. Asynchronous hooks are awaited in the
order in which the configuration names the plugins; `shutdown` and `after_request` in the reverse
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from click import Command

    from ezkielyna.contract.billing import BillingPolicy
    from ezkielyna.contract.context import Gateway, RequestContext, Route, Watcher
    from ezkielyna.contract.limiter import RateLimiter
    from ezkielyna.contract.pages import ConsolePage
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
def register_routes(gateway: Gateway) -> list[Route]:  # type: ignore[empty-body]
    """Return Tornado rules for paths beside the API: (pattern, handler class[, arguments])."""


@hookspec
def register_pages(gateway: Gateway) -> list[ConsolePage]:  # type: ignore[empty-body]
    """Return pages of the console, each with its place in the menu."""


@hookspec
def register_commands() -> list[Command]:  # type: ignore[empty-body]
    """Return click commands that become `ezkielyna NAME`."""


@hookspec
def startup(gateway: Gateway) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable that is done before the process accepts connections."""


@hookspec
def shutdown(gateway: Gateway) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable that is done after the process served its last request."""


@hookspec
def before_request(ctx: RequestContext) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable after which the request may go on; raise GatewayError to refuse it."""


@hookspec
def watch_stream(ctx: RequestContext) -> Watcher | None:
    """Return a function that is shown every piece of this stream, or None."""


@hookspec
def after_request(ctx: RequestContext) -> Awaitable[None]:  # type: ignore[empty-body]
    """Return an awaitable for what is to be done with a request that ended; see `ctx.ended`."""
