"""What Stripe's events mean: pure.

Events: https://docs.stripe.com/api/events/types. Amounts are in the currency's smallest unit, for
USD in cents: https://docs.stripe.com/currencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ezkielyna import Nano, PaymentEvent, PaymentState

ORDER = "ezkielyna_order"
"""The metadata of a PaymentIntent that names our order; what lacks it is not ours."""

NANOS_PER_CENT: Nano = 10_000_000

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Money that went back to the customer; the order is in the metadata of the PaymentIntent."""

    payment_id: str
    refund_id: str
    amount: Nano
    currency: str
    at: datetime
    reason: str = ""

    def event(self, order: str) -> PaymentEvent:
        """Return the event of the order that was paid with this payment."""
        return PaymentEvent(
            "refunded",
            order,
            self.payment_id,
            self.amount,
            self.currency,
            self.at,
            refund_id=self.refund_id,
            reason=self.reason,
        )


def meaning(event: Json) -> PaymentEvent | GivenBack | None:
    """Return what an event means for us, None for nothing.

    Raises KeyError, TypeError or ValueError for what has not the shape of its type.
    """
    read = _READ.get(event["type"])
    return None if read is None else read(event["data"]["object"], _moment(event["created"]))


def order_of(payment: Json) -> str:
    """Return our order that a PaymentIntent or a session is for, "" for somebody else's."""
    return str((payment.get("metadata") or {}).get(ORDER) or "")


def _succeeded(payment: Json, at: datetime) -> PaymentEvent | None:
    received = payment.get("amount_received", payment["amount"])
    return _event("paid", payment, payment["id"], received, at)


def _processing(payment: Json, at: datetime) -> PaymentEvent | None:
    return _event("processing", payment, payment["id"], payment["amount"], at)


def _failed(payment: Json, at: datetime) -> PaymentEvent | None:
    error = payment.get("last_payment_error") or {}
    reason = error.get("message") or "The payment did not go through."
    return _event("failed", payment, payment["id"], payment["amount"], at, reason)


def _cancelled(payment: Json, at: datetime) -> PaymentEvent | None:
    reason = "The payment was cancelled."
    return _event("failed", payment, payment["id"], payment["amount"], at, reason)


def _expired(session: Json, at: datetime) -> PaymentEvent | None:
    reason = "The payment page expired before anything was paid."
    payment_id = session.get("payment_intent") or ""
    return _event("failed", session, payment_id, session["amount_total"], at, reason)


def _refund(refund: Json, at: datetime) -> GivenBack | None:
    if refund["status"] != "succeeded":
        return None
    return _given_back(refund, at)


def _dispute(dispute: Json, at: datetime) -> GivenBack | None:
    return _given_back(dispute, at, "The payment was disputed with the bank.")


_READ: Mapping[str, Callable[[Json, datetime], PaymentEvent | GivenBack | None]] = {
    "payment_intent.succeeded": _succeeded,
    "payment_intent.processing": _processing,
    "payment_intent.payment_failed": _failed,
    "payment_intent.canceled": _cancelled,
    "checkout.session.expired": _expired,
    "refund.created": _refund,
    "refund.updated": _refund,
    "charge.refund.updated": _refund,
    "charge.dispute.funds_withdrawn": _dispute,
}

EVENTS = tuple(_READ)
"""The types of events that the webhook endpoint must be subscribed to."""


def _event(
    state: PaymentState,
    payment: Json,
    payment_id: str,
    cents: int,
    at: datetime,
    reason: str = "",
) -> PaymentEvent | None:
    order = order_of(payment)
    if not order:
        return None
    amount, currency = _nanos(cents), payment["currency"].lower()
    return PaymentEvent(state, order, payment_id, amount, currency, at, reason=reason)


def _given_back(thing: Json, at: datetime, reason: str = "") -> GivenBack | None:
    payment_id = thing.get("payment_intent")
    if not payment_id:
        return None
    amount, currency = _nanos(thing["amount"]), thing["currency"].lower()
    return GivenBack(payment_id, thing["id"], amount, currency, at, reason)


def _nanos(cents: int) -> Nano:
    if not isinstance(cents, int) or isinstance(cents, bool):
        raise TypeError("an amount is a whole number of cents")
    return cents * NANOS_PER_CENT


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
