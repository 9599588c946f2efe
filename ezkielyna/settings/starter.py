"""What `--demo` adds: the simulated models, and the starter catalogue as far as keys are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ezkielyna
from ezkielyna.settings.documents import Document, read_all
from ezkielyna.settings.secrets import missing


def starter_folder() -> Path:
    """Return the folder of the configuration files that come with the installation."""
    package = Path(ezkielyna.__file__).parent
    shipped = package / "starter"
    return shipped if shipped.is_dir() else package.parent / "config"


def demo_documents(environment: Mapping[str, str]) -> list[tuple[Document, str]]:
    """Return the documents that `--demo` lays under the configuration, each with its file.

    A provider of the starter catalogue stays when all its secrets can be had; its plugin is the
    one named like its kind. Raises SettingsRefused when a file of the installation is broken.
    """
    folder = starter_folder()
    simulated, catalogue = read_all([folder / "demo.toml", folder / "models.toml"])
    return [simulated, (_reachable(catalogue[0], environment), catalogue[1])]


def _reachable(catalogue: Document, environment: Mapping[str, str]) -> Document:
    providers = {
        name: table
        for name, table in catalogue.get("providers", {}).items()
        if missing(table, environment) is None
    }
    models = {
        name: table
        for name, table in catalogue.get("models", {}).items()
        if table.get("provider") in providers
    }
    kinds = {table.get("kind") for table in providers.values()}
    plugins = [name for name in catalogue.get("plugins", []) if name in kinds]
    return {"plugins": plugins, "providers": providers, "models": models}
