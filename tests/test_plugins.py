"""Plugins: found by entry point, checked, frozen; every hook has a test of its name here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ezkielyna.contract.context import Gateway
from ezkielyna.hooks import start_plugins, stop_plugins
from ezkielyna.plugins import DEFAULTS, PluginRefused, Registries, installed, load_plugins
from ezkielyna.settings import Fault, load

Install = Callable[..., None]

PROVIDER = """
from ezkielyna import Provider, hookimpl

class Lab(Provider):
    kind = "KIND"

    def exchange(self, request, model):
        raise NotImplementedError

@hookimpl
def register_providers():
    return [Lab]
"""

LIMITER = """
from ezkielyna import RateLimiter, hookimpl

class Lazy(RateLimiter):
    kind = "lazy"

    async def admit(self, ctx):
        raise NotImplementedError

    def standing(self, account, key, plan):
        raise NotImplementedError

@hookimpl
def register_rate_limiters():
    return [Lazy]
"""

BILLING = """
from ezkielyna import BillingPolicy, hookimpl

class Flat(BillingPolicy):
    kind = "flat"

    def quote(self, ctx):
        return 1

    def price(self, ctx, usage):
        raise NotImplementedError

@hookimpl
def register_billing_policies():
    return (Flat,)
"""


PAYMENT = """
from ezkielyna import PaymentMethod, hookimpl

class Barter(PaymentMethod):
    kind = "barter"
    title = "Barter"

    async def start(self, order):
        raise NotImplementedError

    async def verify(self, body, headers):
        raise NotImplementedError

@hookimpl
def register_payment_methods():
    return [Barter]
"""


@pytest.fixture
def install(install_plugin: Install) -> Install:
    return install_plugin


def loaded(*names: str) -> Registries:
    return load_plugins(load([], {}, options={"plugins": list(names)}))


def refused(*names: str) -> list[Fault]:
    with pytest.raises(PluginRefused) as refusal:
        loaded(*names)
    return list(refusal.value.faults)


def kinded(kind: str) -> str:
    return PROVIDER.replace("KIND", kind)


def test_hook_register_providers(install: Install) -> None:
    install("lab", kinded("lab-kind"))
    registries = loaded("lab")
    assert [class_.__name__ for class_ in registries.providers.values()] == ["Lab"]
    assert registries.offers("lab") == ["provider lab-kind"]


def test_hook_register_rate_limiters(install: Install) -> None:
    install("lazy", LIMITER)
    assert set(loaded("lazy").limiters) == {"memory", "lazy"}


def test_hook_register_billing_policies(install: Install) -> None:
    install("flat", BILLING)
    assert set(loaded("flat").billing) == {"per-token", "flat"}


def test_hook_register_payment_methods(install: Install) -> None:
    install("barter", PAYMENT)
    registries = loaded("barter")
    assert set(registries.payments) == {"voucher", "barter"}
    assert registries.offers("barter") == ["payment barter"]


def test_settings_of_a_payment_method_are_settings(install: Install) -> None:
    install("odd", PAYMENT.replace("    title", "    Settings = dict\n    title"))
    [fault] = refused("odd")
    assert "Barter.Settings must be a subclass of PaymentSettings" in fault.reason


def test_settings_of_a_policy_are_settings(install: Install) -> None:
    install("odd", BILLING.replace('kind = "flat"', 'kind = "flat"\n    Settings = dict'))
    [fault] = refused("odd")
    assert "Flat.Settings must be a subclass of BillingSettings" in fault.reason


TRACE = """
import builtins
from ezkielyna import hookimpl

@hookimpl
async def HOOK(gateway):
    gateway.append("NAME")
