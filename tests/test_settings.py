"""Settings: files, environment, secrets, and every fault named with its file and key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.settings import (
    Fault,
    SettingsRefused,
    load,
)
from ezkielyna.settings.environment import typed

CONFIG = Path(__file__).parent.parent / "config"

Write = Callable[..., Path]


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


def test_loading_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load([CONFIG / "ezkielyna.toml"], {"EZKIELYNA_SERVER__WORKERS": "2"})
    assert not list(tmp_path.iterdir())


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
