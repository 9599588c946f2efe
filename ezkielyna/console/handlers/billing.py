"""Billing: the balance, topping up, vouchers, and every line of the ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tornado.web import HTTPError

from ezkielyna.console.page import AccountPage
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.money import MoneyError, Nano, nano, usd
from ezkielyna.contract.payment import PaymentMethod, PaymentRefused
from ezkielyna.ledger.payments import new_order
from ezkielyna.storage import ledger
from ezkielyna.storage import payments as stored
from ezkielyna.throttle import too_many

PRESETS_USD = (10, 25, 50, 100)
RECENT = 10
PAGE = 50

WORDS = {
    "credit": "Credit",
    "top-up": "Top-up",
    "settlement": "Usage",
    "refund": "Refund",
    "correction": "Correction",
}
"""The kinds of ledger entries as customers read them."""

_ORDER = re.compile(r"pay_[0-9A-Za-z]{20}", re.ASCII)


class _BillingPage(AccountPage):
    """What the page and its forms share."""

    @property
    def methods(self) -> Sequence[PaymentMethod]:
        """What asks for an amount, in the order of the configuration."""
        return [m for m in self.console.payments.methods.values() if not m.asks_for]

    @property
    def vouchers(self) -> PaymentMethod | None:
        """What asks for a code."""
        asking = (m for m in self.console.payments.methods.values() if m.asks_for)
        return next(asking, None)

    async def show(self, **typed: Any) -> None:
        """Show the page with what was typed into its forms."""
        account, database = self.account.id, self.console.database
        payments = stored.of_account(database, account, limit=RECENT + 1)
        recent = [payment async for payment in payments]
        entries = await ledger.page(database, account, RECENT + 1)
        names: dict[str, Any] = {"amount": "", "method": "", "code": "", **typed}
        self.render(
            "billing.html",
            title="Billing",
            methods=self.methods,
            vouchers=self.vouchers,
            presets=self._presets(),
            order=new_order(),
            policy=self.console.settings.accounts.refund_policy,
            contact=self.console.settings.accounts.contact,
            payments=recent[:RECENT],
            more_payments=len(recent) > RECENT,
            entries=entries[:RECENT],
            more_entries=len(entries) > RECENT,
            **names,
        )

    def _presets(self) -> list[Nano]:
        """Return the amounts that every method takes."""
        least = max((m.settings.least for m in self.methods), default=0)
        most = min((m.settings.most for m in self.methods), default=0)
        return [amount for each in PRESETS_USD if least <= (amount := nano(each)) <= most]


class Billing(_BillingPage):
    """The page."""

    async def get(self) -> None:
        """Show it; `?amount=` fills in an amount, to try again."""
        await self.show(amount=self.get_argument("amount", "")[:20])


class TopUp(_BillingPage):
    """Takes an order to the method that was chosen."""

    async def post(self) -> None:
        """Go on to the payment, or show what is wrong."""
        typed = self.text("other", 40) or self.text("amount", 40)
        name, order = self.text("method", 100), self.text("order", 40)
        try:
            payment = await self.console.payments.order(
                self.account,
                name or next((m.name for m in self.methods), ""),
                typed_amount(typed),
                order if _ORDER.fullmatch(order) else new_order(),
            )
        except (PaymentRefused, MoneyError) as refused:
            self.errors["other"] = str(refused)
            self.set_status(422)
            await self.show(amount=typed, method=name)
            return
        self.see_other(f"/billing/payments/{payment.id}?go=1")


class Redeem(_BillingPage):
    """Redeems a voucher."""

    async def post(self) -> None:
        """Credit it, or show why not. Who guesses waits longer and longer."""
        code, throttle = self.text("code", 200), self.console.bad_codes
        wait_s = throttle.wait_s(self.account.id)
        if wait_s:
            limited = too_many(wait_s)
            self.set_header("Retry-After", str(int(limited.retry_after_s or 1)))
            await self._refuse(429, str(limited), code)
            return
        throttle.count(self.account.id)
        method = self.vouchers
        try:
            if method is None:
                raise PaymentRefused("Vouchers are not offered here.")
            payment = await self.console.payments.redeem(self.account, method.name, code)
        except PaymentRefused as refused:
            await self._refuse(422, str(refused), code)
            return
        throttle.take_back(self.account.id)
        self.flash(f"{usd(payment.amount)} USD were added to your balance.")
        self.see_other("/billing")

    async def _refuse(self, status: int, reason: str, code: str) -> None:
        self.errors["code"] = reason
        self.set_status(status)
        await self.show(code=code)


class Statement(AccountPage):
    """Every line of the ledger, a page at a time."""

    async def get(self) -> None:
        """Show the lines behind `?after=`, else the newest."""
        after = self.get_argument("after", "")
        found = await ledger.page(
            self.console.database, self.account.id, PAGE + 1, _position(after) if after else None
        )
        entries = found[:PAGE]
        older = _after(entries[-1]) if len(found) > PAGE else ""
        self.render(
            "statement.html", title="Ledger", entries=entries, older=older, newest=not after
        )


def typed_amount(text: str) -> Nano:
    """Return an amount as people type it: `12.50`, `$12.50`, `12,50`. Raises MoneyError."""
    plain = text.strip().removeprefix("$").removesuffix("USD").strip()
    if re.fullmatch(r"[0-9]{1,7}([.,][0-9]{1,2})?", plain, re.ASCII) is None:
        raise MoneyError("Write an amount in US dollars, such as 20 or 12.50.")
    return nano(plain.replace(",", "."))


def _after(entry: ledger.Entry) -> str:
    return f"{entry.at.timestamp() * 1000:.0f}.{entry.id}"


def _position(text: str) -> tuple[datetime, str]:
    milliseconds, _, id_ = text.partition(".")
    if not re.fullmatch(r"[0-9]{1,14}", milliseconds, re.ASCII):
        raise HTTPError(400, reason="There is no such place in the ledger")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC), id_


TOPIC = Topic(
    routes=(
        (r"/billing", Billing),
        (r"/billing/top-up", TopUp),
        (r"/billing/voucher", Redeem),
        (r"/billing/ledger", Statement),
    ),
    menu=(Entry(30, "Billing", "/billing", "card"),),
    names={"kind_words": WORDS, "usd": usd},
)
