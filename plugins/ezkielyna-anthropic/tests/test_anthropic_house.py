"""What the plugin promises about itself: purity, size, and tables that hold."""

from __future__ import annotations

import ast
from pathlib import Path

import orjson
import pytest

import ezkielyna_anthropic
from ezkielyna.testing.recordings import recordings
from ezkielyna_anthropic import AnthropicProvider
from ezkielyna_anthropic.models import UNKNOWN, capabilities

PACKAGE = Path(ezkielyna_anthropic.__file__).parent
FILES = sorted(PACKAGE.glob("*.py"))
MODULES = {"__future__", "base64", "binascii", "collections", "dataclasses", "fnmatch", "math"}
MODULES |= {"orjson", "pydantic", "re", "typing", "zlib", "ezkielyna", "ezkielyna_anthropic"}
MOST_LINES = 900
"""Of the whole plugin, with blank lines, comments and docstrings."""


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_that_does_input_or_output_is_imported(path: Path) -> None:
    names = imported(ast.parse(path.read_text()))
    assert {name.partition(".")[0] for name in names} <= MODULES
    inside = {name for name in names if name.startswith("ezkielyna.")}
    assert inside <= {"ezkielyna.dialect"}, "only the contract"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


def test_the_plugin_is_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in FILES) < MOST_LINES


def test_every_setting_is_described_and_in_the_readme() -> None:
    readme = (PACKAGE.parent / "README.md").read_text()
    for name, field in AnthropicProvider.Settings.model_fields.items():
        assert field.description, name
        assert f"`{name}`" in readme


def test_the_table_agrees_with_the_models_the_upstream_lists() -> None:
    listings = recordings(provider="anthropic", endpoint="models")
    if not listings:
        pytest.skip("no recordings")
    for model in orjson.loads(listings[0].response.body)["data"]:
        can, told = capabilities(model["id"]), model["capabilities"]
        assert can.max_output == model["max_tokens"], model["id"]
        kinds = told["thinking"]["types"]
        for kind in ("enabled", "adaptive"):
            assert (kind in can.thinking) == kinds[kind]["supported"], (model["id"], kind)
        for level in ("low", "medium", "high", "max"):
            assert (level in can.effort) == told["effort"][level]["supported"], (model["id"], level)
        assert can.structured == told["structured_outputs"]["supported"], model["id"]


def test_an_unknown_model_is_taken_for_a_new_one() -> None:
    assert capabilities("claude-opus-9") is UNKNOWN
