"""Payment method: brings money in from outside. Only the core moves money.

The life of a top-up:

1. The customer chooses a method and an amount; the core records an order, state `processing`.
2. `start` says where the customer goes to pay; the core keeps that, so a closed tab is no loss.
3. The provider notifies `/payments/NAME/webhook`, any number of times and in any order.
4. `verify` says what an authentic notification means. The core compares it with the order (method,
   amount, currency) and credits `top-up:<kind>:<payment id>` once, whatever arrives again.

A method that asks for a code instead of an amount (a voucher) answers `start` with the event at
once, and nothing is ever sent to its webhook.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ezkielyna.contract.money import NANOS_PER_USD, Nano, nano

PaymentState = Literal["processing", "paid", "failed", "refunded"]

CENT: Nano = NANOS_PER_USD // 100


def _amount(value: Any) -> Any:
    """Return nano-dollars for an amount of USD as TOML gives it: more than 0, in whole cents."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be an amount of USD, such as 5.00")  # noqa: TRY004 - pydantic's
    amount = nano(value)
    if amount <= 0 or amount % CENT:
        raise ValueError("must be more than 0 and in whole cents")
    return amount


Usd = Annotated[Nano, BeforeValidator(_amount), Field(validate_default=True)]
"""An amount of USD in the file, exact nano-dollars here."""


class PaymentSettings(BaseModel):
    """What every payment method can be configured with; a kind adds fields by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    title: str = Field("", description="its name on the billing page; the kind's own when empty")
    least: Usd = Field(5, description="smallest top-up, in USD")
    most: Usd = Field(500, description="largest top-up, in USD")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError("least must not be more than most")
        return self


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer asked for; the core recorded it before it calls `start`.

    `id` is unique and never used again: give it to the provider as the idempotency key and as what
    comes back in notifications. `amount` is in nano-dollars, whole cents, and 0 where the method
    asks for a `code`. `page` is the absolute address to which the customer returns; with
    `?paid=1` it does not ask for the payment again. `webhook` is what the provider must notify.
    """

    id: str
    account: str
    email: str
    amount: Nano
    currency: str
    code: str
    page: str
    webhook: str


@dataclass(frozen=True, slots=True)
class Button:
    """A choice on the form that sends a customer on; `name` and `value` go with it."""

    label: str
    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where the customer goes to pay: to `url`, or with `fields` by a form that posts them there.

    `note` is a sentence shown above the link or the form. Without `buttons` there is one.
    """

    url: str
    fields: Mapping[str, str] = field(default_factory=dict)
    buttons: tuple[Button, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """What an authentic notification means.

    `payment_id` names the payment at the provider, once and for ever: with the method's kind it is
    what the credit is keyed on. It may be empty for `failed`, where nothing was ever paid.
    `amount` is that of the payment, or of this one refund; `refund_id` names the refund as
    `payment_id` names the payment. `currency` is ISO 4217 in small letters. `order` is `Order.id`
    as the provider gave it back. `at` is when it happened by the provider's clock: it orders
    `processing` and `failed`, which may arrive in any order. `reason` is shown to the customer.
    """

    state: PaymentState
    order: str
    payment_id: str
    amount: Nano
    currency: str
    at: datetime
    refund_id: str = ""
    reason: str = ""


class PaymentRefused(Exception):
    """The method, or the core, does not go on: nothing was credited.

    From `start` the message is shown to the customer; from `verify` it is logged, and the answer
    is 400. It must not quote what an attacker could have written.
    """


class Desk(Protocol):
    """What the core lends to a method: a key and a memory of its own, the same in every process."""

    @property
    def key(self) -> bytes:
        """32 bytes that no other kind has, derived from the server's secret."""

    async def remember(self, name: str, note: Mapping[str, str | int | None]) -> bool:
        """Keep a small note for ever; False where one of this name is kept already."""

    async def recall(self, name: str) -> Mapping[str, Any] | None:
        """Return the note of this name, None without one."""


class PaymentMethod(ABC):
    """Starts a top-up, verifies a notification, names a payment once. Moves no money.

    One object is made of every `[payments.NAME]` table, in every process. `start` and `verify` may
    wait for a network, but must not hold up the event loop: use an asynchronous client or a thread.
    Any number of them run at once.
    """

    kind: ClassVar[str]
    """The word that `[payments.NAME] kind = …` selects and `top-up:<kind>:<payment id>` carries."""

    title: ClassVar[str]
    """Its name on the billing page, unless the settings have another."""

    asks_for: ClassVar[str] = ""
    """The label of the code that the customer types instead of an amount; empty: an amount."""

    pretends: ClassVar[bool] = False
    """True where no real money comes in: the billing page says so, and `check` warns."""

    lasts_s: ClassVar[float | None] = None
    """How long an order can be paid, in seconds: it fails then. None where the provider tells."""

    class Settings(PaymentSettings):
        """The settings of this kind; `extra="forbid"` names a misspelt key at start-up."""

    desk: Desk

    def __init__(self, name: str, settings: PaymentSettings) -> None:
        self.name = name
        self.settings = settings

    @property
    def label(self) -> str:
        """Its name on the billing page."""
        return self.settings.title or self.title

    async def open(self, desk: Desk) -> None:
        """Get ready; awaited before the process accepts connections."""
        self.desk = desk

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of everything; awaited after the last request."""

    @abstractmethod
    async def start(self, order: Order) -> Continuation | PaymentEvent:
        """Return where the customer pays, or the event where the order is paid already.

        Calling it again with the same order must not make a second payment. Raises PaymentRefused
        with a sentence for the customer.
        """

    @abstractmethod
    async def verify(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        """Return what a notification means; None for one that is authentic and means nothing here.

        `headers` have names in small letters. Raises PaymentRefused for what is forged, stale or
        garbled. Any other error is answered with 500, so that the provider sends it again.
        """
