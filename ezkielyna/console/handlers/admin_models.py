"""Operators: what every model is sold for, what it costs, and since when. Read-only.

Prices live in the configuration, which is reviewed and loaded at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tornado.web import HTTPError

from ezkielyna.console.formats import money
from ezkielyna.console.handlers.admin import OperatorPage
from ezkielyna.console.margins import percent
from ezkielyna.console.topic import Topic
from ezkielyna.contract.context import Model
from ezkielyna.contract.money import Price
from ezkielyna.contract.usage import Bucket
from ezkielyna.settings.model import RATE_KEYS
from ezkielyna.storage.price_changes import PriceChange, history

LISTED: Sequence[Bucket] = ("input", "output", "images")
"""The rates by which models are compared."""

RATE_NAMES = {bucket: key.replace("_", " ").capitalize() for key, bucket in RATE_KEYS.items()}


@dataclass(frozen=True, slots=True)
class Offer:
    """A model with its prices by plan, what it costs where that is known, and its past prices."""

    model: Model
    sold: dict[str, tuple[Price, ...]]
    cost: Price | None
    changes: Sequence[PriceChange]

    @property
    def since(self) -> datetime | None:
        """When a process first sold it at the catalogue's price of today."""
        newest = self.changes[0] if self.changes else None
        same = newest is not None and newest.price.version == self.model.price.version
        return newest.at if newest is not None and same else None

    @property
    def prices(self) -> list[Price]:
        """All that it is sold for."""
        return [price for prices in self.sold.values() for price in prices]

    @property
    def below_cost(self) -> bool:
        """True when anything that it takes or gives may be sold for less than it costs."""
        cost = self.cost
        return cost is not None and any(
            price.rate(bucket) < cost.rate(bucket) for price in self.prices for bucket in RATE_NAMES
        )

    def shows(self, wanted: str) -> bool:
        """True when a text is in one of its names, or its provider's."""
        model = self.model
        return any(
            wanted in name.lower() for name in (model.name, model.provider, model.upstream_model)
        )


class Models(OperatorPage):
    """Every model, or with `name` one of them."""

    async def get(self) -> None:
        """Show what the address asks for."""
        offers = {offer.model.name: offer for offer in await self._offers()}
        name = self.get_query_argument("name", "")
        if name:
            self._one(offers, name)
            return
        sought = self.get_query_argument("q", "").strip()[:100]
        self.render(
            "admin-models.html",
            title="Models and prices",
            sought=sought,
            offers=[offer for offer in offers.values() if offer.shows(sought.lower())],
            total=len(offers),
            listed=LISTED,
        )

    def _one(self, offers: dict[str, Offer], name: str) -> None:
        if name not in offers:
            raise HTTPError(404)
        settings = self.console.settings
        self.render(
            "admin-model.html",
            title=name,
            offer=offers[name],
            origin=settings.origin("models", name, *_first_rate(offers[name].model.price)),
            own_cost=settings.models[name].cost is not None,
            priced_on=settings.models[name].priced_on,
        )

    async def _offers(self) -> list[Offer]:
        console = self.console
        changes = await history(console.database)
        plans = {
            name: console.office.policies[plan.billing] for name, plan in console.plans.items()
        }
        return [
            Offer(
                model,
                {
                    name: tuple(policy.prices(model))
                    for name, policy in plans.items()
                    if console.plans[name].allows(model.name)
                },
                console.costs.get(model.name),
                changes.get(model.name, ()),
            )
            for model in console.models.values()
        ]


def _first_rate(price: Price) -> tuple[str, ...]:
    """Return a key of the model's table, which tells best in which file its price is."""
    return tuple(key for key, bucket in RATE_KEYS.items() if bucket in price.rates)[:1]


def rate_range(prices: Iterable[Price], bucket: Bucket) -> str:
    """Return what something is sold for, in dollars; nothing where it is not sold."""
    rates = sorted({price.rate(bucket) for price in prices if _sells(price, bucket)})
    if not rates:
        return ""
    return money(rates[0]) if len(rates) == 1 else f"{money(rates[0])} to {money(rates[-1])}"


def margin_range(prices: Iterable[Price], cost: Price | None, bucket: Bucket) -> str:
    """Return what is left of a rate after its cost, in per cent; nothing where it is not known."""
    if cost is None:
        return ""
    rates = sorted({price.rate(bucket) for price in prices if price.rate(bucket)})
    shares = [percent(rate - cost.rate(bucket), rate) for rate in rates]
    return " to ".join(dict.fromkeys((shares[0], shares[-1]))) if shares else ""


def _sells(price: Price, bucket: Bucket) -> bool:
    return bucket in price.rates or (bucket != "images" and bool(price.rate(bucket)))


TOPIC = Topic(
    routes=((r"/admin/models", Models),),
    names={"margin_range": margin_range, "rate_names": RATE_NAMES, "rate_range": rate_range},
)
