"""Plugins: found by entry point, checked, frozen; every hook has a test of its name here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ezkielyna.contract.context import Gateway
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
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a plugin as pip would: a module and its dist-info on the path."""
    made: list[str] = []

    def install(name: str, source: str, *, module: str = "", attribute: str = "") -> None:
        module = module or f"plugin_of_test_{name}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        target = f"{module}:{attribute}" if attribute else module
        (info / "entry_points.txt").write_text(f"[ezkielyna]\n{name} = {target}\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for module in made:
        sys.modules.pop(module, None)


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
    for hook in loaded("two", "one", "three").startup:
        await hook(cast(Gateway, trace))
    assert trace == ["two", "one", "three"]


async def test_hook_shutdown(install: Install) -> None:
    _traced(install, "shutdown")
    trace: list[str] = []
    registries = loaded("three", "one", "two")
    assert not registries.startup
    for hook in registries.shutdown:
        await hook(cast(Gateway, trace))
    assert trace == ["three", "one", "two"]


async def test_a_hook_may_leave_out_its_argument(install: Install) -> None:
    source = TRACE.replace("HOOK(gateway)", "startup()")
    install("short", source.replace('gateway.append("NAME")', "raise OSError('no')"))
    [hook] = loaded("short").startup
    with pytest.raises(PluginRefused, match=r"plugin short: startup: OSError: no"):
        await hook(cast(Gateway, None))


async def test_an_error_in_a_hook_names_the_plugin_and_is_logged(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("bad", TRACE.replace("HOOK", "startup").replace("gateway.append", "gateway.nothing"))
    [hook] = loaded("bad").startup
    with caplog.at_level(logging.INFO, "ezkielyna.plugins"), pytest.raises(PluginRefused) as error:
        await hook(cast(Gateway, []))
    assert str(error.value).startswith("plugin bad: startup: AttributeError")
    assert "plugin_of_test_bad.py, line 7" in str(error.value)
    assert "AttributeError" in caplog.text


async def test_a_hook_that_is_not_async_is_refused(install: Install) -> None:
    install(
        "sync", "from ezkielyna import hookimpl\n@hookimpl\ndef startup(gateway):\n    return 3\n"
    )
    [hook] = loaded("sync").startup
    with pytest.raises(PluginRefused, match="plugin sync: startup: TypeError"):
        await hook(cast(Gateway, None))


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


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import there_is_no_such_module", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(
    install: Install, source: str, reason: str
) -> None:
    install("bad", source)
    [fault] = refused("bad")
    assert fault.file == "plugin bad"
    assert fault.reason.startswith(reason)


HOOK = """
import abc
from ezkielyna import Provider, ProviderSettings, RateLimiter, hookimpl

class Abstract(Provider):
    kind = "abstract"

class Good(Provider):
    kind = "good"

    def exchange(self, request, model):
        raise NotImplementedError

class Kindless(Good):
    kind = ""

class Unset(Good):
    kind = "unset"
    Settings = dict

@hookimpl
DEFINITION
"""


@pytest.mark.parametrize(
    ("definition", "key", "reason"),
    [
        ("def register_providers(): return Good", "register_providers", "must return a list"),
        ("def register_providers(): return None", "register_providers", "not NoneType"),
        ("async def register_providers(): return []", "register_providers", "not coroutine"),
        ("def register_providers(): return [Good('x', None)]", "register_providers", "subclasses"),
        ("def register_providers(): return [int]", "register_providers", "subclasses of Provider"),
        ("def register_rate_limiters(): return [Good]", "register_rate_limiters", "RateLimiter"),
        ("def register_providers(): return [Abstract]", "register_providers", "write exchange"),
        ("def register_providers(): return [Kindless]", "register_providers", "needs a kind"),
        ("def register_providers(): return [Unset]", "register_providers", "ProviderSettings"),
        ("def register_providers(): return [Good, Good]", "register_providers", "offer it once"),
        ("def register_providers(): return 1 / 0", "register_providers", "ZeroDivisionError"),
        ("def register_provider(): return []", "register_provider", "mean register_providers?"),
        ("def on_every_full_moon(): return []", "on_every_full_moon", "no such hook; hooks are"),
        ("async def startup(gateway, moon): pass", "hooks", "moon"),
    ],
)
def test_a_plugin_that_offers_rubbish_is_named(
    install: Install, definition: str, key: str, reason: str
) -> None:
    install("bad", HOOK.replace("DEFINITION", definition))
    [fault] = refused("bad")
    assert fault.file == "plugin bad"
    assert fault.key == key
    assert reason in fault.reason


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
