"""What every installation has: a limiter, a billing policy, vouchers, registered like plugins'."""

from __future__ import annotations

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.hookspecs import hookimpl
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.payment import PaymentMethod
from ezkielyna.defaults.memory import MemoryLimiter
from ezkielyna.defaults.per_token import PerToken
from ezkielyna.defaults.vouchers import Vouchers

__all__ = ["MemoryLimiter", "PerToken", "Vouchers"]


@hookimpl
def register_rate_limiters() -> list[type[RateLimiter]]:
    """Offer `memory`."""
    return [MemoryLimiter]


@hookimpl
def register_billing_policies() -> list[type[BillingPolicy]]:
    """Offer `per-token`."""
    return [PerToken]


@hookimpl
def register_payment_methods() -> list[type[PaymentMethod]]:
    """Offer `voucher`."""
    return [Vouchers]
