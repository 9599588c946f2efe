"""A plugin with settings and state: an entry point may name a class instead of a module."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

CONTRACT_VERSION = "1.0"
"""The version of all that is exported here; `plugins/README.md` says what may change when."""


class PluginSettings(BaseModel):
    """What `[plugin.NAME]` may hold; a plugin adds fields by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plugin:
    """Hooks as methods of an object that has settings and keeps state.

    An entry point that names a subclass is made into one object a process, with the validated
    table `[plugin.NAME]`; all hooks are called on this object. A plugin without settings and
    state needs no class: its hooks are functions of a module.
    """

    class Settings(PluginSettings):
        """The settings of this plugin; `extra="forbid"` names a misspelt key at start-up."""

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings
