"""The annotated configuration, the starter catalogue and the demo: what comes with the gateway."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from ezkielyna.contract.provider import ProviderSettings
from ezkielyna.settings import Settings, load, starter_folder

CONFIG = Path(__file__).parent.parent / "config"

Write = Callable[..., Path]


def test_the_annotated_file_loads_and_names_every_setting() -> None:
    path = CONFIG / "ezkielyna.toml"
    load([path], {})
    text = path.read_text()
    missing = [key for key in _keys(Settings) if f"{key} = " not in text and f"[{key}" not in text]
    missing += [key for key in _keys(ProviderSettings) if f"{key} = " not in text]
    missing.remove("time_limits")
    assert "[providers.lab.time_limits]" in text
    assert not missing


def test_the_annotated_file_shows_the_defaults() -> None:
    """Every commented line, with its `#` away, still gives what no file gives."""
    lines = [
        line.removeprefix("# ")
        for line in (CONFIG / "ezkielyna.toml").read_text().splitlines()
        if line.startswith(("[", "# ["))
        or (line.startswith("# ") and " = " in line and not line.startswith("# A secret"))
    ]
    wanted = ("server", "storage", "redis", "plans", "accounts", "mail")
    document = tomllib.loads(_sections(lines, wanted), parse_float=Decimal)
    document["server"].pop("secret")
    shown, default = load([], {}, options=document), load([], {})
    for section in wanted:
        assert getattr(shown, section) == getattr(default, section), section
    assert set(document["server"]) | {"secret"} == set(type(default.server).model_fields)
    assert set(document["plans"]["default"]) == set(type(default.plans["default"]).model_fields)


def _sections(lines: list[str], wanted: tuple[str, ...]) -> str:
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("["):
            inside = line.strip("[]").split(".")[0] in wanted
        if inside:
            kept.append(line)
    return "\n".join(kept)


def _keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        annotation: Any = field.annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += _keys(annotation)
    return keys


VENDORS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}


def test_the_starter_catalogue_has_prices_sizes_and_dates() -> None:
    settings = load([CONFIG / "models.toml"], dict.fromkeys(VENDORS.values(), "k"))
    assert len(settings.models) >= 40
    for vendor in VENDORS:
        assert sum(model.provider == vendor for model in settings.models.values()) >= 10
    for name, model in settings.models.items():
        assert model.priced_on is not None, name
        assert not model.price.free, name
        sold_by_token_and_text = model.image is None and model.output != 0 and "image" not in name
        assert not sold_by_token_and_text or model.context > 0, name
        assert not sold_by_token_and_text or 0 < model.max_output <= model.context, name
        if model.input and model.cached_input is not None:
            assert model.cached_input < model.input, name
        if model.input and model.output:
            assert model.input < model.output, name


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("gpt-4o", {"input": "2.5", "cached_input": "1.25", "output": "10"}),
        ("gpt-4o-mini", {"input": "0.15", "cached_input": "0.075", "output": "0.6"}),
        ("gpt-4.1-nano", {"input": "0.1", "cached_input": "0.025", "output": "0.4"}),
        ("gpt-5", {"input": "1.25", "cached_input": "0.125", "output": "10"}),
        ("o3", {"input": "2", "cached_input": "0.5", "output": "8"}),
        ("text-embedding-3-small", {"input": "0.02", "output": "0"}),
        (
            "claude-opus-4-5",
            {"input": "5", "cached_input": "0.5", "cache_write": "6.25", "output": "25"},
        ),
        (
            "claude-haiku-4-5",
            {"input": "1", "cached_input": "0.1", "cache_write": "1.25", "output": "5"},
        ),
        ("gemini-2.5-pro", {"input": "1.25", "cached_input": "0.125", "output": "10"}),
        ("gemini-embedding-001", {"input": "0.15", "output": "0"}),
        ("dall-e-3", {"images": "0.04"}),
        ("imagen-4.0-generate-001", {"images": "0.04"}),
    ],
)
def test_list_prices_that_people_know(name: str, rates: dict[str, str]) -> None:
    settings = load([CONFIG / "models.toml"], dict.fromkeys(VENDORS.values(), "k"))
    exact = {bucket: int(Decimal(rate) * 10**9) for bucket, rate in rates.items()}
    assert settings.models[name].price.rates == exact


def test_the_demo_needs_nothing() -> None:
    settings = load([], {}, demo=True)
    assert settings.plugins == ("simulator",)
    assert set(settings.providers) == {"simulated"}
    assert {"sim-gpt", "sim-embedding", "sim-image"} <= set(settings.models)
    assert not any(model.price.free for model in settings.models.values())


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_demo_offers_the_vendor_whose_key_is_set(vendor: str) -> None:
    settings = load([], {VENDORS[vendor]: "key"}, demo=True)
    assert set(settings.providers) == {"simulated", vendor}
    assert settings.plugins == ("simulator", vendor)
    assert settings.providers[vendor]["api_key"] == "key"
    assert {model.provider for model in settings.models.values()} == {"simulated", vendor}


def test_the_demo_lies_under_the_configuration(write: Write) -> None:
    path = write(
        """
        plugins = ["mine", "simulator"]
        [models.sim-gpt]
        input = 7
        """
    )
    settings = load([path], {}, demo=True)
    assert settings.plugins == ("simulator", "mine")
    assert settings.models["sim-gpt"].input == 7_000_000_000
    assert settings.models["sim-gpt"].provider == "simulated"


def test_without_demo_nothing_is_simulated() -> None:
    assert not load([], dict.fromkeys(VENDORS.values(), "k")).models


def test_a_wheel_brings_its_starter_files() -> None:
    assert {"demo.toml", "models.toml", "ezkielyna.toml"} <= {
        path.name for path in starter_folder().iterdir()
    }
