"""Billing with a markup: exact, never dearer than its quote, and as the configuration says."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna import RequestContext, Usage, nano
from ezkielyna.contract.usage import BUCKETS, Bucket
from ezkielyna.gateway.catalogue import Catalogue, build_catalogue
from ezkielyna.ledger.verify import verify
from ezkielyna.plugins import load_plugins
from ezkielyna.settings import SettingsRefused, load
from ezkielyna.storage import prices
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways, merged
from ezkielyna.testing.lab import post
from ezkielyna.testing.requests import make_context, make_request
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna_markup import MarkupPolicy

RATES: dict[Bucket, int] = {"input": 2_500_000_000, "output": 10_000_000_000}


def context(
    rates: dict[Bucket, int] = RATES, name: str = "m", images: int = 1, **bounds: Any
) -> RequestContext:
    request = make_request(model=name, n=images)
    return make_context(request=request, rates=rates, model=name, **bounds)


def policy(**table: Any) -> MarkupPolicy:
    return MarkupPolicy(MarkupPolicy.Settings.model_validate(table))


USED = Usage(input=1000, output=100)


@pytest.mark.parametrize(
    ("table", "cost"),
    [
        ({}, 3_500_000),
        ({"percent": 20}, 4_200_000),
        ({"percent": Decimal("12.5")}, 3_937_500),
        ({"per_million": "0.05"}, 3_555_000),
        ({"percent": 20, "per_million": "0.05"}, 4_255_000),
        ({"percent": 20, "tiers": [{"tokens": 1101, "percent": 1}]}, 4_200_000),
        ({"percent": 20, "tiers": [{"tokens": 1100, "percent": 1}]}, 3_535_000),
        ({"tiers": [{"tokens": 10, "percent": 50}, {"tokens": 1000, "percent": 10}]}, 3_850_000),
        ({"percent": 20, "models": {"m": {"percent": 100}}}, 7_000_000),
        ({"percent": 20, "models": {"m": {}}}, 3_500_000),
        ({"models": {"*": {"percent": 10}, "m*": {"percent": 20}}}, 4_200_000),
        ({"percent": 20, "models": {"other*": {"percent": 100}}}, 4_200_000),
    ],
)
def test_what_a_table_makes_of_a_price(table: dict[str, Any], cost: int) -> None:
    assert policy(**table).price(context(), USED).cost == cost


def test_free_stays_free() -> None:
    ctx = context({"input": 0, "output": 0}, input_bound=10**6, output_bound=10**6)
    marked = policy(percent=50, per_million=1, per_image=1)
    assert marked.quote(ctx) == 0
    assert marked.price(ctx, USED).cost == 0


def test_images_have_an_amount_of_their_own() -> None:
    ctx = context({"images": 40_000_000}, images=2)
    marked = policy(percent=10, per_million=5, per_image="0.002")
    assert marked.price(ctx, Usage(images=2)).cost == 2 * 46_000_000
    assert marked.quote(ctx) == 2 * 46_000_000


def test_what_may_cost_is_the_dearest_tier_in_reach() -> None:
    marked = policy(percent=20, tiers=[{"tokens": 2000, "percent": 100}])
    small = context(input_bound=1000, output_bound=100)
    assert marked.quote(small) == 4_200_000
    assert marked.quote(context(input_bound=1900, output_bound=100)) == 2 * (4_750_000 + 1_000_000)


rates = st.dictionaries(st.sampled_from(BUCKETS), st.integers(0, 200_000_000_000))
tokens = st.integers(0, 2_000_000)
percents = st.decimals(0, 1000, places=6)
fixed = st.integers(0, 10**12).map(lambda n: Decimal(n).scaleb(-9))
amounts = st.fixed_dictionaries({"percent": percents, "per_million": fixed, "per_image": fixed})
tiers = st.dictionaries(st.integers(1, 4_000_000), amounts, max_size=3).map(
    lambda found: [{"tokens": n, **amount} for n, amount in found.items()]
)


@given(
    rates=rates,
    quantities=st.fixed_dictionaries({bucket: tokens for bucket in BUCKETS if bucket != "images"}),
    images=st.integers(1, 10),
    spare=st.tuples(tokens, tokens),
    amount=amounts,
    tiers=tiers,
)
def test_a_quote_covers_every_usage_and_a_bill_computes_again(
    rates: dict[Bucket, int],
    quantities: dict[str, Any],
    images: int,
    spare: tuple[int, int],
    amount: dict[str, Any],
    tiers: list[dict[str, Any]],
) -> None:
    usage = Usage(**quantities, images=images)
    ctx = context(
        rates,
        images=images,
        input_bound=usage.input_total + spare[0],
        output_bound=usage.output_total + spare[1],
    )
    marked = policy(**amount, tiers=tiers)
    bill = marked.price(ctx, usage)
    assert bill.cost <= marked.quote(ctx)
    exact = sum(
        Fraction(line.quantity * line.rate, 1 if line.bucket == "images" else 10**6)
        for line in bill.lines
    )
    assert bill.cost == -(-exact // 1)
    assert sum(line.amount for line in bill.lines) == bill.cost
    assert bill == marked.price(ctx, usage)


def test_bills_are_made_at_prices_that_are_kept() -> None:
    marked = policy(percent=20, tiers=[{"tokens": 1100, "percent": 5}])
    model = context().model
    kept = {price.version: price for price in marked.prices(model)}
    assert len(kept) == 2
    for usage in (USED, Usage(input=1)):
        bill = marked.price(context(), usage)
        assert bill.version != model.price.version
        assert kept[bill.version].bill(usage) == bill


@given(rate=st.integers(1, 10**12), amount=amounts)
def test_a_rate_is_rounded_up_by_less_than_one(rate: int, amount: dict[str, Any]) -> None:
    bill = policy(**amount).price(context({"input": rate}), Usage(input=1))
    exact = rate * (1 + Fraction(amount["percent"]) / 100) + nano(amount["per_million"])
    assert 0 <= bill.lines[0].rate - exact < 1


def built(billing: dict[str, Any], plan: str) -> Catalogue:
    tables = {
        "plugins": ["openai", "markup"],
        "billing": billing,
        "plans": {"default": {"billing": plan}},
    }
    settings = load((), {}, options=merged("http://127.0.0.1:9", tables))
    return build_catalogue(settings, load_plugins(settings))


def faults(billing: dict[str, Any], plan: str) -> dict[str, str]:
    with pytest.raises(SettingsRefused) as refused:
        built(billing, plan)
    return {fault.key: fault.reason for fault in refused.value.faults}


def test_a_plan_names_a_table_or_a_kind() -> None:
    table = {"kind": "markup", "percent": 20}
    assert set(built({"resale": table}, "resale").policies) == {"resale"}
    assert set(built({"resale": table}, "per-token").policies) == {"per-token", "resale"}
    assert built({}, "markup").policies["markup"].price(context(), USED).cost == 3_500_000


def test_faults_are_named_with_their_keys() -> None:
    table = {
        "kind": "markup",
        "percnt": 20,
        "per_million": -1,
        "models": {"gpt*": {"percent": "much"}},
        "tiers": [{"tokens": 5}, {"tokens": 5}],
    }
    found = faults({"resale": table}, "resale")
    assert found.pop("billing.resale.percnt") == "unknown key; did you mean percent?"
    assert "negative" in found.pop("billing.resale.per_million")
    assert 'billing.resale.models."gpt*".percent' in found
    assert "no plugin" in faults({"a": {"kind": "flat"}}, "a")["billing.a.kind"]
    assert "write kind" in faults({"a": {"percent": 1}}, "a")["billing.a.kind"]
    unknown = faults({"resale": {"kind": "markup"}}, "resail")["plans.default.billing"]
    assert "there is no [billing.resail]" in unknown
    assert "resale, per-token, markup" in unknown
    twice = {"kind": "markup", "tiers": [{"tokens": 5}, {"tokens": 5}]}
    assert any("two tiers" in reason for reason in faults({"a": twice}, "a").values())


def test_the_environment_sets_a_markup() -> None:
    tables = merged("http://127.0.0.1:9", {"plugins": ["openai", "markup"]})
    tables["billing"] = {"resale": {"kind": "markup"}}
    settings = load((), {"EZKIELYNA_BILLING__RESALE__PERCENT": "100"}, options=tables)
    policies = build_catalogue(settings, load_plugins(settings)).policies
    assert policies["resale"].price(context(), USED).cost == 7_000_000


async def test_a_gateway_charges_and_proves_it(gateways: Gateways) -> None:
    tables = {
        "plugins": ["openai", "markup"],
        "billing": {"resale": {"kind": "markup", "percent": 50}},
        "plans": {"default": {"billing": "resale"}},
    }
    scripts = [answering(200, JSON, chat_answer()), streaming(chat_stream(["a"] * 3000))]
    chat = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        plain = await post(gateway.url, gateway.key, chat)
        assert plain.document["usage"]["cost"] == 0.00006
        stream = await post(gateway.url, gateway.key, {**chat, "stream": True})
        assert stream.body.endswith(b"data: [DONE]\n\n")
    found = [document async for document in gateway.database["usage"].find({})]
    costs = sorted(document["cost"] for document in found)
    assert costs == [60_000, 30_000 + 3000 * 15_000]
    [version] = {document["price_version"] for document in found}
    price = await prices.find(gateway.database, version)
    assert price is not None
    assert (price.rate("input"), price.rate("output")) == (3_750_000_000, 15_000_000_000)
    assert version != gateway.app.models["gpt-lab"].price.version
    verdict = await verify(gateway.database, pause_s=0.1)
    assert verdict.ok, verdict.document()
