"""What is wrong with a configuration: every fault at once, each with its place and a way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to mend: the file (or variable) it is in, the key, and what to do about it.

    `key` is dotted as in TOML and empty where the whole file is meant. No secret is ever quoted.
    """

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.reason) if part)


class Refused(Exception):
    """The gateway cannot start; `faults` names every reason, at least one."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        assert self.faults
        super().__init__("\n".join(map(str, self.faults)))


class SettingsRefused(Refused):
    """The configuration is wrong."""


def dotted(path: Iterable[str | int]) -> str:
    """Return a key as it is written in TOML, quoted where TOML asks for it."""
    return ".".join(_quoted(str(step)) for step in path)


def _quoted(step: str) -> str:
    bare = step.replace("-", "").replace("_", "")
    return step if bare.isascii() and bare.isalnum() else f'"{step}"'
