"""The plugin is a pure translator: no I/O, no clock, no chance; and small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ezkielyna_gemini

FILES = sorted(Path(ezkielyna_gemini.__file__).parent.glob("*.py"))
PURE = {
    "__future__", "base64", "collections", "dataclasses", "datetime", "hashlib", "math", "re",
    "typing", "urllib.parse", "orjson", "pydantic", "ezkielyna", "ezkielyna_gemini",
}  # fmt: skip


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_nothing_that_touches_the_world_is_imported() -> None:
    for file in FILES:
        for name in imports(ast.parse(file.read_text())):
            assert name in PURE or name.split(".")[0] in PURE, (file.name, name)


def test_only_the_contract_is_imported() -> None:
    for file in FILES:
        for name in imports(ast.parse(file.read_text())):
            inside = name.startswith("ezkielyna.")
            assert not inside or name == "ezkielyna.dialect", (file.name, name)


def test_no_clock_is_read() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else ""
            assert name not in {"now", "utcnow", "today"}, file.name


def test_the_plugin_is_small() -> None:
    """Blank lines, comments and docstrings count."""
    lines = [len(file.read_text().splitlines()) for file in FILES]
    assert max(lines) < 400
    assert sum(lines) < 900
