"""A payment method for demonstrations: it says what it is, and no money moves."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from ezkielyna import (
    Button,
    Continuation,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
    PaymentState,
)

OUTCOMES: Mapping[str, PaymentState] = {
    "paid": "paid",
    "processing": "processing",
    "failed": "failed",
}
"""What a button sends, and what it means."""

STALE_S = 24 * 3600
"""How long the form of an order can be sent, in seconds."""

SIGNED = ("order", "amount", "currency", "at")


class TestPayments(PaymentMethod):
    """Shows a form whose buttons are what a provider might say of a payment.

    The form goes to the webhook, signed with the desk's key, so that a notification is verified
    as any provider's is.
    """

    __test__ = False  # pytest looks for classes of such a name

    kind = "test"
    title = "Test payment"
    pretends = True
    lasts_s = STALE_S

    async def start(self, order: Order) -> Continuation | PaymentEvent:
        """Return the form; the same order has the same payment."""
        values = (order.id, str(order.amount), order.currency, str(int(time.time())))
        fields = dict(zip(SIGNED, values, strict=True))
        return Continuation(
            order.webhook,
            fields | {"signature": self._signature(fields)},
            buttons=(
                Button("Pay with test money", "outcome", "paid"),
                Button("Leave it processing", "outcome", "processing"),
                Button("Decline the payment", "outcome", "failed"),
            ),
            note="This is a test payment. No real money moves, and nobody asks for a card.",
        )

    async def verify(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        """Return what the pressed button means."""
        try:
            fields = dict(parse_qsl(body.decode(), strict_parsing=True))
            state, at = OUTCOMES[fields["outcome"]], int(fields["at"])
            order, amount = fields["order"], int(fields["amount"])
            signed = hmac.compare_digest(fields["signature"], self._signature(fields))
        except (ValueError, KeyError, TypeError):
            raise PaymentRefused("this is no form of a test payment") from None
        if not signed:
            raise PaymentRefused("the signature is wrong")
        if at < time.time() - STALE_S:
            raise PaymentRefused("the form is stale")
        reason = "The test payment was declined." if state == "failed" else ""
        now = datetime.now(UTC)
        name = f"test_{order}"
        return PaymentEvent(state, order, name, amount, fields["currency"], now, reason=reason)

    def _signature(self, fields: Mapping[str, str]) -> str:
        signed = "\n".join(fields[name] for name in SIGNED)
        return hmac.digest(self.desk.key, signed.encode(), "sha256").hex()
