"""The contract suite, on Stripe: sessions from a small server, events signed as Stripe signs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe

from ezkielyna import Order, PaymentMethod
from ezkielyna.testing import PaymentMethodContract
from ezkielyna.testing.contracts.payment import Notification
from ezkielyna_stripe import StripePayments

SECRET = "whsec_0123456789abcdef"


class Sessions(BaseHTTPRequestHandler):
    """Answers every request with the session of its idempotency key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        session = {"object": "checkout.session", "url": f"https://checkout.example/{key}"}
        body = json.dumps({"id": f"cs_{key}", **session}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base says so
        """Say nothing."""


@pytest.fixture(scope="module")
def sessions() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sessions)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestStripe(PaymentMethodContract):
    method = StripePayments
    settings = {"api_key": "sk_test_0123456789", "webhook_secret": SECRET}

    @pytest.fixture(autouse=True)
    def _reach(self, sessions: str) -> None:
        self.base_url = sessions

    def make(self) -> PaymentMethod:
        table = {**self.settings, "base_url": self.base_url}
        return self.method("cards", self.method.Settings.model_validate(table))

    async def paid(self, method: PaymentMethod, order: Order) -> Notification:
        payment = {
            "id": f"pi_{order.id}",
            "amount": order.amount // 10_000_000,
            "currency": "usd",
            "metadata": {"ezkielyna_order": order.id},
        }
        event = {"type": "payment_intent.succeeded", "created": int(time.time())}
        body = json.dumps({**event, "data": {"object": payment}})
        signature = stripe.WebhookSignature.generate_signature_header(body, SECRET)
        return body.encode(), {"stripe-signature": signature}
