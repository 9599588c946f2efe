from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from math import ceil

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.money import (
    MAX_NANO,
    NO_BILL,
    Bill,
    MoneyError,
    Price,
    checked,
    nano,
    usd,
    usd_json,
)
from ezkielyna.contract.usage import BUCKETS, Bucket, Usage

nanos = st.integers(-MAX_NANO, MAX_NANO)
rates = st.integers(0, 200_000_000_000)
counts = st.integers(0, 2_000_000)
items = st.lists(st.tuples(st.sampled_from(BUCKETS), counts, rates), max_size=12)
usages = st.builds(Usage, *[counts] * len(BUCKETS))
prices = st.builds(Price, st.just("v1"), st.dictionaries(st.sampled_from(BUCKETS), rates))


def exact(lines: list[tuple[Bucket, int, int]]) -> Fraction:
    """Return the cost as a fraction, as a customer would compute it."""
    per = {"images": 1}
    return sum(
        (Fraction(count * rate, per.get(bucket, 1_000_000)) for bucket, count, rate in lines),
        Fraction(),
    )


@given(nanos)
def test_usd_and_back_is_the_same_amount(amount: int) -> None:
    assert nano(usd(amount)) == amount
    assert nano(usd(amount, 0)) == amount
    assert nano(orjson.dumps(usd_json(amount)).decode()) == amount


@given(st.decimals(-1_000_000, 1_000_000, places=9))
def test_nano_agrees_with_decimal_arithmetic(amount: Decimal) -> None:
    assert nano(amount) == int((amount * 10**9).to_integral_value(ROUND_CEILING))


@given(st.decimals(0, 1000, places=12).filter(lambda d: d % Decimal("0.000000001") != 0))
def test_more_than_nine_decimals_are_refused(amount: Decimal) -> None:
    with pytest.raises(MoneyError):
        nano(amount)


@pytest.mark.parametrize(
    "text",
    ["", "five", "NaN", "Infinity", "-inf", "1e400", "1e-400", "9223372036.854775808", "1,5"],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        nano(text)


def test_floats_are_refused() -> None:
    with pytest.raises(MoneyError):
        nano(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (1_500_000_000, "1.50"),
        (-12_345_678_901, "-12.345678901"),
        (MAX_NANO, "9223372036.854775807"),
    ],
)
def test_usd_is_exact_and_has_two_decimals(amount: int, text: str) -> None:
    assert usd(amount) == text


def test_an_amount_beyond_an_int64_is_refused() -> None:
    assert checked(MAX_NANO) == MAX_NANO
    assert checked(-MAX_NANO) == -MAX_NANO
    for amount in (MAX_NANO + 1, -MAX_NANO - 1):
        with pytest.raises(MoneyError):
            checked(amount)


@given(items)
def test_a_bill_is_the_exact_sum_rounded_up_once(lines: list[tuple[Bucket, int, int]]) -> None:
    bill = Bill.of(lines)
    assert bill.cost == ceil(exact(lines))
    assert sum(line.amount for line in bill.lines) == bill.cost
    assert all(line.amount >= 0 for line in bill.lines)


@given(items)
def test_a_bill_can_be_computed_again_from_its_lines(lines: list[tuple[Bucket, int, int]]) -> None:
    bill = Bill.of(lines)
    assert Bill.of([(line.bucket, line.quantity, line.rate) for line in bill.lines]) == bill


@given(items, items)
def test_one_bill_is_never_dearer_than_two(
    first: list[tuple[Bucket, int, int]], second: list[tuple[Bucket, int, int]]
) -> None:
    together = Bill.of(first + second).cost
    apart = Bill.of(first).cost + Bill.of(second).cost
    assert apart - 1 <= together <= apart


@given(prices, usages)
def test_a_price_bills_every_token_once(price: Price, usage: Usage) -> None:
    bill = price.bill(usage)
    billed = {line.bucket: line.quantity for line in bill.lines}
    assert billed == {bucket: count for bucket, count in usage.quantities() if count}
    assert all(line.rate == price.rate(line.bucket) for line in bill.lines)


@given(prices, usages, st.sampled_from(BUCKETS), st.integers(1, 1000))
def test_more_usage_never_costs_less(price: Price, usage: Usage, bucket: Bucket, more: int) -> None:
    larger = Usage(**{b: n + (more if b == bucket else 0) for b, n in usage.quantities()})  # type: ignore[arg-type]
    assert price.bill(larger).cost >= price.bill(usage).cost


@given(usages)
def test_free_is_an_explicit_zero(usage: Usage) -> None:
    price = Price("v1", {"input": 0, "output": 0})
    assert price.free
    assert price.bill(usage).cost == 0
    assert not Price("v1", {"input": 1}).free


def test_a_bucket_without_a_rate_is_billed_as_what_it_refines() -> None:
    price = Price("v1", {"input": 5, "output": 9, "cached_input": 1})
    assert price.rate("cached_input") == 1
    assert price.rate("cache_write") == price.rate("audio_in") == 5
    assert price.rate("reasoning") == price.rate("audio_out") == 9
    assert price.rate("images") == 0


def test_an_image_is_billed_by_the_piece() -> None:
    price = Price("v1", {"images": 40_000_000})
    assert price.bill(Usage(images=3)).cost == 120_000_000


def test_nothing_used_is_no_bill() -> None:
    assert Price("v1", {"input": 5}).bill(Usage()) == NO_BILL._replace(version="v1")


def test_less_than_nothing_cannot_be_billed() -> None:
    with pytest.raises(AssertionError):
        Bill.of([("input", -1, 5)])
