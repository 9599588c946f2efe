"""Plugins written inside of a test, installed as pip would install them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ezkielyna.plugins import installed

InstallPlugin = Callable[..., None]


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Return what installs a plugin: `install_plugin(name, source)`, a module and its dist-info.

    `attribute` names an object or a class of the module as the plugin, `module` how it is called.
    """
    made: list[str] = []

    def install(name: str, source: str, *, module: str = "", attribute: str = "") -> None:
        module = module or f"plugin_of_test_{name}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        target = f"{module}:{attribute}" if attribute else module
        (info / "entry_points.txt").write_text(f"[ezkielyna]\n{name} = {target}\n")
        installed.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    installed.cache_clear()
    for module in made:
        sys.modules.pop(module, None)
