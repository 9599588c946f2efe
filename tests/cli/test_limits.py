"""`accounts limits` and `keys limits`: show and change the limits of one account or key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import main
from ezkielyna.testing.database import DatabaseServer

Run = Callable[..., Result]
ANN = "ann@example.org"
CONFIG = """
[plans.default]
rpm = 60
tpm = 200000
concurrency = 20
key = { rpm = 30 }
"""
PLAN = {"rpm": 60, "tpm": 200_000, "tpd": 0, "concurrency": 20}


@pytest.fixture
def ezkielyna(
    database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command against a database of this test's own, which has one account."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "my.toml"
    config.write_text(CONFIG)
    monkeypatch.setenv("EZKIELYNA_CONFIG", str(config))
    monkeypatch.setenv("EZKIELYNA_STORAGE__URL", database_server.url)
    monkeypatch.setenv("EZKIELYNA_STORAGE__DATABASE", f"test_{uuid.uuid4().hex[:12]}")

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, words)

    assert run("accounts", "create", ANN).exit_code == 0
    return run


def record(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_an_account_has_its_plans_limits_until_it_is_given_others(ezkielyna: Run) -> None:
    shown = record(ezkielyna("accounts", "limits", ANN, "--json"))
    assert shown == {"email": ANN, "plan": "default", "override": {}, "limits": PLAN, "models": {}}
    shown = record(ezkielyna("accounts", "limits", ANN, "--rpm", "600", "--tpd", "0", "--json"))
    assert shown["override"] == {"rpm": 600, "tpd": 0}
    assert shown["limits"] == {**PLAN, "rpm": 600}
    shown = record(ezkielyna("accounts", "limits", ANN, "--tpm", "5", "--rpm", "plan", "--json"))
    assert shown["override"] == {"tpm": 5, "tpd": 0}
    assert shown["limits"] == {**PLAN, "tpm": 5}
    shown = record(ezkielyna("accounts", "limits", ANN, "--clear", "--json"))
    assert (shown["override"], shown["limits"]) == ({}, PLAN)


def test_a_model_of_an_account(ezkielyna: Run) -> None:
    words = ("accounts", "limits", ANN, "--model", "gpt-4o*")
    shown = record(ezkielyna(*words, "--rpm", "10", "--concurrency", "2", "--json"))
    assert shown["models"] == {"gpt-4o*": {"rpm": 10, "tpm": 0, "tpd": 0, "concurrency": 2}}
    assert shown["limits"] == PLAN
    ezkielyna("accounts", "limits", ANN, "--model", "o.3", "--tpm", "7")
    shown = record(ezkielyna(*words, "--concurrency", "plan", "--json"))
    assert {name: one["rpm"] for name, one in shown["models"].items()} == {"o.3": 0, "gpt-4o*": 10}
    shown = record(ezkielyna(*words, "--rpm", "plan", "--json"))
    assert set(shown["models"]) == {"o.3"}
    refused = ezkielyna(*words)
    assert refused.exit_code == 2
    assert "--model needs" in refused.stderr


def test_for_people_there_is_a_table(ezkielyna: Run) -> None:
    ezkielyna("accounts", "limits", ANN, "--model", "o3", "--tpm", "7")
    lines = ezkielyna("accounts", "limits", ANN, "--rpm", "0").stdout.splitlines()
    assert lines[1].split() == ["plan", "default", "60", "200000", "no", "limit", "20"]
    assert lines[2].split() == ["in", "force", "no", "limit", "200000", "no", "limit", "20"]
    assert lines[3].split()[:2] == ["model", "o3"]


def test_a_key_has_limits_from_the_start_or_later(ezkielyna: Run) -> None:
    words = ("keys", "create", ANN, "--rpm", "5", "--concurrency", "1", "--json")
    limited, free = record(ezkielyna(*words))["id"], record(ezkielyna(*words[:3], "--json"))["id"]
    shown = record(ezkielyna("keys", "limits", limited, "--json"))
    assert shown["override"] == {"rpm": 5, "concurrency": 1}
    assert shown["limits"] == {"rpm": 5, "tpm": 0, "tpd": 0, "concurrency": 1}
    assert record(ezkielyna("keys", "limits", free, "--json"))["limits"]["rpm"] == 30
    shown = record(ezkielyna("keys", "limits", free, "--tpm", "100", "--json"))
    assert shown["limits"] == {"rpm": 30, "tpm": 100, "tpd": 0, "concurrency": 0}
    shown = record(ezkielyna("keys", "limits", limited, "--clear", "--rpm", "7", "--json"))
    assert shown["override"] == {"rpm": 7}


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "1e3", "²", "9" * 20])
def test_what_is_no_limit_is_refused(ezkielyna: Run, value: str) -> None:
    result = ezkielyna("accounts", "limits", ANN, "--rpm", value)
    assert result.exit_code == 2
    assert "whole number" in result.stderr


def test_nobody_is_not_found(ezkielyna: Run) -> None:
    for words in (("accounts", "limits", "no@example.org"), ("keys", "limits", "key_x")):
        for more in ((), ("--rpm", "5")):
            result = ezkielyna(*words, *more)
            assert result.exit_code == 1
            assert "there is no" in result.stderr
