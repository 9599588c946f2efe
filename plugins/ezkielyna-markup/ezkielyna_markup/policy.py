"""The policy: prices of a model by volume, made once, and bills at them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from ezkielyna import (
    Bill,
    BillingPolicy,
    BillingSettings,
    Bucket,
    Model,
    Nano,
    Price,
    RequestContext,
    Usage,
    nano,
)

PERCENT_PLACES = 6
WHOLE = 100 * 10**PERCENT_PLACES


def _amount(value: Any) -> Any:
    """Return nano-dollars for an amount of USD as TOML gives it; a Nano is an int, as USD is."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be an amount of USD, such as 0.05")  # noqa: TRY004 - pydantic's
    amount = nano(value)
    if amount < 0:
        raise ValueError("must not be negative")
    return amount


Usd = Annotated[Nano, BeforeValidator(_amount)]
"""An amount of USD in the file, exact nano-dollars here."""

Percent = Annotated[Decimal, Field(ge=0, le=100_000, decimal_places=PERCENT_PLACES)]


class Amounts(BillingSettings):
    """What is added to a price."""

    percent: Percent = Field(Decimal(0), description="on every rate of a model")
    per_million: Usd = Field(0, description="USD added to every rate per million tokens")
    per_image: Usd = Field(0, description="USD added to every image")

    def on(self, price: Price) -> Price:
        """Return a price with these amounts on all rates that are not 0, rounded up."""
        scale = WHOLE + int(self.percent.scaleb(PERCENT_PLACES))
        rates: dict[Bucket, int] = {}
        for bucket, rate in price.rates.items():
            fixed = self.per_image if bucket == "images" else self.per_million
            rates[bucket] = -(-rate * scale // WHOLE) + fixed if rate else 0
        return Price.of(rates)


class Tier(Amounts):
    """What is added instead for a request of at least so many tokens."""

    tokens: int = Field(gt=0, description="tokens in and out")


class Markup(Amounts):
    """What is added, and what is added to large requests."""

    tiers: tuple[Tier, ...] = Field((), description="instead, by the tokens of a request")

    @model_validator(mode="after")
    def _tiers_differ(self) -> Markup:
        if len({tier.tokens for tier in self.tiers}) < len(self.tiers):
            raise ValueError("two tiers begin at the same number of tokens")
        return self


class MarkupPolicy(BillingPolicy):
    """The catalogue's price with a markup; by the piece where a model is sold so."""

    kind = "markup"
    resells = True

    class Settings(Markup):
        """`[billing.NAME]` with `kind = "markup"`."""

        models: dict[str, Markup] = Field(
            default_factory=dict, description="instead, by names or prefix patterns of models"
        )

    settings: Settings

    def __init__(self, settings: BillingSettings | None = None) -> None:
        super().__init__(settings)
        self._prices: dict[tuple[str, str], tuple[tuple[int, Price], ...]] = {}

    def quote(self, ctx: RequestContext) -> Nano:
        """Return the dearest of the prices that a request within its bounds can reach."""
        bound, images = ctx.input_bound + ctx.output_bound, ctx.request.choices()
        return max(
            price.most(ctx.input_bound, ctx.output_bound, images)
            for tokens, price in self._tiers(ctx.model)
            if tokens <= bound
        )

    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        """Return the bill at the price of the usage's tier."""
        total = usage.total
        for tokens, price in self._tiers(ctx.model):
            if tokens <= total:
                return price.bill(usage)
        raise AssertionError("the last tier begins at 0 tokens")

    def prices(self, model: Model) -> Iterable[Price]:
        """Return the prices of all tiers."""
        return [price for _, price in self._tiers(model)]

    def _tiers(self, model: Model) -> tuple[tuple[int, Price], ...]:
        """Return a model's prices and from how many tokens on each is in force, largest first.

        What is kept follows from the settings and the catalogue alone.
        """
        key = model.name, model.price.version
        prices = self._prices.get(key)
        if prices is None:
            markup = self._markup(model.name)
            tiers = sorted(markup.tiers, key=lambda tier: -tier.tokens)
            prices = (
                *((tier.tokens, tier.on(model.price)) for tier in tiers),
                (0, markup.on(model.price)),
            )
            self._prices[key] = prices
        return prices

    def _markup(self, model: str) -> Markup:
        """Return what is added to a model: by its name, its longest prefix, or for all."""
        patterns = self.settings.models
        if model in patterns:
            return patterns[model]
        fitting = [p for p in patterns if p.endswith("*") and model.startswith(p[:-1])]
        return patterns[max(fitting, key=len)] if fitting else self.settings
