"""`ezkielyna keys`: what it prints, what it refuses, and with which exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ezkielyna.storage.keyformat import well_formed

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _account(ezkielyna: Run) -> None:
    """The database has one account."""
    assert ezkielyna("accounts", "create", "a@example.org").exit_code == 0


def record(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_create_prints_what_the_contract_says(ezkielyna: Run) -> None:
    made = record(ezkielyna("keys", "create", "A@example.org", "--name", "app", "--json"))
    assert set(made) == {"id", "key", "name"}
    assert made["name"] == "app"
    assert made["id"].startswith("key_")
    assert well_formed(made["key"])


def test_create_for_people_shows_the_key_on_a_line_of_its_own(ezkielyna: Run) -> None:
    result = ezkielyna("keys", "create", "a@example.org")
    assert "shown this once" in result.stdout
    assert well_formed(result.stdout.splitlines()[-1])


def test_bounds_are_kept(ezkielyna: Run) -> None:
    words = ("--models", "gpt-4o*, o3", "--expires", "30d", "--limit", "2.50")
    made = record(ezkielyna("keys", "create", "a@example.org", *words, "--json"))
    [listed] = record(ezkielyna("keys", "list", "a@example.org", "--json"))
    assert listed["id"] == made["id"]
    assert listed["models"] == ["gpt-4o*", "o3"]
    assert listed["limit"] == "2.50"
    assert listed["expires_at"].endswith("Z")
    assert (listed["state"], listed["revoked_at"]) == ("active", None)
    assert made["key"] not in json.dumps(listed)


def test_a_revoked_key_stays_in_the_list(ezkielyna: Run) -> None:
    made = record(ezkielyna("keys", "create", "a@example.org", "--json"))
    assert "is revoked" in ezkielyna("keys", "revoke", made["id"]).stdout
    assert record(ezkielyna("keys", "revoke", made["id"], "--json"))["state"] == "revoked"
    lines = ezkielyna("keys", "list", "a@example.org").stdout.splitlines()
    assert len(lines) == 2
    assert "revoked" in lines[1]


def test_no_keys_is_a_sentence(ezkielyna: Run) -> None:
    assert "has no keys" in ezkielyna("keys", "list", "a@example.org").stdout


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("create", "b@example.org"), 1, "there is no account b@example.org"),
        (("list", "b@example.org"), 1, "there is no account b@example.org"),
        (("create", "b"), 2, "'b' is not an e-mail address"),
        (("create", "a@example.org", "--expires", "0d"), 2, "0d does not end between now"),
        (("create", "a@example.org", "--expires", "-3d"), 2, "is not a duration"),
        (("create", "a@example.org", "--expires", "soon"), 2, "write 30d, 12h or 45m"),
        (("create", "a@example.org", "--expires", "999999w"), 2, "a hundred years"),
        (("create", "a@example.org", "--expires", "999999999w"), 2, "is not a duration"),
        (("create", "a@example.org", "--limit", "0"), 2, "too little"),
        (("create", "a@example.org", "--models", ","), 2, "name at least one"),
        (("create", "a@example.org", "--name", ""), 2, "must not be empty"),
        (("revoke", "key_x"), 1, "there is no key key_x"),
        (("revoke", "ez-whole-key"), 2, "name its id"),
    ],
)
def test_what_is_wrong_is_said(
    ezkielyna: Run, words: tuple[str, ...], status: int, reason: str
) -> None:
    result = ezkielyna("keys", *words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert reason in " ".join(result.stderr.split())
