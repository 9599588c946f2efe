"""Limits by account, by key and by model, and overrides: all of a request's or none."""

from __future__ import annotations

import pytest

from ezkielyna.contract.context import Account, Key, Model, Plan
from ezkielyna.contract.limiter import Permit
from ezkielyna.contract.limits import Limits, Override, Scope, scopes
from ezkielyna.testing.limits import PRICE, Bench, close

KEYED = Plan("p", rpm=60, key=Limits(rpm=12))
BY_MODEL = Plan("p", rpm=60, model=(("gpt-4o*", Limits(rpm=12)), ("gpt-4o-mini", Limits())))


def admitted(bench: Bench, **of: str) -> int:
    """Return how many requests pass at once."""
    count = 0
    while count < 1000 and isinstance(permit := bench.attempt(0, **of), Permit):
        close(permit)
        count += 1
    return count


def test_each_key_has_limits_of_its_own_under_the_accounts() -> None:
    bench = Bench(KEYED)
    assert admitted(bench, key="key_1") == 2
    error = bench.refuse(key="key_1")
    assert "for this API key: 12 requests a minute" in error.message
    assert error.retry_after_s == 5.0
    assert admitted(bench, key="key_2") == 2
    keys = [f"key_{number}" for number in range(3, 9)]
    assert [admitted(bench, key=key) for key in keys] == [2, 2, 2, 0, 0, 0]
    assert "reached: 60 requests a minute" in bench.refuse(key="key_9").message


def test_each_model_of_a_pattern_has_limits_of_its_own_in_each_account() -> None:
    bench = Bench(BY_MODEL)
    assert admitted(bench, model="gpt-4o") == 2
    assert "for the model 'gpt-4o': 12 requests" in bench.refuse(model="gpt-4o").message
    assert admitted(bench, model="gpt-4o-audio") == 2
    assert admitted(bench, model="gpt-4o", account="acc_2") == 2
    assert admitted(bench, model="gpt-4o-mini") == 6, "what the account still has"


def test_what_one_limit_refuses_is_not_counted_by_the_others() -> None:
    plan = Plan("p", rpm=600, tpm=10_000, key=Limits(concurrency=1), model=(("m", Limits(tpm=5)),))
    bench = Bench(plan)
    permit = bench.admit(5)
    before = bench.standing()
    for _ in range(50):
        assert "at once" in bench.refuse(5).message or "tokens" in bench.refuse(5).message
        assert "for the model" in bench.refuse(5, key="key_2").message
    assert bench.standing() == before
    close(permit, 5)
    bench.wait(61)
    close(bench.admit(5, key="key_2"), 5)


def test_slots_and_tokens_come_back_everywhere() -> None:
    limits = Limits(tpm=1000, tpd=5000, concurrency=1)
    bench = Bench(Plan("p", tpm=1000, concurrency=1, key=limits, model=(("*", limits),)))
    for _ in range(20):
        close(bench.admit(900), None)
    close(bench.admit(900), 950)
    for key, model in (("key_1", "m"), ("key_2", "m"), ("key_1", "other"), ("key_2", "other")):
        assert "tokens a minute" in bench.refuse(100, key=key, model=model).message
    bench.wait(61)
    permit = bench.admit(10)
    close(permit, 10)
    close(permit, 10)
    bench.admit(10)


def test_the_headers_tell_of_the_limit_that_leaves_least() -> None:
    plan = Plan("p", rpm=600, tpm=1000, key=Limits(rpm=60, tpm=5000))
    bench = Bench(plan)
    standing = bench.admit(100).standing
    assert (standing.limit_requests, standing.remaining_requests) == (60, 9)
    assert (standing.limit_tokens, standing.remaining_tokens) == (1000, 900)
    assert bench.standing() == standing
    other = bench.standing(key="key_2")
    assert (other.limit_requests, other.remaining_requests) == (60, 10)


def test_overrides_of_an_account_and_a_key() -> None:
    bench = Bench(KEYED)
    bench.overrides["acc_1"] = Override(rpm=0)
    assert [admitted(bench, key=f"key_{number}") for number in range(40)] == [2] * 40
    bench.overrides["key_1"] = Override(rpm=0)
    assert admitted(bench, key="key_1") == 1000
    bench.overrides["acc_1"] = Override(rpm=0, concurrency=1)
    bench.admit(key="key_1")
    assert "1 requests at once" in bench.refuse(key="key_1").message


def test_an_override_holds_from_the_next_request_and_what_was_used_counts() -> None:
    bench = Bench(Plan("p", rpm=60, tpm=6000))
    permit = bench.admit(5000)
    bench.overrides["acc_1"] = Override(rpm=600, tpm=5500)
    assert bench.standing().remaining_tokens == 500
    assert bench.standing().limit_requests == 600
    bench.refuse(1000)
    del bench.overrides["acc_1"]
    close(bench.admit(1000), 1000)
    close(permit, 5000)
    assert bench.standing().remaining_tokens == 0


def test_an_account_may_have_another_limit_for_a_model() -> None:
    bench = Bench(BY_MODEL)
    bench.overrides["acc_1"] = Override(models=(("gpt-4o", Override(rpm=24)),))
    assert admitted(bench, model="gpt-4o") == 4
    assert admitted(bench, model="gpt-4o-audio") == 2
    assert admitted(bench, model="gpt-4o", account="acc_2") == 2


@pytest.mark.parametrize(
    ("model", "rpm"),
    [("gpt-4o", 1), ("gpt-4o-mini", 2), ("gpt-4.1", 3), ("gpt-4o-mini-x", 4), ("claude", 0)],
)
def test_the_closest_pattern_holds(model: str, rpm: int) -> None:
    patterns = (("gpt-4o-mini", 2), ("gpt-*", 3), ("gpt-4o", 1), ("gpt-4o*", 4))
    plan = Plan("p", model=tuple((pattern, Limits(rpm=one)) for pattern, one in patterns))
    found = scopes(
        plan, Account("a", "e", "p"), Key("k", "a", "n"), Model(model, "", "", PRICE, 0, 0, "", "")
    )
    own = Scope("a", Limits())
    assert found == (
        [own, Scope(f"a/{model}", Limits(rpm=rpm), f" for the model '{model}'")] if rpm else [own]
    )


def test_an_override_leaves_what_it_does_not_name() -> None:
    limits = Limits(rpm=1, tpm=2, tpd=3, concurrency=4)
    assert Override(tpm=0, tpd=9).over(limits) == Limits(1, 0, 9, 4)
    assert Override().over(limits) == limits
    assert not Limits()