"""


def _traced(install: Install, hook: str) -> None:
    for name in ("one", "two", "three"):
        install(name, TRACE.replace("HOOK", hook).replace("NAME", name))


async def test_hook_startup(install: Install) -> None:
    _traced(install, "startup")
    trace: list[str] = []
    await start_plugins(loaded("two", "one", "three").startup, cast(Gateway, trace))
    assert trace == ["two", "one", "three"]


async def test_hook_shutdown(install: Install) -> None:
    _traced(install, "shutdown")
    trace: list[str] = []
    registries = loaded("three", "one", "two")
    assert not registries.startup
    await stop_plugins(registries.shutdown, cast(Gateway, trace))
    assert trace == ["two", "one", "three"]


async def test_a_hook_may_leave_out_its_argument(install: Install) -> None:
    source = TRACE.replace("HOOK(gateway)", "startup()")
    install("short", source.replace('gateway.append("NAME")', "raise OSError('no')"))
    with pytest.raises(PluginRefused, match=r"plugin short: startup: OSError: no"):
        await start_plugins(loaded("short").startup, cast(Gateway, None))


async def test_an_error_in_a_hook_names_the_plugin_and_is_logged(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("bad", TRACE.replace("HOOK", "startup").replace("gateway.append", "gateway.nothing"))
    startup = loaded("bad").startup
    with caplog.at_level(logging.INFO, "ezkielyna.hooks"), pytest.raises(PluginRefused) as error:
        await start_plugins(startup, cast(Gateway, []))
    assert str(error.value).startswith("plugin bad: startup: AttributeError")
    assert "plugin_of_test_bad.py, line 7" in str(error.value)
    assert "AttributeError" in caplog.text


def test_the_defaults_are_a_plugin_like_any() -> None:
    registries = loaded()
    assert registries.offers(DEFAULTS) == [
        "limiter memory",
        "billing per-token",
        "payment voucher",
    ]
    assert not registries.providers


def test_registries_are_frozen(install: Install) -> None:
    install("lab", kinded("lab-kind"))
    registries = loaded("lab")
    for shelf in (registries.providers, registries.limiters, registries.payments):
        with pytest.raises(TypeError):
            cast(Any, shelf)["more"] = object
    with pytest.raises(AttributeError):
        cast(Any, registries).providers = {}


def test_only_what_is_named_is_imported(install: Install) -> None:
    install("lab", kinded("lab-kind"))
    install("bomb", "raise SystemExit('imported')")
    assert set(installed()) >= {"lab", "bomb"}
    loaded("lab")
    assert "plugin_of_test_bomb" not in sys.modules


def test_every_plugin_of_this_repository_is_installed() -> None:
    folders = (Path(__file__).parent.parent / "plugins").glob("*/pyproject.toml")
    made = {file.parent.name for file in folders}
    there = {point.dist.name for points in installed().values() for point in points if point.dist}
    assert "ezkielyna-stripe" in made
    assert made <= there


def test_a_plugin_may_be_an_object(install: Install) -> None:
    source = kinded("object-kind").replace("def register", "    def register")
    source = source.replace("@hookimpl", "class Plugin:\n    @hookimpl")
    source = source.replace("register_providers()", "register_providers(self)")
    source = source.replace("    return [Lab]", "        return [Lab]\n\nplugin = Plugin()")
    install("object", source, attribute="plugin")
    assert set(loaded("object").providers) == {"object-kind"}


def test_a_missing_plugin_says_what_to_do(install: Install) -> None:
    install("lab", kinded("lab-kind"))
    [fault] = refused("labb")
    assert fault.file == "command line"
    assert fault.key == "plugins"
    assert "'labb' is not installed" in fault.reason
    assert "lab" in fault.reason.split("installed are:")[1]
    assert "pip install ezkielyna-labb" in fault.reason


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    install("lab", kinded("a"), module="first_lab")
    install("lab", kinded("b"), module="second_lab")
    [fault] = refused("lab")
    assert "first_lab" in fault.reason
    assert "second_lab" in fault.reason


def test_two_plugins_with_one_kind_are_both_named(install: Install) -> None:
    install("one", kinded("same"))
    install("two", kinded("same"))
    [fault] = refused("one", "two")
    assert fault.file == "plugin two"
    assert fault.key == "register_providers"
    assert "'same'" in fault.reason
    assert "one and two" in fault.reason


def test_nobody_takes_the_place_of_a_default(install: Install) -> None:
    install("lazy", LIMITER.replace('"lazy"', '"memory"'))
    [fault] = refused("lazy")
    assert "also offered by plugin ezkielyna" in fault.reason


def test_naming_a_plugin_twice_is_naming_it_once(install: Install) -> None:
    install("lab", kinded("lab-kind"))
    assert set(loaded("lab", "lab").providers) == {"lab-kind"}


def test_all_faults_are_found_at_once(install: Install) -> None:
    install("one", kinded("same"))
    install("two", kinded("same"))
    install("bad", "1 / 0")
    assert [fault.file for fault in refused("one", "two", "gone", "bad")] == [
        "command line",
        "plugin bad",
        "plugin two",
    ]


def test_the_plugin_is_named_when_an_object_cannot_be_made(install: Install) -> None:
    source = LIMITER.replace(
        "    async def admit",
        "    def __init__(self, workers):\n        1 / 0\n\n    async def admit",
    )
    install("lazy", source)
    registries = loaded("lazy")
    with pytest.raises(PluginRefused, match="plugin lazy: Lazy: ZeroDivisionError"):
        registries.make(registries.limiters["lazy"], 1)


CALLED = """
from ezkielyna import hookimpl

