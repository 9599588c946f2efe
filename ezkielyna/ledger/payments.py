"""Payments: orders, notifications, vouchers. Here, and nowhere else, they become ledger entries.

A credit is keyed `top-up:<kind>:<payment id>` and a refund `refund:<kind>:<refund id>`; the entry,
the account and the payment change in one transaction. A refund takes what the account has free;
what is spent already stays owed, and is taken from whatever becomes free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ezkielyna.contract.money import Nano, usd
from ezkielyna.contract.payment import (
    CENT,
    Continuation,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
)
from ezkielyna.ledger.payment_events import after
from ezkielyna.storage import payments as stored
from ezkielyna.storage.accounts import AccountRecord
from ezkielyna.storage.collection import Session
from ezkielyna.storage.credits import CreditKind, enter
from ezkielyna.storage.database import Database
from ezkielyna.storage.errors import Duplicate, Missing, StorageError
from ezkielyna.storage.keyformat import identifier
from ezkielyna.storage.payments import Notes, Payment, Refund

CURRENCY = "usd"
COLLECT_S = 30.0
"""How often refunds that are owed are looked for; leased money comes back within seconds."""

ABANDONED = "It was not paid in time."

Step = Callable[[Payment], Payment]
"""What a payment becomes; may run more than once, so it has no other effects."""

log = logging.getLogger(__name__)


def new_order() -> str:
    """Return an id for an order; a form that carries it can be sent twice."""
    return identifier("pay")


class Payments:
    """The payment methods of a process, and what comes in through them.

    `address` is where customers and providers reach this gateway.
    """

    def __init__(
        self,
        database: Database,
        secret: bytes,
        methods: Mapping[str, PaymentMethod],
        address: str,
    ) -> None:
        self.methods = methods
        self._database = database
        self._secret = secret
        self._address = address
        self._collector: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open every method, and collect what is owed from now on."""
        for method in self.methods.values():
            await method.open(Notes(self._database, self._secret, method.kind))
        self._collector = asyncio.create_task(self._collect_for_ever())

    async def close(self) -> None:
        """Close every method."""
        if self._collector is not None:
            self._collector.cancel()
            with suppress(asyncio.CancelledError):
                await self._collector
        for method in self.methods.values():
            await method.close()

    async def order(
        self, account: AccountRecord, name: str, amount: Nano, order_id: str
    ) -> Payment:
        """Record an order and ask the method where it is paid; the payment's `way` says it.

        The same `order_id` again returns the payment it stands for. Raises PaymentRefused with a
        sentence for the customer; Missing for an id that is another account's.
        """
        method = self._asking(name, code=False)
        least, most = method.settings.least, method.settings.most
        if amount % CENT or not least <= amount <= most:
            raise PaymentRefused(
                f"Choose an amount between {usd(least)} and {usd(most)} USD, in whole cents."
            )
        payment = self._new(account, method, amount, order_id)
        try:
            await stored.add(self._database, payment)
        except Duplicate:
            payment = await stored.read(self._database, order_id, account=account.id)
        if payment.way is None and payment.tried_at is None and payment.paid_at is None:
            return await self._begin(method, payment, account.email)
        return payment

    async def redeem(self, account: AccountRecord, name: str, code: str) -> Payment:
        """Credit what a code is worth, once; raises PaymentRefused with a sentence."""
        method = self._asking(name, code=True)
        payment = self._new(account, method, 0, new_order())
        event = await method.start(self._order(payment, account.email, code))
        assert isinstance(event, PaymentEvent), f"{name} must answer a code with an event"
        payment = after(replace(payment, amount=event.amount), event)

        async def write(session: Session) -> Payment:
            moved = await self._moved(payment, session)
            await stored.add(self._database, moved, session)
            return moved

        try:
            redeemed = await self._database.transaction(write)
        except Duplicate:
            raise PaymentRefused(await self._redeemed(account, payment)) from None
        await self.collect(account.id)
        return redeemed

    async def notify(self, name: str, body: bytes, headers: Mapping[str, str]) -> Payment | None:
        """Take a notification; return the payment it is about, None where it means nothing here.

        Raises PaymentRefused for what is forged, stale or does not match its order: that is
        logged. Raises Missing where there is no such method, StorageError where the provider
        should send it again.
        """
        method = self.methods.get(name)
        if method is None or method.asks_for:
            raise Missing(f"there is no payment method {name} that is notified")
        try:
            event = await method.verify(body, headers)
            return None if event is None else await self._apply(method, event)
        except PaymentRefused as refused:
            log.warning("payment notification to %s refused: %s", name, refused)
            raise

    async def collect(self, account: str = "") -> None:
        """Take what is owed, from all accounts or one, as far as money is free."""
        for payment_id in await stored.indebted(self._database, account):
            await self._transact(payment_id, lambda payment: payment)

    async def give_up(self, now: datetime) -> None:
        """Let orders fail that can be paid no longer; one that is paid all the same is credited."""
        for name, method in self.methods.items():
            if method.lasts_s is None:
                continue
            before = now - timedelta(seconds=method.lasts_s)
            for payment_id in await stored.unfinished(self._database, name, before):
                await self._transact(payment_id, _failing(ABANDONED))

    async def _redeemed(self, account: AccountRecord, payment: Payment) -> str:
        entry = f"top-up:{payment.kind}:{payment.payment_id}"
        if await stored.entry_of(self._database, account.id, entry):
            return "You redeemed this code before; its amount is in your history."
        return "This code was redeemed before, with another account."

    async def _apply(self, method: PaymentMethod, event: PaymentEvent) -> Payment:
        def apply(payment: Payment) -> Payment:
            if payment.method != method.name:
                raise PaymentRefused(f"order {payment.id} was made with {payment.method}")
            return after(payment, event)

        try:
            payment = await self._transact(event.order, apply)
        except Missing:
            raise PaymentRefused("it names an order that is not here") from None
        except Duplicate:
            # The credit's id is taken by another order: one payment pays one order.
            raise PaymentRefused("the payment was credited to another order") from None
        if event.state == "paid":
            await self.collect(payment.account)
        return payment

    async def _begin(self, method: PaymentMethod, payment: Payment, email: str) -> Payment:
        """Ask the method where this is paid. A notification may be quicker than its answer."""
        try:
            way = await method.start(self._order(payment, email))
        except PaymentRefused as refused:
            return await self._transact(payment.id, _failing(str(refused)))
        if isinstance(way, PaymentEvent):
            return await self._apply(method, way)
        return await self._transact(payment.id, _going(way))

    async def _transact(self, payment_id: str, step: Step) -> Payment:
        """Take a step with a payment, and book what follows from it, in one transaction."""

        async def write(session: Session) -> Payment:
            payment = await stored.read(self._database, payment_id, session=session)
            moved = await self._moved(step(payment), session)
            if moved != payment:
                await stored.change(self._database, moved, session)
            return moved

        return await self._database.transaction(write)

    async def _moved(self, payment: Payment, session: Session) -> Payment:
        """Book what a payment still has to move, and return it with what it moved."""
        if payment.paid_at is None:
            return payment
        if not payment.entries:
            reference = f"{payment.kind}:{payment.payment_id}"
            payment = await self._book(payment, "top-up", payment.amount, reference, session)
        for refund in payment.refunds:
            payment = await self._take(payment, refund, session)
        return payment

    async def _take(self, payment: Payment, refund: Refund, session: Session) -> Payment:
        """Book as much of a refund as the account has free."""
        rest = refund.amount - refund.taken
        if not rest:
            return payment
        amount = min(rest, await stored.available(self._database, payment.account, session))
        if not amount:
            return payment
        taken = replace(refund, taken=refund.taken + amount, parts=refund.parts + 1)
        part = f":{taken.parts}" if refund.parts else ""
        reference = f"{payment.kind}:{refund.id}{part}"
        payment = await self._book(payment, "refund", -amount, reference, session)
        return replace(
            payment, refunds=tuple(taken if r.id == refund.id else r for r in payment.refunds)
        )

    async def _book(
        self, payment: Payment, kind: CreditKind, amount: Nano, reference: str, session: Session
    ) -> Payment:
        await enter(
            self._database,
            session,
            payment.account,
            amount,
            reference=reference,
            kind=kind,
            by=f"payment {payment.id}",
            note=payment.method,
        )
        return replace(payment, entries=(*payment.entries, (f"{kind}:{reference}", amount)))

    def _asking(self, name: str, *, code: bool) -> PaymentMethod:
        method = self.methods.get(name)
        if method is None or bool(method.asks_for) is not code:
            raise PaymentRefused("This way to pay is not offered any more; choose another.")
        return method

    def _new(
        self, account: AccountRecord, method: PaymentMethod, amount: Nano, order_id: str
    ) -> Payment:
        now = datetime.now(UTC)
        return Payment(order_id, account.id, method.name, method.kind, amount, CURRENCY, now)

    def _order(self, payment: Payment, email: str, code: str = "") -> Order:
        return Order(
            id=payment.id,
            account=payment.account,
            email=email,
            amount=payment.amount,
            currency=payment.currency,
            code=code,
            page=f"{self._address}/billing/payments/{payment.id}",
            webhook=f"{self._address}/payments/{payment.method}/webhook",
        )

    async def _collect_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_S)
            try:
                await self.collect()
                await self.give_up(datetime.now(UTC))
            except StorageError as error:
                log.info("payments are not looked after: %s", error)


def _going(way: Continuation) -> Step:
    return lambda payment: payment if payment.paid_at else replace(payment, way=way)


def _failing(reason: str) -> Step:
    now = datetime.now(UTC)
    return lambda payment: (
        payment
        if payment.paid_at
        else replace(payment, state="failed", reason=reason, tried_at=now)
    )
