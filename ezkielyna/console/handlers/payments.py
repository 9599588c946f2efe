"""Payments: what became of one, its receipt, and the door at which providers notify."""

from __future__ import annotations

from urllib.parse import urlsplit

from tornado.web import HTTPError

from ezkielyna.console.page import POLICY, AccountPage, Page
from ezkielyna.console.topic import Topic
from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.payment import Continuation, PaymentRefused
from ezkielyna.storage import payments as stored
from ezkielyna.storage.payments import Payment

PAGE = 25
MOST_PAGES = 10_000
MAX_NOTIFICATION = 512 * 1024


def payment_state(payment: Payment) -> tuple[str, str]:
    """Return the state of a payment as a word, and the kind of its badge."""
    if payment.state == "paid" and payment.refunded:
        return "partly refunded", "plain"
    return payment.state, {"paid": "good", "processing": "note", "failed": "bad"}.get(
        payment.state, "plain"
    )


class PaymentPage(AccountPage):
    """A page about one payment of this account."""

    async def payment(self, payment_id: str) -> Payment:
        """Return it; another account's is as missing as none."""
        return await stored.read(self.console.database, payment_id, account=self.account.id)

    def pretends(self, payment: Payment) -> bool:
        """True where no real money came in."""
        method = self.console.payments.methods.get(payment.method)
        return method is not None and method.pretends

    def label(self, payment: Payment) -> str:
        """Return the name of the method, which may not be configured any more."""
        method = self.console.payments.methods.get(payment.method)
        return method.label if method is not None else payment.method


class ShowPayment(PaymentPage):
    """Where a payment stands; with `?go=1` it sends the browser on to pay."""

    async def get(self, payment_id: str) -> None:
        """Show it. `payment.js` reloads the page when the state has changed.

        `?paid=1` is how a method marks the way back of who has paid.
        """
        payment = await self.payment(payment_id)
        processing = payment.state == "processing"
        way = payment.way if processing else None
        came_back = payment.tried_at is not None or bool(self.get_argument("paid", ""))
        if way is not None:
            self._allow(way)
        self.render(
            "payment.html",
            title=f"Payment {payment_state(payment)[0]}",
            payment=payment,
            way=way,
            target="" if way is None else self._target(way),
            waiting=processing and (came_back or way is None),
            label=self.label(payment),
            scripts=("payment.js",) if processing else (),
        )

    def _target(self, way: Continuation) -> str:
        """Return where the customer goes on; on this gateway by the name the browser knows."""
        own = f"{self.console.address}/"
        return f"/{way.url.removeprefix(own)}" if way.url.startswith(own) else way.url

    def _allow(self, way: Continuation) -> None:
        if way.fields:
            parts = urlsplit(way.url)
            target = f"form-action 'self' {parts.scheme}://{parts.netloc}"
            policy = POLICY.replace("form-action 'self'", target)
            self.set_header("Content-Security-Policy", policy)
        elif self.get_argument("go", ""):
            # A redirect would be an answer to our form, which only `form-action` hosts may get.
            self.set_header("Refresh", f"0;url={way.url}")


class PaymentState(PaymentPage):
    """The state alone, for `payment.js`."""

    async def get(self, payment_id: str) -> None:
        """Answer it as JSON."""
        payment = await self.payment(payment_id)
        self.set_header("Cache-Control", "no-store")
        self.write({"state": payment.state, "tried": payment.tried_at is not None})


class Receipt(PaymentPage):
    """What was paid, to print or to keep."""

    async def get(self, payment_id: str) -> None:
        """Show it; there is none of what was not paid."""
        payment = await self.payment(payment_id)
        if payment.paid_at is None:
            raise HTTPError(404, reason="There is no receipt: nothing was paid")
        self.render(
            "receipt.html",
            title="Receipt",
            payment=payment,
            label=self.label(payment),
            pretends=self.pretends(payment),
            contact=self.console.settings.accounts.contact,
        )


class AllPayments(AccountPage):
    """Every top-up, a page at a time."""

    async def get(self) -> None:
        """Show the page that is asked for."""
        text = self.get_argument("page", "1")
        number = int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= number <= MOST_PAGES:
            raise HTTPError(404)
        found = stored.of_account(
            self.console.database, self.account.id, skip=(number - 1) * PAGE, limit=PAGE + 1
        )
        payments = [payment async for payment in found]
        self.render(
            "payments.html",
            title="Top-ups",
            payments=payments[:PAGE],
            number=number,
            more=len(payments) > PAGE,
        )


class Notification(Page):
    """Takes what a provider says. Nothing here is believed that the method does not prove."""

    max_body = MAX_NOTIFICATION

    async def prepare(self) -> None:
        """Ask for no session and no token: providers have neither."""
        if len(self.request.body) > self.max_body:
            raise HTTPError(413)

    async def post(self, name: str) -> None:
        """Answer 200 for what was understood, 400 for what is refused, else "send it again"."""
        headers = {key.lower(): text for key, text in self.request.headers.items()}
        try:
            payment = await self.console.payments.notify(name, self.request.body, headers)
        except PaymentRefused as refused:
            self.set_status(400)
            self.set_header("Content-Type", "application/json")
            self.finish(InvalidRequest(str(refused)).body())
            return
        if payment is not None and self.request.headers.get("Sec-Fetch-Mode") == "navigate":
            # Some providers let the customer's browser carry the notification.
            self.see_other(f"/billing/payments/{payment.id}")
            return
        self.write({"status": "ignored" if payment is None else payment.state})


TOPIC = Topic(
    routes=(
        (r"/billing/payments", AllPayments),
        (r"/billing/payments/([0-9A-Za-z_]+)", ShowPayment),
        (r"/billing/payments/([0-9A-Za-z_]+)/state", PaymentState),
        (r"/billing/payments/([0-9A-Za-z_]+)/receipt", Receipt),
        (r"/payments/([0-9A-Za-z_-]+)/webhook", Notification),
    ),
    names={"payment_state": payment_state},
)
