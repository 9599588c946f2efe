"""What every installation has: a limiter and a billing policy, registered like any plugin's."""

from __future__ import annotations

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.hookspecs import hookimpl
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.defaults.memory import MemoryLimiter
from ezkielyna.defaults.per_token import PerToken

__all__ = ["MemoryLimiter", "PerToken"]


@hookimpl
def register_rate_limiters() -> list[type[RateLimiter]]:
    """Offer `memory`."""
    return [MemoryLimiter]


@hookimpl
def register_billing_policies() -> list[type[BillingPolicy]]:
    """Offer `per-token`."""
    return [PerToken]
