"""TOML files, merged in order, with the origin of every key remembered."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from ezkielyna.settings.faults import Fault, SettingsRefused
from ezkielyna.settings.model import origin_of

Document = dict[str, Any]


def read(path: Path) -> Document:
    """Return a TOML file as a dictionary, its fractions as exact decimals.

    Raises SettingsRefused when the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode(), parse_float=Decimal)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; name an existing file with --config"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    raise SettingsRefused([Fault(str(path), "", reason)])


def read_all(paths: Iterable[Path]) -> list[tuple[Document, str]]:
    """Return every file with its name; raises SettingsRefused with the faults of all of them."""
    documents: list[tuple[Document, str]] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            documents.append((read(path), str(path)))
        except SettingsRefused as refused:
            faults.extend(refused.faults)
    if faults:
        raise SettingsRefused(faults)
    return documents


def is_secret(value: Any) -> bool:
    """True for `{ env = "NAME" }` and `{ file = "PATH" }`, which stand for a string."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(key, name)] = value.items()
    return key in ("env", "file") and isinstance(name, str)


@dataclass(slots=True)
class Merged:
    """One tree out of many documents: tables are joined key by key, the later value wins."""

    tree: Document = field(default_factory=dict)
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    secrets: set[tuple[str, ...]] = field(default_factory=set)
    """Where a text stands that came out of the environment or a file of its own."""

    def add(self, document: Mapping[str, Any], origin: str) -> None:
        """Lay a document over what is there."""
        self._lay(self.tree, document, origin, ())

    def put(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        """Lay a single value over what is there."""
        document: Any = value
        for step in reversed(path):
            document = {step: document}
        self.add(document, origin)

    def origin(self, path: tuple[str, ...]) -> str:
        """Return where a key, or else the nearest table above it, was last written."""
        return origin_of(self.origins, path)

    def _lay(
        self, into: Document, table: Mapping[str, Any], origin: str, path: tuple[str, ...]
    ) -> None:
        for key, value in table.items():
            place = (*path, key)
            self.origins[place] = origin
            if not isinstance(value, dict) or is_secret(value):
                into[key] = value
                continue
            below = into.get(key)
            if not isinstance(below, dict) or is_secret(below):
                below = into[key] = {}
            self._lay(below, value, origin, place)
