"""Billing policy: says what a request costs. Only the core moves money."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Usage


class BillingPolicy(ABC):
    """Prices usage. Pure: the same context and usage always give the same bill."""

    kind: ClassVar[str]
    """The word that `[plans.NAME] billing = …` selects."""

    @abstractmethod
    def quote(self, ctx: RequestContext) -> Nano:
        """Return the most this request may cost, from the context's bounds."""

    @abstractmethod
    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        """Return the bill for this usage, line by line."""
