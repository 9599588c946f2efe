"""Plugins that cannot be imported or offer rubbish: the fault names the plugin and says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ezkielyna.plugins import PluginRefused, load_plugins
from ezkielyna.settings import Fault, load

Install = Callable[..., None]


@pytest.fixture
def install(install_plugin: Install) -> Install:
    return install_plugin


def refused(name: str) -> list[Fault]:
    with pytest.raises(PluginRefused) as refusal:
        load_plugins(load([], {}, options={"plugins": [name]}))
    return list(refusal.value.faults)


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
        ("async def register_providers(): return []", "register_providers", "with `def`"),
        ("def startup(gateway): return 3", "startup", "must be written with `async def`"),
        ("async def watch_stream(ctx): pass", "watch_stream", "must be written with `def`"),
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
