"""The configuration: TOML files and environment variables, checked as a whole."""

from ezkielyna.settings.faults import Fault, Refused, SettingsRefused, dotted
from ezkielyna.settings.loading import explained, load
from ezkielyna.settings.model import (
    AccountSettings,
    MailSettings,
    ModelSettings,
    PlanSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    StorageSettings,
)
from ezkielyna.settings.secrets import server_secret
from ezkielyna.settings.starter import starter_folder

__all__ = [
    "AccountSettings",
    "Fault",
    "MailSettings",
    "ModelSettings",
    "PlanSettings",
    "RedisSettings",
    "Refused",
    "ServerSettings",
    "Settings",
    "SettingsRefused",
    "StorageSettings",
    "dotted",
    "explained",
    "load",
    "server_secret",
    "starter_folder",
]
