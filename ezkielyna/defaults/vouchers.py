"""Vouchers: codes that an operator makes on the command line and a customer redeems once.

A code has 100 bits of entropy, written in 20 characters that cannot be mistaken for one another.
What is stored is an HMAC of it: who steals the database has no codes. That a voucher is redeemed
once needs no mark on it: its HMAC is the payment id that its credit is keyed on.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from ezkielyna.contract.money import Nano
from ezkielyna.contract.payment import (
    Continuation,
    Desk,
    Order,
    PaymentEvent,
    PaymentMethod,
    PaymentRefused,
)

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O and U; the first three are read as the digits they look like."""

LENGTH = 20
GROUP = 5
LONGEST_INPUT = 100
KIND = "voucher"

_READ_AS = str.maketrans("ILO", "110", "- \t\r\n")


class Vouchers(PaymentMethod):
    """Pays with a code instead of money."""

    kind = KIND
    title = "Voucher"
    asks_for = "Voucher code"

    async def start(self, order: Order) -> Continuation | PaymentEvent:
        """Return what the code is worth; raises PaymentRefused for an unknown or expired one."""
        code = normalised(order.code)
        name = _fingerprint(self.desk, code)
        voucher = await self.desk.recall(name) if code else None
        if voucher is None:
            raise PaymentRefused("There is no such voucher. Check the code, it has 20 characters.")
        now = datetime.now(UTC)
        if voucher["expires_at"] is not None and voucher["expires_at"] <= now.timestamp():
            day = datetime.fromtimestamp(voucher["expires_at"], UTC).date()
            raise PaymentRefused(f"This voucher expired on {day}. Ask whoever gave it to you.")
        amount = int(voucher["amount"])
        return PaymentEvent("paid", order.id, name, amount, order.currency, now)

    async def verify(self, body: bytes, headers: Mapping[str, str]) -> PaymentEvent | None:
        """Refuse everything: nobody notifies of vouchers."""
        raise PaymentRefused("vouchers have no notifications")


async def create_voucher(desk: Desk, amount: Nano, expires_at: datetime | None) -> str:
    """Make a voucher and return its code, which is kept nowhere."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    ends = None if expires_at is None else int(expires_at.timestamp())
    made = await desk.remember(
        _fingerprint(desk, code), {"amount": amount, "expires_at": ends, "hint": code[-GROUP:]}
    )
    assert made, "100 bits came twice"
    return "-".join(code[start : start + GROUP] for start in range(0, LENGTH, GROUP))


def normalised(text: str) -> str:
    """Return a code as it was made, from however it was typed; "" for what can be none."""
    code = text[:LONGEST_INPUT].upper().translate(_READ_AS)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else ""


def _fingerprint(desk: Desk, code: str) -> str:
    return hmac.digest(desk.key, code.encode(), "sha256")[:16].hex()
