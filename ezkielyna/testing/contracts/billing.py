"""What every billing policy promises, as tests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.money import MAX_NANO, Bill
from ezkielyna.contract.requests import ImageRequest
from ezkielyna.contract.usage import Bucket, Usage
from ezkielyna.testing.requests import make_context, make_request

PRICES: tuple[dict[Bucket, int], ...] = (
    {"input": 2_500_000_000, "output": 10_000_000_000},
    {"input": 1, "output": 1},
    {"input": 0, "output": 0},
    {"input": 100, "cached_input": 10, "cache_write": 125, "output": 400, "audio_out": 900},
    {"images": 40_000_000},
)
CASES = 60


class BillingPolicyContract:
    """Subclass it and name your policy; `settings` are those that it is tested with."""

    policy: ClassVar[type[BillingPolicy]]
    settings: ClassVar[Mapping[str, Any]] = {}

    def make(self) -> BillingPolicy:
        """Return the policy as a configuration makes it."""
        return self.policy(self.policy.Settings.model_validate(dict(self.settings)))

    def test_kind_is_a_word(self) -> None:
        assert self.policy.kind
        assert not set(self.policy.kind) & set(" \t\n.\"'[]")

    def test_settings_refuse_what_they_do_not_know(self) -> None:
        with pytest.raises(ValidationError):
            self.policy.Settings.model_validate({**self.settings, "no_such_setting": 1})

    def test_settings_are_described(self) -> None:
        fields = self.policy.Settings.model_fields
        assert not [name for name, field in fields.items() if not field.description]

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_the_quote_covers_every_bill_within_its_bounds(self, rates: dict[Bucket, int]) -> None:
        policy = self.make()
        for ctx, usage in cases(rates):
            quote, bill = policy.quote(ctx), policy.price(ctx, usage)
            assert quote >= bill.cost, f"quoted {quote} for {ctx}, billed {bill.cost} for {usage}"

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_bills_add_up(self, rates: dict[Bucket, int]) -> None:
        policy = self.make()
        for ctx, usage in cases(rates):
            check_bill(policy.price(ctx, usage))

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_a_bill_can_be_computed_again(self, rates: dict[Bucket, int]) -> None:
        policy = self.make()
        for ctx, usage in cases(rates):
            bill = policy.price(ctx, usage)
            known = {price.version: price for price in policy.prices(ctx.model)}
            if bill.version:
                assert known[bill.version].bill(usage) == bill

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_policies_are_pure(self, rates: dict[Bucket, int]) -> None:
        one, other = self.make(), self.make()
        for ctx, usage in cases(rates):
            assert one.price(ctx, usage) == one.price(ctx, usage) == other.price(ctx, usage)
            assert one.quote(ctx) == one.quote(ctx) == other.quote(ctx)

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_more_output_is_never_quoted_less(self, rates: dict[Bucket, int]) -> None:
        policy, before = self.make(), 0
        for bound in (0, 1, 2, 10, 999, 1_000, 1_001, 50_000, 128_000):
            quote = policy.quote(make_context(rates=rates, output_bound=bound))
            assert quote >= before, "streams extend what they reserved: it may only grow"
            before = quote

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_more_input_is_never_quoted_less(self, rates: dict[Bucket, int]) -> None:
        policy, before = self.make(), 0
        for bound in (0, 1, 2, 10, 1_000, 50_000, 128_000):
            quote = policy.quote(make_context(rates=rates, input_bound=bound))
            assert quote >= before
            before = quote

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_money_is_whole_nano_dollars(self, rates: dict[Bucket, int]) -> None:
        policy = self.make()
        for ctx, usage in cases(rates):
            amounts = [policy.quote(ctx), policy.price(ctx, usage).cost]
            assert all(type(amount) is int and 0 <= amount <= MAX_NANO for amount in amounts)

    @pytest.mark.parametrize("rates", PRICES, ids=str)
    def test_the_context_is_not_changed(self, rates: dict[Bucket, int]) -> None:
        policy = self.make()
        for ctx, usage in cases(rates):
            before = repr(ctx)
            policy.quote(ctx)
            policy.price(ctx, usage)
            assert repr(ctx) == before

    def test_images_are_quoted(self) -> None:
        policy = self.make()
        rates: dict[Bucket, int] = {"images": 40_000_000}
        for number in (1, 3, 10):
            request = make_request(ImageRequest, n=number)
            ctx = make_context(request=request, rates=rates, output_bound=0)
            assert policy.quote(ctx) >= policy.price(ctx, Usage(images=number)).cost


def cases(rates: dict[Bucket, int]) -> Iterator[tuple[RequestContext, Usage]]:
    """Yield contexts, and usage within their bounds, the same ones at every run."""
    dice = random.Random(20261122)  # noqa: S311 - nothing secret
    yield make_context(rates=rates, input_bound=0, output_bound=0), Usage()
    for _ in range(CASES):
        going_in, coming_out = dice.randint(0, 200_000), dice.randint(0, 20_000)
        ctx = make_context(rates=rates, input_bound=going_in, output_bound=coming_out)
        parts = split(going_in, 4, dice), split(coming_out, 3, dice)
        (fresh, cached, written, heard), (said, thought, spoken) = parts
        yield (
            ctx,
            Usage(
                input=fresh,
                cached_input=cached,
                cache_write=written,
                audio_in=heard,
                output=said,
                reasoning=thought,
                audio_out=spoken,
                images=dice.randint(0, 1) if "images" in rates else 0,
            ),
        )


def split(most: int, parts: int, dice: random.Random) -> list[int]:
    """Return so many numbers whose sum is no more than `most`."""
    found = []
    for _ in range(parts):
        found.append(dice.randint(0, most))
        most -= found[-1]
    return found


def check_bill(bill: Bill) -> None:
    """Assert that a customer can compute a bill from its lines."""
    assert sum(line.amount for line in bill.lines) == bill.cost
    for line in bill.lines:
        assert line.quantity > 0
        assert line.rate >= 0
        assert line.amount >= 0
