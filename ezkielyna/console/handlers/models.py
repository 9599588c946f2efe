"""Models and prices: what there is, what it costs, and what a request of some size would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from ezkielyna.console.measured import DAYS, NO_PACE
from ezkielyna.console.page import Page
from ezkielyna.console.topic import Entry, Topic
from ezkielyna.contract.context import Model
from ezkielyna.contract.money import usd
from ezkielyna.contract.usage import Usage

MOST_TOKENS = 100_000_000
UNPRICED = 2**62
"""Where models without such a price stand when prices are sorted."""

ORDERS: dict[str, Callable[[Model], Any]] = {
    "name": lambda model: model.name,
    "context": lambda model: -model.context,
    "input": lambda model: model.price.rates.get("input", UNPRICED),
    "output": lambda model: model.price.rates.get("output", UNPRICED),
}


@dataclass(frozen=True, slots=True)
class View:
    """What somebody asked to see; all of it is in the address.

    `text` is searched in names, `owner` is who made the model, empty for all. `tokens_in` and
    `tokens_out` are the size of a request to price; both None for none.
    """

    text: str = ""
    owner: str = ""
    order: str = "name"
    tokens_in: int | None = None
    tokens_out: int | None = None

    @property
    def prices(self) -> bool:
        """True when a request is to be priced."""
        return self.tokens_in is not None or self.tokens_out is not None

    def link(self, **changes: Any) -> str:
        """Return the address of this view with something else in it."""
        view = replace(self, **changes)
        asked = {
            "q": view.text,
            "owner": view.owner,
            "sort": "" if view.order == "name" else view.order,
            "in": view.tokens_in,
            "out": view.tokens_out,
        }
        query = urlencode({name: value for name, value in asked.items() if value not in ("", None)})
        return f"/models?{query}" if query else "/models"

    def shows(self, model: Model) -> bool:
        """True when this model is among what was asked for."""
        wanted = self.text.lower()
        named = wanted in model.name.lower() or wanted in model.display_name.lower()
        return named and self.owner in ("", model.owned_by)

    def cost(self, model: Model) -> str:
        """Return what the request costs with a model, exactly; empty where tokens have no price."""
        if "input" not in model.price.rates and "output" not in model.price.rates:
            return ""
        usage = Usage(input=self.tokens_in or 0, output=self.tokens_out or 0)
        return f"${usd(model.price.bill(usage).cost)}"


class ModelsPage(Page):
    """Every model with its price; needs no log-in."""

    async def get(self) -> None:
        """Show what was asked for."""
        view = self._view()
        every: Sequence[Model] = list(self.console.models.values())
        known = self.console.settings.models
        self.render(
            "models.html",
            title="Models and prices",
            view=view,
            models=sorted(filter(view.shows, every), key=ORDERS[view.order]),
            total=len(every),
            owners=sorted({model.owned_by for model in every}),
            priced_on={name: model.priced_on for name, model in known.items()},
            paces=await self.console.measured.paces(),
            measured_days=DAYS,
        )

    def _view(self) -> View:
        order = self.get_query_argument("sort", "name")
        return View(
            text=self.get_query_argument("q", "")[:100],
            owner=self.get_query_argument("owner", "")[:100],
            order=order if order in ORDERS else "name",
            tokens_in=self._tokens("in"),
            tokens_out=self._tokens("out"),
        )

    def _tokens(self, name: str) -> int | None:
        """Return a number of tokens; what is none is said beside its field."""
        text = self.get_query_argument(name, "").replace(",", "").replace("_", "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit()) or int(text[:20]) > MOST_TOKENS:
            self.errors[name] = "a whole number of tokens, such as 1000"
            return None
        return int(text)


TOPIC = Topic(
    routes=((r"/models", ModelsPage),),
    menu=(Entry(70, "Models", "/models", "cube", public=True),),
    names={"no_pace": NO_PACE},
)
