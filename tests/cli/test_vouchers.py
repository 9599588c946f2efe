"""`ezkielyna vouchers`: what it prints, what it keeps, what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]

CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}")


def test_create_prints_what_the_contract_says(ezkielyna: Run) -> None:
    result = ezkielyna("vouchers", "create", "10", "--count", "3", "--expires", "90d", "--json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert [set(each) for each in made] == [{"code", "amount"}] * 3
    assert {each["amount"] for each in made} == {"10.00"}
    assert len({each["code"] for each in made}) == 3
    assert all(CODE.fullmatch(each["code"]) for each in made)


def test_create_for_people_is_a_code_a_line(ezkielyna: Run) -> None:
    result = ezkielyna("vouchers", "create", "2.50", "--count", "2")
    assert result.exit_code == 0, result.stderr
    assert all(CODE.fullmatch(line) for line in result.stdout.splitlines())
    assert "2 vouchers of 2.50 USD" in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("0",), "too little"),
        (("ten",), "is not an amount of USD"),
        (("10", "--count", "0"), "0 is not in the range"),
        (("10", "--count", "1001"), "1001 is not in the range"),
        (("10", "--expires", "never"), "write 30d, 12h or 45m"),
    ],
)
def test_what_is_wrong_is_said(ezkielyna: Run, words: tuple[str, ...], reason: str) -> None:
    result = ezkielyna("vouchers", "create", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in " ".join(result.stderr.split())
