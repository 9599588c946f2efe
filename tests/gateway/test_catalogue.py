"""The catalogue: models, plans, and the documents of `/models`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import pytest

from ezkielyna.contract.billing import BillingPolicy, BillingSettings
from ezkielyna.contract.context import Key, Plan
from ezkielyna.contract.errors import ModelNotFound
from ezkielyna.contract.limiter import RateLimiter
from ezkielyna.contract.payment import PaymentMethod, PaymentSettings
from ezkielyna.contract.provider import Exchange, Provider, ProviderSettings
from ezkielyna.contract.requests import ApiRequest
from ezkielyna.defaults import MemoryLimiter, PerToken, Vouchers
from ezkielyna.gateway.catalogue import Catalogue, build_catalogue
from ezkielyna.plugins import Registries
from ezkielyna.settings import Fault, SettingsRefused, load


class Paper(Provider):
    """A provider that is never asked."""

    kind = "paper"

    class Settings(ProviderSettings):
        """One field more than every provider has."""

        weight: int = 80

    def exchange(self, request: ApiRequest, model: str) -> Exchange:
        raise NotImplementedError


class Torn(Paper):
    """A provider that cannot be made."""

    kind = "torn"

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        raise RuntimeError(f"{name} is torn")


class Signed(Vouchers):
    """A payment method with a setting that has no default."""

    kind = "signed"

    class Settings(PaymentSettings):
        """A webhook needs a secret."""

        webhook_secret: str


class Greedy(BillingPolicy):
    """A policy that cannot be made."""

    kind = "greedy"

    def __init__(self, settings: BillingSettings | None = None) -> None:
        raise RuntimeError("no")

    quote = price = cast(Any, None)


TABLES: Mapping[str, Any] = {
    "providers": {"desk": {"kind": "paper", "base_url": "http://127.0.0.1:1/v1/"}},
    "models": {
        "vendor/large": {
            "provider": "desk",
            "upstream_model": "large-2024",
            "input": "2.50",
            "output": "10",
            "context": 128_000,
            "max_output": 4096,
            "owned_by": "vendor",
            "display_name": "Large",
        },
        "small": {"provider": "desk", "input": 0, "output": 0},
        "small-image": {"provider": "desk", "image": "0.04"},
    },
    "plans": {"pro": {"models": ["small*"]}},
}
KEY = Key("key_1", "acc_1", "test")
ALL = Plan("all")


def registries() -> Registries:
    providers: dict[str, type[Provider]] = {"paper": Paper, "torn": Torn}
    limiters: dict[str, type[RateLimiter]] = {"memory": MemoryLimiter}
    billing: dict[str, type[BillingPolicy]] = {"per-token": PerToken, "greedy": Greedy}
    payments: dict[str, type[PaymentMethod]] = {"voucher": Vouchers, "signed": Signed}
    shelves: list[Mapping[str, type]] = [providers, limiters, billing, payments]
    return Registries(
        providers=MappingProxyType(providers),
        limiters=MappingProxyType(limiters),
        billing=MappingProxyType(billing),
        payments=MappingProxyType(payments),
        startup=(),
        shutdown=(),
        offered_by={class_: "test" for shelf in shelves for class_ in shelf.values()},
    )


def built(**tables: Any) -> Catalogue:
    return build_catalogue(load([], {}, options={**TABLES, **tables}), registries())


def refused(**tables: Any) -> dict[str, Fault]:
    with pytest.raises(SettingsRefused) as refusal:
        built(**tables)
    return {fault.key: fault for fault in refusal.value.faults}


def test_a_model_is_what_the_configuration_says() -> None:
    model = built().model("vendor/large")
    assert model.name == "vendor/large"
    assert model.provider == "desk"
    assert model.upstream_model == "large-2024"
    assert model.price.rates == {"input": 2_500_000_000, "output": 10_000_000_000}
    assert (model.context, model.max_output) == (128_000, 4096)
    small = built().model("small")
    assert (small.upstream_model, small.owned_by, small.display_name) == ("small", "desk", "small")


def test_providers_have_their_kinds_settings() -> None:
    tables = {"desk": {"kind": "paper", "weight": 120, "api_key": "secret"}}
    [(name, provider)] = built(providers=tables).providers.items()
    assert name == provider.name == "desk"
    assert isinstance(provider, Paper)
    assert isinstance(provider.settings, Paper.Settings)
    assert provider.settings.weight == 120
    assert provider.settings.api_key.get_secret_value() == "secret"


def test_payment_methods_have_their_kinds_settings() -> None:
    tables = {"cards": {"kind": "signed", "webhook_secret": "secret", "least": "2.50"}}
    methods = built(payments=tables).payments
    assert {name: type(method) for name, method in methods.items()} == {
        "voucher": Vouchers,
        "cards": Signed,
    }
    assert methods["cards"].name == "cards"
    assert methods["cards"].settings.least == 2_500_000_000
    assert methods["cards"].settings.most == 500 * 10**9


@pytest.mark.parametrize(
    ("table", "key", "reason"),
    [
        ({"kind": "signed"}, "webhook_secret", "is missing; write it"),
        ({"kind": "cash"}, "kind", "kinds on offer: voucher, signed"),
        ({"kind": "voucher", "least": "0.001"}, "least", "in whole cents"),
        ({"kind": "voucher", "least": 9, "most": 8}, "", "least must not be more than most"),
        ({"kind": "voucher", "moist": 8}, "moist", "did you mean most?"),
    ],
)
def test_a_wrong_key_of_a_payment_method_is_named(
    table: dict[str, Any], key: str, reason: str
) -> None:
    [(name, fault)] = refused(payments={"cards": table}).items()
    assert name == ".".join(filter(None, ("payments", "cards", key)))
    assert reason in fault.reason


def test_an_unknown_model_is_refused_in_openais_words() -> None:
    with pytest.raises(ModelNotFound) as error:
        built().model("gpt-9")
    assert str(error.value) == ("The model `gpt-9` does not exist or you do not have access to it.")
    assert error.value.param == "model"
    with pytest.raises(ModelNotFound) as error:
        built().model("x" * 100_000)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("plan", "models", "names"),
    [
        (ALL, (), ["vendor/large", "small", "small-image"]),
        (Plan("p", models=("small*",)), (), ["small", "small-image"]),
        (Plan("p", models=("small",)), (), ["small"]),
        (ALL, ("small-*", "vendor/large"), ["vendor/large", "small-image"]),
        (Plan("p", models=("small*",)), ("vendor/large",), []),
    ],
)
def test_only_what_plan_and_key_allow_is_visible(
    plan: Plan, models: tuple[str, ...], names: list[str]
) -> None:
    catalogue, key = built(), Key("key_1", "acc_1", "test", models=models)
    assert [model.name for model in catalogue.visible(plan, key)] == names
    assert [item["id"] for item in catalogue.listing(plan, key)["data"]] == names
    for name in catalogue.models:
        if name in names:
            assert catalogue.document(name, plan, key)["id"] == name
        else:
            with pytest.raises(ModelNotFound):
                catalogue.document(name, plan, key)
    with pytest.raises(ModelNotFound):
        catalogue.document("gpt-9", plan, key)


def test_the_document_serves_both_sdks() -> None:
    models = {**TABLES["models"]}
    document = built(models=models).document("vendor/large", ALL, KEY)
    assert document == {
        "id": "vendor/large",
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": "vendor",
        "display_name": "Large",
    }


def test_the_day_of_birth_is_shown() -> None:
    settings = load([], {"EZKIELYNA_MODELS__SMALL__CREATED": "2024-05-13"}, options=TABLES)
    document = build_catalogue(settings, registries()).document("small", ALL, KEY)
    assert document["created"] == 1_715_558_400
    assert document["created_at"] == "2024-05-13T00:00:00Z"


def test_the_list_is_paged_as_anthropics_sdk_pages() -> None:
    catalogue = built()
    seen: list[str] = []
    after = None
    for more in (True, True, False):
        page = catalogue.listing(ALL, KEY, limit=1, after=after)
        assert page["object"] == "list"
        assert page["has_more"] is more
        assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
        after = page["last_id"]
        seen.append(after)
    assert seen == list(catalogue.models)
    whole = catalogue.listing(ALL, KEY)
    assert (whole["first_id"], whole["last_id"], whole["has_more"]) == (seen[0], seen[-1], False)
    past = catalogue.listing(ALL, KEY, after=seen[-1])
    assert (past["data"], past["first_id"], past["has_more"]) == ([], None, False)


def test_plans_limiters_and_policies_are_there_by_kind() -> None:
    catalogue = built()
    assert catalogue.plans["pro"].allows("small-image")
    assert not catalogue.plans["pro"].allows("vendor/large")
    assert set(catalogue.plans) == {"default", "pro"}
    assert set(catalogue.limiters) == {"memory"}
    assert set(catalogue.policies) == {"per-token"}


def test_the_limiter_knows_how_many_share_a_limit() -> None:
    assert built(server={"workers": 3}).limiters["memory"].workers == 3


def test_nothing_changes_after_the_start() -> None:
    catalogue = built()
    for shelf in (catalogue.models, catalogue.providers, catalogue.plans, catalogue.limiters):
        with pytest.raises(TypeError):
            cast(Any, shelf)["more"] = None


def test_every_dangling_name_is_a_fault() -> None:
    found = refused(
        providers={"desk": {"kind": "stone"}},
        models={"m": {"provider": "dusk", "input": 1, "output": 1}},
        plans={"pro": {"limiter": "redis", "billing": "flat"}},
    )
    assert set(found) == {
        "providers.desk.kind",
        "models.m.provider",
        "plans.pro.limiter",
        "plans.pro.billing",
    }
    assert "'stone'; kinds on offer: paper, torn" in found["providers.desk.kind"].reason
    assert "no provider 'dusk'; providers are: desk" in found["models.m.provider"].reason
    assert "'redis'; kinds on offer: memory" in found["plans.pro.limiter"].reason
    assert {fault.file for fault in found.values()} == {"command line"}


def test_a_wrong_key_of_a_provider_is_named() -> None:
    desk = {
        "kind": "paper",
        "wieght": 3,
        "base_url": "ftp://somewhere",
        "weight": "heavy",
        "time_limits": {"conect_s": 3, "total_s": -1},
    }
    found = {key: fault.reason for key, fault in refused(providers={"desk": desk}).items()}
    assert found.pop("providers.desk.wieght") == "unknown key; did you mean weight?"
    assert "http://" in found.pop("providers.desk.base_url")
    assert "whole number" in found.pop("providers.desk.weight")
    assert "mean connect_s?" in found.pop("providers.desk.time_limits.conect_s")
    assert "greater than 0" in found.pop("providers.desk.time_limits.total_s")
    assert not found


def test_a_plugin_that_cannot_make_its_object_is_named() -> None:
    found = refused(
        providers={"desk": {"kind": "torn"}},
        models={},
        plans={"pro": {"billing": "greedy"}},
    )
    assert found["Torn"].file == found["Greedy"].file == "plugin test"
    assert "desk is torn" in found["Torn"].reason
