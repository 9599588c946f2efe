"""Settings: files, environment, secrets, and every fault named with its file and key."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ezkielyna.contract.provider import ProviderSettings
from ezkielyna.settings import (
    Fault,
    Settings,
    SettingsRefused,
    load,
    server_secret,
    starter_folder,
)
from ezkielyna.settings.environment import typed

CONFIG = Path(__file__).parent.parent / "config"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "my.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def faults(*paths: Path, environment: Mapping[str, str] | None = None) -> dict[str, Fault]:
    """Return the faults of a configuration by key."""
    with pytest.raises(SettingsRefused) as refused:
        load(paths, environment or {})
    return {fault.key: fault for fault in refused.value.faults}


def test_nothing_configured_is_the_contract() -> None:
    settings = load([], {})
    assert settings.plugins == ()
    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 8080
    assert settings.server.address == "http://127.0.0.1:8080"
    assert settings.server.drain_s == 600
    assert settings.server.wire == "llhttp"
    assert settings.storage.url == "embedded:"
    assert settings.storage.driver == "motor"
    assert settings.redis.url == ""
    assert settings.accounts.signup_credit == 500_000_000
    assert settings.mail.url == "console:"
    plan = settings.plans["default"].plan("default")
    assert (plan.rpm, plan.tpm, plan.concurrency) == (60, 200_000, 20)
    assert plan.models == ("*",)


@pytest.mark.parametrize("url", ["console:", "file:outbox", "smtp://u:p@host:587", "smtps://host"])
def test_ways_for_mail_to_leave(write: Write, url: str) -> None:
    assert load([write(f'[mail]\nurl = "{url}"\n')], {}).mail.url == url


@pytest.mark.parametrize("url", ["", "console", "file:", "smtp:", "smtp://", "http://host", "host"])
def test_mail_that_could_never_leave_is_refused(write: Write, url: str) -> None:
    assert "must be console:" in faults(write(f'[mail]\nurl = "{url}"\n'))["mail.url"].reason


def test_every_fault_is_found_at_once(write: Write) -> None:
    path = write(
        """
        [server]
        prot = 1
        port = "8080"
        wire = "nginx"
        [providers.lab]
        api_key = { env = "LAB_KEY" }
        [providers.spare]
        kind = "openai"
        api_key = { file = "/nowhere/at all" }
        [models.free-lunch]
        provider = "lab"
        [models."odd model"]
        provider = "lab"
        input = -1
        output = 0.0000000001
        [plans.pro]
        rpm = true
        models = "gpt"
        [accounts]
        plan = "gold"
        """
    )
    found = faults(path, environment={"EZKIELYNA_MAIL__SENDR": "x"})
    reasons = {key: fault.reason for key, fault in found.items()}
    assert reasons.pop("server.prot") == "unknown key; did you mean port?"
    assert "whole number" in reasons.pop("server.port")
    assert "'llhttp' or 'tornado'" in reasons.pop("server.wire")
    assert "LAB_KEY is not set" in reasons.pop("providers.lab.api_key")
    assert "kind" in reasons.pop("providers.lab.kind")
    assert "/nowhere/at all" in reasons.pop("providers.spare.api_key")
    assert "no price" in reasons.pop("models.free-lunch")
    assert "negative" in reasons.pop('models."odd model".input')
    assert "nine decimals" in reasons.pop('models."odd model".output')
    assert "whole number" in reasons.pop("plans.pro.rpm")
    assert "list" in reasons.pop("plans.pro.models")
    assert "no plan 'gold'" in reasons.pop("accounts.plan")
    assert "did you mean sender?" in reasons.pop("mail.sendr")
    assert not reasons
    assert found.pop("mail.sendr").file == "variable EZKIELYNA_MAIL__SENDR"
    assert {fault.file for fault in found.values()} == {str(path)}


def test_a_fault_is_one_line_with_file_key_and_reason() -> None:
    assert str(Fault("my.toml", "server.port", "is odd")) == "my.toml: server.port: is odd"
    assert str(Fault("my.toml", "", "is not TOML")) == "my.toml: is not TOML"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[server\n", "is not TOML"), (b"\xff\xfe", "not UTF-8"), (None, "cannot be read")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsRefused) as refused:
        load([path, tmp_path / "absent.toml"], {})
    first, second = refused.value.faults
    assert first.file == str(path)
    assert reason in first.reason
    assert second.file.endswith("absent.toml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("plugins = 'openai'", "plugins"),
        ("server = 3", "server"),
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nport = 1.5", "server.port"),
        ("[server]\ndrain_s = nan", "server.drain_s"),
        ("[server]\nidle_timeout_s = 0", "server.idle_timeout_s"),
        ("[server]\nsecret = 5", "server.secret"),
        ("[server]\nsecret = { file = 5 }", "server.secret.file"),
        ("[storage]\nurl = 5", "storage.url"),
        ("[storage]\ndatabase = ''", "storage.database"),
        ("[accounts]\nsignup = 'yes'", "accounts.signup"),
        ("[accounts]\nsignup_credit = 'five'", "accounts.signup_credit"),
        ("[accounts]\nsignup_credit = inf", "accounts.signup_credit"),
        ("[accounts]\nsignup_credit = true", "accounts.signup_credit"),
        ("providers = 3", "providers"),
        ("[providers]\nlab = 3", "providers.lab"),
        ("[models.m]\nprovider='p'\ninput=1\noutput=1\ncontext=-1", "models.m.context"),
        ("[models.m]\nprovider='p'\ninput=1\noutput=1\npriced_on='x'", "models.m.priced_on"),
        (
            "[models.m]\nprovider='p'\ninput=1\noutput=1\npriced_on=2026-01-01T10:00:00",
            "models.m.priced_on",
        ),
        ("[models.m]\ninput=1\noutput=1", "models.m.provider"),
        ("[plans.p]\ntmp = 3", "plans.p.tmp"),
        ("[sever]\nport = 3", "sever"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(write: Write, text: str, key: str) -> None:
    assert set(faults(write(text))) == {key}


def test_no_secret_is_quoted(write: Write) -> None:
    path = write("[server]\nsecret = 'swordfish'\nport = 'swordfish'\n")
    with pytest.raises(SettingsRefused) as refused:
        load([path], {})
    assert "swordfish" not in str(refused.value)
    settings = load([write("[storage]\nurl='mongodb://u:swordfish@h'\n")], {})
    assert "swordfish" not in repr(settings)


def test_later_files_win_key_by_key(write: Write) -> None:
    first = write(
        """
        plugins = ["openai"]
        [server]
        host = "0.0.0.0"
        port = 1
        [providers.lab]
        kind = "openai"
        api_key = { env = "A_KEY_THAT_IS_NOT_SET" }
        [models.m]
        provider = "lab"
        input = 1
        output = 2
        """,
        "first.toml",
    )
    second = write(
        """
        plugins = ["gemini"]
        [server]
        port = 2
        [providers.lab]
        api_key = "text"
        [models.m]
        output = 3
        """,
        "second.toml",
    )
    settings = load([first, second], {})
    assert settings.plugins == ("gemini",)
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 2)
    assert settings.providers["lab"] == {"kind": "openai", "api_key": "text"}
    assert settings.models["m"].price.rates == {"input": 10**9, "output": 3 * 10**9}
    assert settings.origin("server", "host") == str(first)
    assert settings.origin("server", "port") == str(second)
    assert settings.origin("models", "m", "cached_input") == str(second)
    assert settings.origin("mail", "url") == "defaults"


def test_the_environment_wins_and_is_typed(write: Write) -> None:
    path = write(
        """
        [server]
        port = 1
        [models."gpt-4o"]
        provider = "lab"
        input = 2.5
        output = 10
        [providers.lab]
        kind = "openai"
        """
    )
    settings = load(
        [path],
        {
            "EZKIELYNA_SERVER__PORT": "9000",
            "EZKIELYNA_SERVER__DRAIN_S": "2.5",
            "EZKIELYNA_STORAGE__DATABASE": "2026",
            "EZKIELYNA_PLUGINS": "openai, gemini",
            "EZKIELYNA_ACCOUNTS__SIGNUP": "false",
            "EZKIELYNA_ACCOUNTS__SIGNUP_CREDIT": "1.25",
            "EZKIELYNA_MODELS__GPT_4O__INPUT": "0.000000001",
            "EZKIELYNA_MODELS__GPT_4O__PRICED_ON": "2026-11-01",
            "EZKIELYNA_PLANS__DEFAULT__MODELS": '["gpt-4o*"]',
            "EZKIELYNA_PROVIDERS__LAB__BASE_URL": "http://127.0.0.1:1/v1",
            "EZKIELYNA_CONFIG": "not/a/setting",
            "EZKIELYNA_FIXTURES": "nor/this",
            "SERVER__PORT": "3",
        },
    )
    assert settings.server.port == 9000
    assert settings.server.drain_s == 2.5
    assert settings.storage.database == "2026"
    assert settings.plugins == ("openai", "gemini")
    assert settings.accounts.signup is False
    assert settings.accounts.signup_credit == 1_250_000_000
    assert settings.models["gpt-4o"].input == 1
    assert str(settings.models["gpt-4o"].priced_on) == "2026-11-01"
    assert settings.plans["default"].models == ("gpt-4o*",)
    assert settings.providers["lab"]["base_url"] == "http://127.0.0.1:1/v1"


def test_a_wrong_variable_is_named() -> None:
    found = faults(environment={"EZKIELYNA_SERVER__PORT": "many"})
    assert found["server.port"].file == "variable EZKIELYNA_SERVER__PORT"


def test_text_settings_are_never_read_as_something_else() -> None:
    assert typed(("storage", "database"), "12") == "12"
    assert typed(("server", "secret"), "12") == "12"
    assert typed(("models", "m", "input"), "1.10") == Decimal("1.10")
    assert typed(("nobody", "knows"), "12") == "12"


def test_options_of_the_command_line_win(write: Write) -> None:
    path = write("[server]\nport = 1\n")
    settings = load(
        [path], {"EZKIELYNA_SERVER__PORT": "2"}, options={"server": {"port": 3, "workers": 0}}
    )
    assert settings.server.port == 3
    assert settings.server.processes == os.cpu_count()
    assert settings.origin("server", "port") == "command line"


def test_secrets_come_from_text_environment_and_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    path = write(
        f"""
        [providers.lab]
        kind = "any"
        api_key = {{ env = "LAB_KEY" }}
        headers = {{ x-token = {{ file = "{tmp_path / "key"}" }}, x-plain = "plain" }}
        [mail]
        url = {{ env = "MAIL" }}
        """
    )
    settings = load([path], {"LAB_KEY": "from the environment", "MAIL": "smtp://u:p@h:587"})
    assert settings.providers["lab"]["api_key"] == "from the environment"
    assert settings.providers["lab"]["headers"] == {"x-token": "from a file", "x-plain": "plain"}
    assert settings.mail.url == "smtp://u:p@h:587"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_secret_is_a_missing_one(write: Write, tmp_path: Path, value: str) -> None:
    (tmp_path / "key").write_text(value)
    path = write(
        f"""
        [providers.a]
        kind = "any"
        api_key = {{ env = "EMPTY" }}
        [providers.b]
        kind = "any"
        api_key = {{ file = "{tmp_path / "key"}" }}
        """
    )
    found = faults(path, environment={"EMPTY": value})
    assert set(found) == {"providers.a.api_key", "providers.b.api_key"}


def test_the_servers_secret_is_made_once(tmp_path: Path) -> None:
    settings, data = load([], {}), tmp_path / "data"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: server_secret(settings, data), range(32)))
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert list(data.iterdir()) == [data / "secret"]


def test_loading_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load([CONFIG / "ezkielyna.toml"], {"EZKIELYNA_SERVER__WORKERS": "2"})
    assert not list(tmp_path.iterdir())


def test_the_servers_secret_may_be_named(write: Write, tmp_path: Path) -> None:
    text = load([write(f"[server]\nsecret = '{'x' * 32}'\n")], {})
    assert server_secret(text, tmp_path) == b"x" * 32
    variable = load([write("[server]\nsecret = { env = 'S' }\n")], {"S": "y" * 40})
    assert server_secret(variable, tmp_path) == b"y" * 40
    file = load([write(f"[server]\nsecret = {{ file = '{tmp_path}/deep/secret' }}\n")], {})
    made = server_secret(file, tmp_path)
    assert (tmp_path / "deep/secret").read_bytes().strip() == made
    assert not (tmp_path / "secret").exists()


def test_a_weak_secret_is_refused(write: Write, tmp_path: Path) -> None:
    settings = load([write("[server]\nsecret = 'short'\n")], {})
    with pytest.raises(SettingsRefused, match=r"server\.secret: must have at least 32") as refused:
        server_secret(settings, tmp_path)
    assert "short" not in str(refused.value)


@given(st.decimals(min_value=0, max_value=10_000, places=9, allow_nan=False))
def test_prices_are_exact(price: Decimal) -> None:
    table = tomllib.loads(f"price = {price:f}", parse_float=Decimal)
    settings = load(
        [], {}, options={"models": {"m": {"provider": "p", "input": table["price"], "output": 0}}}
    )
    assert settings.models["m"].price.rates["input"] == int(price * 10**9)


def test_equal_rates_are_one_version(write: Write) -> None:
    settings = load(
        [
            write(
                """
                [models.a]
                provider = "p"
                input = 1
                output = 2.50
                [models.b]
                provider = "q"
                output = 2.5
                input = 1.0
                [models.c]
                provider = "q"
                output = 2.5
                input = 1.000000001
                """
            )
        ],
        {},
    )
    a, b, c = (settings.models[name].price for name in "abc")
    assert a == b
    assert a.version != c.version


def test_free_is_an_explicit_zero(write: Write) -> None:
    free = "[models.m]\nprovider = 'p'\ninput = 0\noutput = 0\n"
    assert load([write(free)], {}).models["m"].price.free
    piece = "[models.m]\nprovider = 'p'\nimage = 0.04\n"
    assert load([write(piece)], {}).models["m"].price.rates == {"images": 40_000_000}
    for half in ("input = 1", "output = 1", "cached_input = 1"):
        assert set(faults(write(f"[models.m]\nprovider = 'p'\n{half}\n"))) == {"models.m"}


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ({"port": 9000}, "http://127.0.0.1:9000"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8080"),
        ({"host": "::1"}, "http://[::1]:8080"),
        ({"public_url": "https://llm.example/"}, "https://llm.example"),
    ],
)
def test_the_public_address_follows_host_and_port(server: dict[str, Any], address: str) -> None:
    assert load([], {}, options={"server": server}).server.address == address


def test_settings_never_change() -> None:
    settings = load([], {})
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 3  # type: ignore[misc]


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
