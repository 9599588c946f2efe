"""The billing policy `per-token`: the catalogue's price for every bucket of usage."""

from __future__ import annotations

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.money import Bill, Nano
from ezkielyna.contract.usage import Usage


class PerToken(BillingPolicy):
    """Every bucket at the model's own rate; images by the piece where they are sold so."""

    kind = "per-token"

    def quote(self, ctx: RequestContext) -> Nano:
        """Return the price of usage at the context's bounds, all of it at the worst rate.

        It is at least the price of every usage with `input_total <= input_bound`,
        `output_total <= output_bound` and `images <= choices`.
        """
        images = ctx.request.choices()
        return ctx.model.price.most(ctx.input_bound, ctx.output_bound, images)

    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        """Return the bill at the price that the context carries."""
        return ctx.model.price.bill(usage)
