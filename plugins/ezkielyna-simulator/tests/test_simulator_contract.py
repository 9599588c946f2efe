"""The contract suites, on the simulated provider and its payment method."""

from __future__ import annotations

from urllib.parse import urlencode

from ezkielyna import Continuation, Order, PaymentMethod
from ezkielyna.testing import PaymentMethodContract, ProviderContract
from ezkielyna.testing.contracts.payment import Notification
from ezkielyna.testing.dialect import chat_answer, chat_stream
from ezkielyna_simulator import SimulatorProvider
from ezkielyna_simulator.payments import TestPayments


class TestSimulator(ProviderContract):
    provider = SimulatorProvider
    streams = {"hello": b"".join(chat_stream(["Hello ", "you"]))}
    answers = {"hello": chat_answer("Hello")}


class TestTestPayments(PaymentMethodContract):
    method = TestPayments

    async def paid(self, method: PaymentMethod, order: Order) -> Notification:
        form = await method.start(order)
        assert isinstance(form, Continuation)
        return urlencode({**form.fields, "outcome": "paid"}).encode(), {}