@hookimpl
DEFINITION
"""


def called(install: Install, definition: str, name: str = "called") -> Registries:
    install(name, CALLED.replace("DEFINITION", definition))
    return loaded(name)


def test_hook_register_routes(install: Install) -> None:
    registries = called(install, "def register_routes(gateway): return [('/here', dict, {})]")
    assert registries.rules(cast(Gateway, None)) == [("/here", dict, {})]
    assert registries.offers("called") == ["register_routes"]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("('/a', dict)", "not '/a'"),
        ("[dict]", "must return tuples"),
        ("[(7, dict)]", "must return tuples"),
        ("[('/a', 7)]", "7 is no handler class"),
        ("[('/v1/more', dict)]", "must begin with a slash, and not with /v1/"),
        ("[('a', dict)]", "must begin with a slash"),
        ("[('/a', dict), ('/a', dict)]", "also offered by plugin called"),
        ("[1 / 0]", "ZeroDivisionError"),
        ("None", "must return a list"),
    ],
)
def test_rules_that_cannot_serve_are_refused(install: Install, rules: str, reason: str) -> None:
    registries = called(install, f"def register_routes(gateway): return {rules}")
    with pytest.raises(PluginRefused) as refusal:
        registries.rules(cast(Gateway, None))
    [fault] = refusal.value.faults
    assert (fault.file, fault.key) == ("plugin called", "register_routes")
    assert reason in fault.reason


@pytest.mark.parametrize("hook", ["before_request", "after_request"])
async def test_hooks_of_requests_are_found_in_order(install: Install, hook: str) -> None:
    for name in ("one", "two"):
        source = TRACE.replace("HOOK(gateway)", f"{hook}(ctx)").replace("gateway", "ctx")
        install(name, source.replace("NAME", name))
    trace: list[str] = []
    for found in getattr(loaded("two", "one"), hook):
        await found.run(trace)
    assert trace == ["two", "one"]


async def test_hook_before_request(install: Install) -> None:
    registries = called(install, "async def before_request(ctx): ctx.append(1)")
    assert registries.offers("called") == ["before_request"]
    trace: list[int] = []
    [hook] = registries.before_request
    await hook.run(trace)
    assert trace == [1]


async def test_hook_after_request(install: Install) -> None:
    registries = called(install, "async def after_request(): raise OSError('no')")
    [hook] = registries.after_request
    with pytest.raises(OSError, match="no"):
        await hook.run(None)


def test_hook_watch_stream(install: Install) -> None:
    [hook] = called(install, "def watch_stream(ctx): return ctx.append").watch_stream
    shown: list[bytes] = []
    hook.call(shown)(b"data")
    assert shown == [b"data"]


def test_hook_register_pages(install: Install) -> None:
    registries = called(
        install,
        "def register_pages(gateway): "
        "from ezkielyna import ConsolePage; return [ConsolePage('/birds', 'Birds', '<p>Two</p>')]",
    )
    [(plugin, page)] = registries.console_pages(cast(Gateway, None))
    assert (plugin, page.path, page.label) == ("called", "/birds", "Birds")
    assert registries.offers("called") == ["register_pages"]


def test_hook_register_commands(install: Install) -> None:
    source = "import click\n" + CALLED.replace(
        "DEFINITION", "def register_commands(): return [click.Command('moon')]"
    )
    install("called", source)
    [hook] = loaded("called").commands
    assert [command.name for command in hook.call()] == ["moon"]
