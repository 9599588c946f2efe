"""`ezkielyna prices diff`: what differs from the list, and a sentence where there is no list."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli import prices
from ezkielyna.cli.main import main

CATALOGUE = """
plugins = ["openai"]
[providers.lab]
kind = "openai"
base_url = "https://api.openai.com/v1"
[providers.here]
kind = "openai"
base_url = "http://127.0.0.1:9001/v1"
[models.small]
provider = "lab"
upstream_model = "gpt-4o-mini"
input = 0.15
cached_input = 0.075
output = 0.60
[models.dear]
provider = "lab"
upstream_model = "gpt-4o"
input = 3.00
output = 10
priced_on = 2026-11-04
[models.ours]
provider = "here"
upstream_model = "gpt-4o"
input = 0
output = 0
"""

LISTS = {
    "gpt-4o-mini": {"input": "0.15", "cached_input": "0.0750", "output": "0.6"},
    "gpt-4o": {"input": "2.50", "cached_input": "1.25", "output": "10"},
}

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "my.toml").write_text(CATALOGUE)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["--config", "my.toml", "prices", "diff", *words])

    return run


def look_up(model: str, address: str) -> prices.ListPrices | None:
    if "openai.com" not in address:
        return None
    return {key: (Decimal(text),) for key, text in LISTS[model].items()}


def test_what_differs_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_genai_prices", lambda: look_up)
    found = json.loads(run("--json").stdout)
    dear = {"model": "dear", "priced_on": "2026-11-04"}
    assert found == [
        {**dear, "price": "input", "ours": "3.00", "list": "2.50"},
        {**dear, "price": "cached_input", "ours": "3.00", "list": "1.25"},
    ]
    table = run()
    assert table.exit_code == 0
    assert "+20.0 %" in table.stdout
    assert "small" not in table.stdout
    assert table.stderr == "Not in the list, or at an unknown address: ours.\n"


def test_a_price_of_a_longer_prompt_is_a_list_price(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"input": (Decimal("2.50"), Decimal(3)), "output": (Decimal(10),)}
    monkeypatch.setattr(
        prices, "_genai_prices", lambda: lambda model, _: listed if model == "gpt-4o" else None
    )
    found = [entry for entry in json.loads(run("--json").stdout) if entry["model"] == "dear"]
    assert found == []


def test_nothing_differs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_genai_prices", lambda: lambda *_: None)
    assert run().stdout == "No price differs from the list.\n"
    assert json.loads(run("--json").stdout) == []


def test_without_the_extra_there_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("genai_prices", "genai_prices.data_snapshot"):
        monkeypatch.setitem(sys.modules, module, None)
    result = run()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'ezkielyna[prices]'" in result.stderr


def test_the_real_list_is_understood(run: Run) -> None:
    pytest.importorskip("genai_prices", reason="needs pip install ezkielyna[prices]")
    found = json.loads(run("--json").stdout)
    assert {"dear"} == {entry["model"] for entry in found}
    assert {"price": "input", "ours": "3.00", "list": "2.50"}.items() <= found[0].items()
