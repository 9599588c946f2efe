"""The billing policy `per-token`: a quote is never less than the price."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.requests import ApiRequest, ImageRequest
from ezkielyna.contract.usage import BUCKETS, Bucket, Usage
from ezkielyna.defaults import PerToken
from ezkielyna.testing.requests import make_context, make_request

POLICY = PerToken()


def context(rates: dict[Bucket, int], request: ApiRequest, **bounds: Any) -> RequestContext:
    return make_context(request=request, rates=rates, **bounds)


def test_the_quote_takes_the_worst_rate_of_each_direction() -> None:
    rates: dict[Bucket, int] = {"input": 2_000_000, "cache_write": 3_000_000, "output": 8_000_000}
    ctx = context(rates, make_request(), input_bound=10, output_bound=5)
    assert POLICY.quote(ctx) == 10 * 3 + 5 * 8


def test_the_quote_is_rounded_up() -> None:
    ctx = context({"input": 1, "output": 0}, make_request(), input_bound=1, output_bound=9)
    assert POLICY.quote(ctx) == 1


def test_images_are_quoted_by_the_piece() -> None:
    ctx = context({"images": 40_000_000}, ImageRequest(model="m", prompt="p", n=3))
    assert POLICY.quote(ctx) == 120_000_000
    assert POLICY.price(ctx, Usage(images=2)).cost == 80_000_000


def test_free_costs_nothing() -> None:
    ctx = context({"input": 0, "output": 0}, make_request(), input_bound=10**6, output_bound=10**6)
    assert POLICY.quote(ctx) == 0
    assert POLICY.price(ctx, Usage(input=10**6, output=10**6)).cost == 0


def test_the_bill_is_the_catalogues() -> None:
    ctx = context({"input": 2_500_000_000, "output": 10_000_000_000}, make_request())
    bill = POLICY.price(ctx, Usage(input=1000, output=100, reasoning=50))
    assert bill.cost == 1000 * 2500 + 150 * 10_000
    assert [line.bucket for line in bill.lines] == ["input", "output", "reasoning"]


rate = st.integers(0, 200_000_000_000)
tokens = st.integers(0, 2_000_000)


@given(
    rates=st.dictionaries(st.sampled_from(BUCKETS), rate),
    quantities=st.fixed_dictionaries({bucket: tokens for bucket in BUCKETS if bucket != "images"}),
    images=st.integers(0, 10),
)
def test_a_quote_covers_every_usage_within_the_bounds(
    rates: dict[Bucket, int], quantities: dict[str, Any], images: int
) -> None:
    usage = Usage(**quantities, images=images)
    ctx = context(
        rates,
        make_request(n=max(1, images)),
        input_bound=usage.input_total,
        output_bound=usage.output_total,
    )
    assert POLICY.price(ctx, usage).cost <= POLICY.quote(ctx)
