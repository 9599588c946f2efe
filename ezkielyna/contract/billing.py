"""Billing policy: says what a request costs. Only the core moves money."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from ezkielyna.contract.context import Model, RequestContext
from ezkielyna.contract.money import Bill, Nano, Price
from ezkielyna.contract.usage import Usage


class BillingSettings(BaseModel):
    """The settings of a billing policy; a kind adds fields by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BillingPolicy(ABC):
    """Prices usage. Pure: the same context and usage always give the same bill.

    One object is made of every `[billing.NAME]` table, and one without settings of its own for a
    kind that a plan names itself.
    """

    kind: ClassVar[str]
    """The word that `[billing.NAME] kind = …` or `[plans.NAME] billing = …` selects."""

    resells: ClassVar[bool] = False
    """True where the catalogue's prices are what upstreams charge, and the policy adds to them.

    Operators then see them as the cost of models that say none themselves.
    """

    class Settings(BillingSettings):
        """The settings of this kind; `extra="forbid"` names a misspelt key at start-up."""

    def __init__(self, settings: BillingSettings | None = None) -> None:
        self.settings = settings or self.Settings()

    @abstractmethod
    def quote(self, ctx: RequestContext) -> Nano:
        """Return the most this request may cost, from the context's bounds."""

    @abstractmethod
    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        """Return the bill for this usage, line by line; `Price.bill` makes one."""

    def prices(self, model: Model) -> Iterable[Price]:
        """Return every price that bills of this model can be made at.

        They are kept with the usage, so that a bill which names its price's version can be computed
        again for ever. By default the catalogue's.
        """
        return (model.price,)
