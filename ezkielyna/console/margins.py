"""What upstreams charge, as far as the configuration says it, and what is left of what was billed.

A model's own table `cost` says it. Without one the catalogue's price does where a plan's billing
policy takes it for that (`BillingPolicy.resells`). Otherwise nobody knows, and no margin is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import Model, Plan
from ezkielyna.contract.money import Bill, Nano, Price
from ezkielyna.contract.usage import BUCKETS
from ezkielyna.ledger.series import Line
from ezkielyna.settings import Settings
from ezkielyna.storage.usage import Sums

Costs = Mapping[str, Price]
"""What upstreams charge, by the public names of models; those of unknown cost are left out."""


def costs(
    settings: Settings,
    models: Mapping[str, Model],
    plans: Mapping[str, Plan],
    policies: Mapping[str, BillingPolicy],
) -> Costs:
    """Return what is known of the costs of these models."""
    resold = any(policies[plan.billing].resells for plan in plans.values())
    known: dict[str, Price] = {}
    for name, model in models.items():
        own = settings.models[name].cost
        if own is not None:
            known[name] = own.price
        elif resold:
            known[name] = model.price
    return known


@dataclass(slots=True)
class Earned:
    """What some requests brought. `known` is the part of `revenue` whose cost is known."""

    name: str = ""
    sums: Sums = field(default_factory=Sums)
    known: Nano = 0
    cost: Nano = 0
    costed: bool = False
    """True when the cost of anything in it is known."""

    @property
    def revenue(self) -> Nano:
        """What was billed."""
        return self.sums.cost

    @property
    def margin(self) -> Nano | None:
        """What is left of what was billed, where the cost is known; None where it never is."""
        return self.known - self.cost if self.costed else None

    @property
    def share(self) -> str:
        """The margin in per cent of what was billed; nothing where there is none to speak of."""
        margin = self.margin
        if margin is None or not self.known:
            return ""
        return percent(margin, self.known)

    def add(self, model: str, sums: Sums, costs: Costs) -> None:
        """Add what requests for a model brought."""
        self.sums.add(sums)
        price = costs.get(model)
        if price is None:
            return
        self.costed = True
        self.known += sums.cost
        self.cost += Bill.of((b, sums.tokens.get(b, 0), price.rate(b)) for b in BUCKETS).cost


def earned(
    lines: Iterable[Line], costs: Costs, providers: Mapping[str, str]
) -> tuple[Earned, list[Earned], list[Earned]]:
    """Return what was earned in all, by provider and by model, the largest first.

    `providers` says which provider serves a model; what is not sold any more is under "".
    """
    whole = Earned()
    by_provider: dict[str, Earned] = {}
    by_model: list[Earned] = []
    for line in lines:
        one = Earned(line.value)
        name = providers.get(line.value, "")
        for part in (whole, by_provider.setdefault(name, Earned(name)), one):
            part.add(line.value, line.total, costs)
        by_model.append(one)
    return whole, sorted(by_provider.values(), key=_weight), sorted(by_model, key=_weight)


def percent(part: Nano, whole: Nano) -> str:
    """Return a share as people read it: `16.7 %`, `80 %`."""
    tenths = round(1000 * part / whole)
    sign = "\N{MINUS SIGN}" if tenths < 0 else ""
    units, rest = divmod(abs(tenths), 10)
    return f"{sign}{units:,}.{rest} %" if rest else f"{sign}{units:,} %"


def _weight(one: Earned) -> tuple[Nano, int, str]:
    return -one.revenue, -one.sums.requests, one.name
