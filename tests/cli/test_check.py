"""`check`, `models` and `plugins list`: what an operator reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ezkielyna import CONTRACT_VERSION
from ezkielyna.cli.main import main

Invoke = Callable[..., Result]

GOOD = """
plugins = ["openai"]
[providers.lab]
kind = "openai"
base_url = "http://127.0.0.1:9001/v1"
[models."gpt-lab"]
provider = "lab"
upstream_model = "gpt-4o"
input = 2.50
output = 10
context = 128000
priced_on = 2026-11-04
[models.picture]
provider = "lab"
image = 0.04
"""


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty folder, with a configuration file of this text."""
    monkeypatch.chdir(tmp_path)
    for name in ("EZKIELYNA_CONFIG", "EZKIELYNA_DATA"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str, text: str = GOOD) -> Result:
        (tmp_path / "my.toml").write_text(text)
        command = ["--config", "my.toml", *arguments]
        return CliRunner().invoke(main, command, catch_exceptions=False)

    return invoke


def test_a_good_configuration_passes_and_nothing_is_touched(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("check")
    assert result.exit_code == 0
    assert result.stdout == "ok: 2 models, 1 providers, 1 plans, 1 plugins\n"
    assert not result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my.toml"]


def test_nothing_to_serve_is_a_warning(invoke: Invoke) -> None:
    result = invoke("check", text="")
    assert result.exit_code == 0
    assert "nothing is served" in result.stderr


def test_limits_in_parts_are_a_warning(invoke: Invoke) -> None:
    result = invoke("check", text=GOOD + "[server]\nworkers = 4\n")
    assert result.exit_code == 0
    assert "each of 4 workers holds a part of the limits of plan default" in result.stderr


def test_every_fault_is_a_line_of_file_key_and_reason(invoke: Invoke) -> None:
    result = invoke("check", text="[server]\nprot = 1\nport = 'x'\n[models.m]\nprovider = 'p'\n")
    assert result.exit_code == 1
    assert not result.stdout
    lines = sorted(result.stderr.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["my.toml", "models.m"],
        ["my.toml", "server.port"],
        ["my.toml", "server.prot"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('plugins = ["opnai"]', "my.toml: plugins: 'opnai' is not installed"),
        (GOOD.replace('"openai"\nbase', '"stone"\nbase'), "my.toml: providers.lab.kind: no plugin"),
        (GOOD.replace('plugins = ["openai"]', ""), "my.toml: providers.lab.kind: no plugin"),
        (GOOD.replace("base_url", "base_uri"), "my.toml: providers.lab.base_uri: unknown key"),
        (GOOD.replace('= "lab"', '= "lob"'), "provider: there is no provider 'lob'"),
        ("[plans.pro]\nlimiter = 'redis'", "my.toml: plans.pro.limiter: no plugin"),
    ],
)
def test_plugins_and_names_are_checked_too(invoke: Invoke, text: str, said: str) -> None:
    result = invoke("check", text=text)
    assert result.exit_code == 1
    assert said in result.stderr


def test_models_have_route_and_prices(invoke: Invoke) -> None:
    records = json.loads(invoke("models", "--json").stdout)
    assert [record["model"] for record in records] == ["gpt-lab", "picture"]
    lab, picture = records
    assert (lab["provider"], lab["upstream_model"]) == ("lab", "gpt-4o")
    assert lab["prices"] == {"input": "2.50", "output": "10.00"}
    assert lab["priced_on"] == "2026-11-04"
    assert lab["context"] == 128_000
    assert picture["prices"] == {"image": "0.04"}
    assert lab["price_version"] != picture["price_version"]


def test_models_are_a_table_for_eyes_and_grep(invoke: Invoke) -> None:
    lines = invoke("models").stdout.splitlines()
    assert lines[0].split()[:4] == ["model", "route", "context", "input"]
    [line] = [line for line in lines if line.strip().startswith("gpt-lab")]
    assert line.split()[:6] == ["gpt-lab", "lab", "→", "gpt-4o", "128000", "2.50"]


def test_plugins_are_listed_with_version_and_offer(invoke: Invoke) -> None:
    records = {
        record["name"]: record for record in json.loads(invoke("plugins", "list", "--json").stdout)
    }
    assert records["ezkielyna"]["offers"] == [
        "limiter memory",
        "billing per-token",
        "payment voucher",
    ]
    openai = records["openai"]
    assert openai["enabled"]
    assert "provider openai" in openai["offers"]
    assert openai["distribution"] == "ezkielyna-openai"
    assert openai["version"].count(".") == 2
    gemini = records["gemini"]
    assert not gemini["enabled"]
    assert gemini["offers"] == []
    assert gemini["summary"]
    first, *lines = invoke("plugins", "list").stdout.splitlines()
    assert first == f"contract {CONTRACT_VERSION}"
    assert {record["contract"] for record in records.values()} == {CONTRACT_VERSION}
    assert len(lines) == len(records)
    assert any(line.startswith("openai ") and " enabled " in line for line in lines)


def test_a_broken_configuration_refuses_every_command(invoke: Invoke) -> None:
    for command in (["models"], ["plugins", "list"], ["check"]):
        result = invoke(*command, text="[sever]\n")
        assert result.exit_code == 1
        assert "my.toml: sever: unknown key; did you mean server?" in result.stderr
