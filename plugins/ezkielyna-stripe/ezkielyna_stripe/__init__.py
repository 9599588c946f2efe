"""Stripe: customers pay on Stripe's own page, and webhooks say what became of it."""

from __future__ import annotations

from ezkielyna import PaymentMethod, hookimpl
from ezkielyna_stripe.method import StripePayments

__all__ = ["StripePayments"]


@hookimpl
def register_payment_methods() -> list[type[PaymentMethod]]:
    """Return the kind `stripe`."""
    return [StripePayments]
