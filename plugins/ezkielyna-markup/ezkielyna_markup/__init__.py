"""Billing policy of kind `markup`: the catalogue's prices, marked up by plan, model and volume."""

from __future__ import annotations

from ezkielyna import BillingPolicy, hookimpl
from ezkielyna_markup.policy import MarkupPolicy

__all__ = ["MarkupPolicy", "register_billing_policies"]


@hookimpl
def register_billing_policies() -> list[type[BillingPolicy]]:
    """Offer the kind `markup`."""
    return [MarkupPolicy]
