"""Plugins that are classes: made with their tables, which are checked like all settings."""

from __future__ import annotations

from typing import Any

import pytest

from ezkielyna.plugins import PluginRefused, Registries, load_plugins
from ezkielyna.settings import load
from ezkielyna.testing.plugins import InstallPlugin

PROVIDERS = """
from ezkielyna import hookimpl

@hookimpl
def register_providers():
    return []
"""

SETTLED = """
from pydantic import Field
from ezkielyna import Plugin, PluginSettings, hookimpl

class Settled(Plugin):
    class Settings(PluginSettings):
        depth: int = Field(3, ge=1, description="how deep")

    @hookimpl
    async def before_request(self, ctx):
        ctx.append(self.settings.depth)
"""


def tables(**more: Any) -> Registries:
    return load_plugins(load([], {}, options={"plugins": ["settled"], **more}))


async def test_a_class_is_made_with_its_table(install_plugin: InstallPlugin) -> None:
    install_plugin("settled", SETTLED, attribute="Settled")
    trace: list[int] = []
    for registries in (tables(), tables(plugin={"settled": {"depth": 7}})):
        [hook] = registries.before_request
        await hook.run(trace)
    assert trace == [3, 7]


@pytest.mark.parametrize(
    ("more", "key", "reason"),
    [
        ({"settled": {"depth": 0}}, "plugin.settled.depth", "greater than or equal to 1"),
        ({"settled": {"dept": 4}}, "plugin.settled.dept", "did you mean depth?"),
        ({"other": {}}, "plugin.other", "add 'other' to plugins, or remove the table"),
    ],
)
def test_a_wrong_table_is_named(
    install_plugin: InstallPlugin, more: dict[str, Any], key: str, reason: str
) -> None:
    install_plugin("settled", SETTLED, attribute="Settled")
    with pytest.raises(PluginRefused) as refusal:
        tables(plugin=more)
    [fault] = refusal.value.faults
    assert (fault.file, fault.key) == ("command line", key)
    assert reason in fault.reason


def test_a_module_takes_no_settings(install_plugin: InstallPlugin) -> None:
    install_plugin("settled", PROVIDERS)
    with pytest.raises(PluginRefused, match="the plugin settled takes no settings"):
        tables(plugin={"settled": {}})


def test_a_class_that_cannot_be_made_is_named(install_plugin: InstallPlugin) -> None:
    source = SETTLED.replace(
        "    @hookimpl", "    def __init__(self, settings): 1 / 0\n    @hookimpl"
    )
    install_plugin("settled", source, attribute="Settled")
    with pytest.raises(PluginRefused, match="plugin settled: Settled: ZeroDivisionError"):
        tables()
