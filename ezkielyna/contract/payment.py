"""Payment method: brings money in from outside."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar


class PaymentMethod(ABC):
    """Starts a top-up, verifies a notification, names a payment once."""

    kind: ClassVar[str]
    """The word that the ledger's `top-up:<kind>:<payment id>` entries carry."""
