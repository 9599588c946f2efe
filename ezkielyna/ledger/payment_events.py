"""What a payment becomes by an event of its provider: pure, the same in whatever order they come.

Events are facts that are collected: paid, each refund, and the last thing that was said before
the payment was paid. So a repeat changes nothing, and neither does the order.
"""

from __future__ import annotations

from dataclasses import replace

from ezkielyna.contract.money import usd
from ezkielyna.contract.payment import PaymentEvent, PaymentRefused, PaymentState
from ezkielyna.storage.payments import Payment, Refund


def after(payment: Payment, event: PaymentEvent) -> Payment:
    """Return the payment after an event; the same object where it says nothing new.

    Raises PaymentRefused where the event does not belong to this payment: another currency,
    another amount, a second payment or more refunds than were paid.
    """
    if event.currency != payment.currency:
        raise PaymentRefused(f"the currency is {event.currency!r}, not {payment.currency!r}")
    if event.state in ("processing", "failed"):
        return _tried(payment, event)
    if not event.payment_id:
        raise PaymentRefused("the event does not name the payment")
    if payment.payment_id and event.payment_id != payment.payment_id:
        raise PaymentRefused("the order belongs to another payment")
    return _paid(payment, event) if event.state == "paid" else _refunded(payment, event)


def _tried(payment: Payment, event: PaymentEvent) -> Payment:
    if payment.paid_at is not None:
        return payment
    if payment.tried_at is not None:
        # A provider's clock may have whole seconds: of one second, `failed` came last.
        said = payment.tried_at, payment.state == "failed", payment.reason
        if (event.at, event.state == "failed", event.reason) <= said:
            return payment
    return replace(payment, state=event.state, reason=event.reason, tried_at=event.at)


def _paid(payment: Payment, event: PaymentEvent) -> Payment:
    if event.amount != payment.amount:
        raise PaymentRefused(f"{usd(event.amount)} was paid, {usd(payment.amount)} was ordered")
    if payment.paid_at is not None:
        return payment
    return _settled(
        replace(payment, payment_id=event.payment_id, paid_at=event.at, reason="", way=None)
    )


def _refunded(payment: Payment, event: PaymentEvent) -> Payment:
    known = {refund.id: refund for refund in payment.refunds}
    if not event.refund_id or event.amount <= 0:
        raise PaymentRefused("the refund has no name or no amount")
    if event.refund_id in known:
        if known[event.refund_id].amount != event.amount:
            raise PaymentRefused("the refund had another amount before")
        return payment
    if payment.refunded + event.amount > payment.amount:
        raise PaymentRefused(f"refunds would be more than the {usd(payment.amount)} that was paid")
    known[event.refund_id] = Refund(event.refund_id, event.amount, event.at)
    refunds = tuple(known[id_] for id_ in sorted(known))
    return _settled(replace(payment, payment_id=event.payment_id, refunds=refunds))


def _settled(payment: Payment) -> Payment:
    """Return the payment with the state that follows from what was paid and given back."""
    if payment.paid_at is None:
        return payment
    state: PaymentState = "refunded" if payment.refunded == payment.amount else "paid"
    return replace(payment, state=state)
