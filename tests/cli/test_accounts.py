"""`ezkielyna accounts`: what it prints, what it refuses, and with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from ezkielyna.storage.embedded import embedded_database

Run = Callable[..., Result]


def record(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_create_prints_what_the_contract_says(ezkielyna: Run) -> None:
    made = record(ezkielyna("accounts", "create", "Ann@example.org", "--credit", "5", "--json"))
    assert made == {"account": made["account"], "email": "ann@example.org", "balance": "5.00"}
    assert made["account"].startswith("acc_")


def test_create_for_people_says_it_in_a_sentence(ezkielyna: Run) -> None:
    result = ezkielyna("accounts", "create", "a@example.org")
    assert result.exit_code == 0
    assert "for a@example.org with 0.00 USD" in result.stdout


def test_the_same_email_twice_is_refused(ezkielyna: Run) -> None:
    ezkielyna("accounts", "create", "a@example.org")
    again = ezkielyna("accounts", "create", "A@example.org")
    assert again.exit_code == 1
    assert "already an account a@example.org" in again.stderr
    assert again.stdout == ""


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("create", "nobody"), 2, "'nobody' is not an e-mail address"),
        (("create", "a@example.org", "--credit", "five"), 2, "not an amount of USD"),
        (("create", "a@example.org", "--credit", "0.0000000001"), 2, "more than nine decimals"),
        (("create", "a@example.org", "--credit", "-1"), 2, "too little"),
        (("create", "a@example.org", "--credit", "1e99"), 2, "out of range"),
        (("create", "a@example.org", "--plan", "gold"), 1, "There is no plan 'gold'"),
        (("create",), 2, "Missing argument 'EMAIL'"),
        (("show", "a@example.org"), 1, "there is no account a@example.org"),
        (("suspend", "a@example.org"), 1, "there is no account a@example.org"),
        (("resume", "a@example.org"), 1, "there is no account a@example.org"),
        (("credit", "a@example.org", "5"), 2, "Missing option '--reason'"),
        (("credit", "a@example.org", "5", "--reason", " "), 2, "must not be empty"),
        (("credit", "a@example.org", "0", "--reason", "x"), 2, "changes nothing"),
        (("credit", "a@example.org", "5", "--reason", "x"), 1, "there is no account"),
    ],
)
def test_what_is_wrong_is_said(
    ezkielyna: Run, words: tuple[str, ...], status: int, reason: str
) -> None:
    result = ezkielyna("accounts", *words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert reason in result.stderr


def test_accounts_are_listed(ezkielyna: Run) -> None:
    assert "There are no accounts" in ezkielyna("accounts", "list").stdout
    assert record(ezkielyna("accounts", "list", "--json")) == []
    ezkielyna("accounts", "create", "b@example.org", "--credit", "1.5")
    ezkielyna("accounts", "create", "a@example.org")
    listed = record(ezkielyna("accounts", "list", "--json"))
    assert [(a["email"], a["balance"]) for a in listed] == [
        ("a@example.org", "0.00"),
        ("b@example.org", "1.50"),
    ]
    lines = ezkielyna("accounts", "list").stdout.splitlines()
    assert len(lines) == 3
    assert "b@example.org" in lines[2]


def test_an_account_is_suspended_and_resumed(ezkielyna: Run) -> None:
    ezkielyna("accounts", "create", "a@example.org", "--verified")
    suspended = record(ezkielyna("accounts", "suspend", "a@example.org", "--json"))
    assert suspended["status"] == "suspended"
    assert record(ezkielyna("accounts", "resume", "a@example.org", "--json"))["status"] == "active"
    shown = ezkielyna("accounts", "show", "a@example.org")
    assert "active" in shown.stdout
    assert record(ezkielyna("accounts", "show", "a@example.org", "--json"))["verified"] is True


def test_a_credit_with_a_reference_counts_once(ezkielyna: Run) -> None:
    ezkielyna("accounts", "create", "a@example.org")
    words = ("accounts", "credit", "a@example.org", "2.50", "--reason", "sorry", "--reference", "r")
    first, second = record(ezkielyna(*words, "--json")), record(ezkielyna(*words, "--json"))
    assert (first["credited"], first["balance"], first["reference"]) == (True, "2.50", "r")
    assert (second["credited"], second["balance"]) == (False, "2.50")
    assert "Nothing to do" in ezkielyna(*words).stdout


def test_a_correction_takes_away_what_is_free(ezkielyna: Run) -> None:
    ezkielyna("accounts", "create", "a@example.org", "--credit", "2")
    taken = ezkielyna("accounts", "credit", "a@example.org", "-0.50", "--reason", "slip", "--json")
    assert record(taken)["balance"] == "1.50"
    refused = ezkielyna("accounts", "credit", "a@example.org", "-1.51", "--reason", "slip")
    assert refused.exit_code == 1
    assert "1.50 USD of the account are free" in refused.stderr


def test_a_password_is_read_from_standard_input(ezkielyna: Run) -> None:
    short = ezkielyna("accounts", "create", "a@example.org", "--password-stdin", typed="short\n")
    assert short.exit_code == 1
    assert "at least 8 characters" in short.stderr
    made = ezkielyna(
        "accounts", "create", "a@example.org", "--password-stdin", typed="long enough\n"
    )
    assert made.exit_code == 0


def test_a_database_that_is_away_is_a_reason(
    ezkielyna: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZKIELYNA_STORAGE__URL", "mongodb://127.0.0.1:1/?directConnection=true")
    result = ezkielyna("accounts", "list")
    assert result.exit_code == 1
    assert "the database cannot be reached" in result.stderr


async def test_commands_work_beside_a_gateway_and_without_one(tmp_path: Path) -> None:
    def command(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "ezkielyna", *words, "--json", "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
        )
        return json.loads(done.stdout)

    async with embedded_database(tmp_path / "data"):
        made = command("accounts", "create", "a@example.org", "--credit", "1")
    assert command("accounts", "show", "a@example.org")["account"] == made["account"]
