"""The payment method: a Checkout session an order, and webhooks believed by their signature."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import stripe
from pydantic import Field, SecretStr, field_validator

from ezkielyna import (
    Continuation,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
    PaymentSettings,
)
from ezkielyna_stripe.events import NANOS_PER_CENT, ORDER, GivenBack, meaning, order_of

TOLERANCE_S = 300
"""How old a signature may be, as Stripe recommends: https://docs.stripe.com/webhooks/signature."""

TIMEOUT_S = 20.0
RETRIES = 2

log = logging.getLogger(__name__)


class StripePayments(PaymentMethod):
    """Sends customers to Stripe's hosted Checkout; a credit is keyed on the PaymentIntent's id.

    The SDK's blocking client runs in threads: its asynchronous one needs a second HTTP library.
    """

    kind = "stripe"
    title = "Card and more, by Stripe"

    class Settings(PaymentSettings):
        """Keys of the Stripe account."""

        api_key: SecretStr = Field(description="secret or restricted key of the account")
        webhook_secret: SecretStr = Field(description="signing secret of the webhook endpoint")
        product: str = Field("Prepaid credit", description="what Stripe's page says is bought")
        base_url: str = Field("https://api.stripe.com", description="where Stripe's API is")

        @field_validator("api_key")
        @classmethod
        def _a_secret_key(cls, value: SecretStr) -> SecretStr:
            if not value.get_secret_value().startswith(("sk_", "rk_")):
                raise ValueError("must be a secret key: it begins with sk_ or rk_")
            return value

        @field_validator("webhook_secret")
        @classmethod
        def _a_signing_secret(cls, value: SecretStr) -> SecretStr:
            if len(value.get_secret_value()) < 16 or not value.get_secret_value().startswith(
                "whsec_"
            ):
                raise ValueError(
                    "must be the signing secret of the webhook endpoint: it begins with whsec_"
                )
            return value

    settings: Settings

    def __init__(self, name: str, settings: PaymentSettings) -> None:
        super().__init__(name, settings)
        assert isinstance(settings, StripePayments.Settings)
        self.settings = settings
        self._client = stripe.StripeClient(
            settings.api_key.get_secret_value(),
            base_addresses={"api": settings.base_url.rstrip("/")},
            http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
            max_network_retries=RETRIES,
        )

    async def start(self, order: Order) -> Continuation | PaymentEvent:
        """Make a Checkout session and return its page; the same order has the same session."""
        try:
            session = await asyncio.to_thread(self._checkout, order)
        except stripe.APIConnectionError as error:
            log.warning("stripe cannot be reached for order %s: %s", order.id, type(error).__name__)
            raise PaymentRefused("Stripe cannot be reached now. Try again in a minute.") from error
        except stripe.StripeError as error:
            # Its message may quote the key or the customer.
            log.error("stripe refused order %s: %s", order.id, error.code or type(error).__name__)
            raise PaymentRefused(
                "Stripe does not take this payment. Ask the operator, or pay another way."
            ) from error
        assert session.url is not None
        return Continuation(session.url)

    async def verify(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        """Return what a signed event means for one of our orders.

        The order of a refund is in its PaymentIntent, which Stripe is asked for; where it does not
        answer, the StripeError makes it notify again.
        """
        event = self._authentic(body, headers.get("stripe-signature", ""))
        try:
            found = meaning(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PaymentRefused("the event has not the shape of its type") from error
        if not isinstance(found, GivenBack):
            return found
        order = await asyncio.to_thread(self._order_of, found.payment_id)
        return found.event(order) if order else None

    def _authentic(self, body: bytes, signature: str) -> Any:
        """Return the event; raises PaymentRefused unless Stripe signed it just now."""
        secret = self.settings.webhook_secret.get_secret_value()
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret)
        except (stripe.SignatureVerificationError, ValueError, TypeError):
            raise PaymentRefused("the signature is wrong") from None
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_S)
        except stripe.SignatureVerificationError:
            raise PaymentRefused(f"the signature is older than {TOLERANCE_S} s") from None
        try:
            return json.loads(body)
        except ValueError:
            raise PaymentRefused("the event is no JSON") from None

    def _checkout(self, order: Order) -> stripe.checkout.Session:
        metadata = {ORDER: order.id}
        return self._client.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "client_reference_id": order.account,
                "customer_email": order.email,
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": order.currency,
                            "unit_amount": order.amount // NANOS_PER_CENT,
                            "product_data": {"name": self.settings.product},
                        },
                    }
                ],
                "metadata": metadata,
                "payment_intent_data": {"metadata": metadata},
                "success_url": f"{order.page}?paid=1",
                "cancel_url": order.page,
            },
            {"idempotency_key": order.id},
        )

    def _order_of(self, payment_id: str) -> str:
        return order_of(self._client.v1.payment_intents.retrieve(payment_id).to_dict())
