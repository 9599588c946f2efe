"""What every payment method promises, as tests."""

from __future__ import annotations

import asyncio
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from ezkielyna.contract.money import NANOS_PER_USD
from ezkielyna.contract.payment import (
    Continuation,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
)

Notification = tuple[bytes, dict[str, str]]
"""A body and its headers, names in small letters."""

GARBAGE = (b"", b"null", b"[]", b"{}", b"7", b"<html>", b'{"a":', b"\xff\xfe\x00", b"a" * 100_000)


class MemoryDesk:
    """What the core lends to a method, in memory."""

    def __init__(self, kind: str = "test") -> None:
        self.key = hashlib.sha256(kind.encode()).digest()
        self.notes: dict[str, dict[str, Any]] = {}

    async def remember(self, name: str, note: Mapping[str, str | int | None]) -> bool:
        """Keep a note; False where one of this name is kept already."""
        if name in self.notes:
            return False
        self.notes[name] = dict(note)
        return True

    async def recall(self, name: str) -> Mapping[str, Any] | None:
        """Return the note of this name, None without one."""
        return self.notes.get(name)


class PaymentMethodContract:
    """Subclass it, name your method, and write `paid`: the notification of a paid order.

    A method that calls its provider in `start` needs one that answers: write `make` or a fixture.
    A method that asks for a code has no notifications; its subclass writes `order`.
    """

    method: ClassVar[type[PaymentMethod]]
    settings: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    async def paid(self, method: PaymentMethod, order: Order) -> Notification:
        """Return the authentic notification that this order was paid."""

    def order(self, number: int = 1) -> Order:
        """Return an order as the core records it."""
        return Order(
            id=f"ord_{number:024x}",
            account="acc_1",
            email="ann@example.com",
            amount=10 * NANOS_PER_USD,
            currency="usd",
            code="",
            page=f"https://gateway.test/billing/ord_{number:024x}",
            webhook="https://gateway.test/payments/lab/webhook",
        )

    def make(self) -> PaymentMethod:
        """Return the method as a configuration makes it."""
        return self.method("lab", self.method.Settings.model_validate(dict(self.settings)))

    def run(self, work: Callable[[PaymentMethod], Coroutine[Any, Any, None]]) -> None:
        """Run what a test does with an open method, on an event loop of its own."""

        async def opened() -> None:
            method = self.make()
            await method.open(MemoryDesk(self.method.kind))
            try:
                await work(method)
            finally:
                await method.close()

        asyncio.run(asyncio.wait_for(opened(), 60))

    async def event(self, method: PaymentMethod, order: Order) -> PaymentEvent:
        """Return what an order's notification means."""
        event = await method.verify(*await self.paid(method, order))
        assert event is not None
        return event

    async def signed(self, method: PaymentMethod, order: Order) -> Notification:
        """Return a notification that is signed in its headers; skips where bodies are."""
        body, headers = await self.paid(method, order)
        if not headers:
            pytest.skip("notifications are signed in their bodies")
        return body, headers

    def test_kind_is_a_word(self) -> None:
        assert self.method.kind
        assert not set(self.method.kind) & set(" \t\n.:\"'[]")

    def test_it_has_a_title(self) -> None:
        assert self.method.title.strip()

    def test_settings_refuse_what_they_do_not_know(self) -> None:
        with pytest.raises(ValidationError):
            self.method.Settings.model_validate({**self.settings, "no_such_setting": 1})

    def test_settings_are_described(self) -> None:
        fields = self.method.Settings.model_fields
        assert not [name for name, field in fields.items() if not field.description]

    def test_settings_hide_their_secrets(self) -> None:
        shown = repr(self.make().settings)
        secrets = [v for k, v in self.settings.items() if "secret" in k or "key" in k]
        assert not [secret for secret in secrets if str(secret) in shown]

    def test_it_opens_and_closes(self) -> None:
        async def work(method: PaymentMethod) -> None:
            assert method.desk.key

        self.run(work)

    def test_an_order_says_where_to_pay(self) -> None:
        async def work(method: PaymentMethod) -> None:
            started = await method.start(self.order())
            if isinstance(started, Continuation):
                assert started.url.startswith(("https://", "http://", "/"))
            else:
                assert started.order == self.order().id

        self.run(work)

    def test_starting_again_is_no_second_payment(self) -> None:
        async def work(method: PaymentMethod) -> None:
            once, again = [await method.start(self.order()) for _ in range(2)]
            if isinstance(once, Continuation):
                assert isinstance(again, Continuation)
                assert once.url == again.url
            else:
                assert isinstance(again, PaymentEvent)
                assert meaning(once) == meaning(again)

        self.run(work)

    def test_a_notification_names_order_payment_and_amount(self) -> None:
        async def work(method: PaymentMethod) -> None:
            order = self.order()
            event = await self.event(method, order)
            assert event.state == "paid"
            assert event.order == order.id
            assert event.payment_id
            assert (event.amount, event.currency) == (order.amount, "usd")
            assert type(event.amount) is int
            assert event.at.tzinfo is not None

        self.run(work)

    def test_the_same_notification_means_the_same(self) -> None:
        async def work(method: PaymentMethod) -> None:
            notification = await self.paid(method, self.order())
            once, again = [await method.verify(*notification) for _ in range(2)]
            assert meaning(once) == meaning(again)

        self.run(work)

    def test_another_payment_has_another_id(self) -> None:
        async def work(method: PaymentMethod) -> None:
            ids = {(await self.event(method, self.order(n))).payment_id for n in range(1, 6)}
            assert len(ids) == 5

        self.run(work)

    def test_another_process_understands_it(self) -> None:
        async def work(method: PaymentMethod) -> None:
            other = self.make()
            await other.open(MemoryDesk(self.method.kind))
            notification = await self.paid(method, self.order())
            assert meaning(await other.verify(*notification)) == meaning(
                await method.verify(*notification)
            )
            await other.close()

        self.run(work)

    def test_many_at_once(self) -> None:
        async def work(method: PaymentMethod) -> None:
            orders = [self.order(number) for number in range(1, 21)]
            events = await asyncio.gather(*(self.event(method, order) for order in orders))
            assert [event.order for event in events] == [order.id for order in orders]

        self.run(work)

    def test_a_changed_body_is_forged(self) -> None:
        async def work(method: PaymentMethod) -> None:
            body, headers = await self.paid(method, self.order())
            for position in range(0, len(body), max(1, len(body) // 50)):
                forged = bytearray(body)
                forged[position] ^= 1
                with pytest.raises(PaymentRefused):
                    await method.verify(bytes(forged), headers)

        self.run(work)

    def test_another_orders_signature_is_forged(self) -> None:
        async def work(method: PaymentMethod) -> None:
            body, _ = await self.paid(method, self.order(1))
            _, headers = await self.signed(method, self.order(2))
            with pytest.raises(PaymentRefused):
                await method.verify(body, headers)

        self.run(work)

    def test_without_its_headers_it_is_forged(self) -> None:
        async def work(method: PaymentMethod) -> None:
            body, _ = await self.signed(method, self.order())
            with pytest.raises(PaymentRefused):
                await method.verify(body, {})

        self.run(work)

    def test_changed_headers_are_forged(self) -> None:
        async def work(method: PaymentMethod) -> None:
            body, headers = await self.signed(method, self.order())
            for wrong in ("", "x", "0" * 64, "\u00e9", "t=1,v1=" + "0" * 64):
                with pytest.raises(PaymentRefused):
                    await method.verify(body, dict.fromkeys(headers, wrong))

        self.run(work)

    @pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: repr(data)[:20])
    def test_garbage_is_refused(self, garbage: bytes) -> None:
        async def work(method: PaymentMethod) -> None:
            _, headers = await self.paid(method, self.order())
            with pytest.raises(PaymentRefused):
                await method.verify(garbage, headers)

        self.run(work)

    def test_a_refusal_quotes_nothing(self) -> None:
        async def work(method: PaymentMethod) -> None:
            _, headers = await self.paid(method, self.order())
            with pytest.raises(PaymentRefused) as refusal:
                await method.verify(b'{"evil": "<script>text of an attacker</script>"}', headers)
            assert "attacker" not in str(refusal.value)

        self.run(work)


def meaning(event: PaymentEvent | None) -> tuple[str, ...]:
    """Return what the core goes by, but for the time."""
    assert event is not None
    amount = f"{event.amount} {event.currency}"
    return (event.state, event.order, event.payment_id, event.refund_id, amount)
