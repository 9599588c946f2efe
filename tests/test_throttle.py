"""Growing delays, on a clock that the test moves."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.errors import RateLimited
from ezkielyna.throttle import (
    LONGEST_S,
    SIGN_INS,
    Attempt,
    Attempts,
    Patience,
    Rules,
    Throttle,
    network,
)

HERE, THERE = "192.0.2.1", "192.0.2.2"
RULES = Rules(address=Patience(6, 30.0), account=Patience(3, 60.0))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waits(attempts: Attempts, address: str, account: str = "") -> float:
    with pytest.raises(RateLimited) as error:
        attempts.begin(address, account)
    assert error.value.retry_after_s is not None
    assert f"{error.value.retry_after_s:g} second" in error.value.message
    return error.value.retry_after_s


def test_some_are_free_then_each_waits_twice_as_long() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    for _ in range(3):
        attempts.begin(HERE, "ann@example.com")
    seen = []
    for _ in range(5):
        attempts.begin(HERE, "ann@example.com")
        seen.append(waits(attempts, HERE, "ann@example.com"))
        clock.now += seen[-1]
    assert seen == [1, 2, 4, 8, 14]  # the last is less than 16: one was forgiven in part


def test_after_the_wait_the_retry_passes_and_not_before() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    for _ in range(4):
        attempts.begin(HERE, "ann@example.com")
    clock.now += 0.9
    assert waits(attempts, HERE, "ann@example.com") == 1
    clock.now += 0.1
    attempts.begin(HERE, "ann@example.com")


def test_what_is_refused_is_not_counted() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    for _ in range(4):
        attempts.begin(HERE, "ann@example.com")
    for _ in range(100):
        waits(attempts, HERE, "ann@example.com")
    clock.now += 1
    attempts.begin(HERE, "ann@example.com")
    assert waits(attempts, HERE, "ann@example.com") == 2


def test_an_account_is_limited_over_all_addresses() -> None:
    attempts = Attempts(RULES, Clock())
    for number in range(4):
        attempts.begin(f"198.51.100.{number}", "Ann@Example.com ")
    assert waits(attempts, HERE, "ann@example.com") == 1
    attempts.begin(HERE, "bob@example.com")


def test_an_address_is_limited_over_all_accounts() -> None:
    attempts = Attempts(RULES, Clock())
    for number in range(7):
        attempts.begin(HERE, f"{number}@example.com")
    assert waits(attempts, HERE, "new@example.com") == 1
    assert waits(attempts, HERE) == 1
    attempts.begin(THERE, "new@example.com")


def test_success_forgets_the_accounts_failures_and_not_the_addresss() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    for _ in range(3):
        attempts.begin(HERE, "ann@example.com")
    last = attempts.begin(HERE, "ann@example.com")
    last.succeeded()
    last.succeeded()
    for _ in range(3):  # three of the six free ones of this address are gone
        attempts.begin(HERE, "ann@example.com").succeeded()
    for number in range(4):
        attempts.begin(HERE, f"{number}@example.com")
    waits(attempts, HERE, "ann@example.com")


def test_good_ones_never_wait() -> None:
    attempts = Attempts(RULES, Clock())
    for _ in range(1000):
        attempts.begin(HERE, "ann@example.com").succeeded()


def test_a_good_one_between_bad_ones_hides_nothing() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    bad = 0
    for number in range(100):
        try:
            attempts.begin(HERE, f"{number}@example.com")
            bad += 1
            attempts.begin(HERE, "mine@example.com").succeeded()
        except RateLimited:
            clock.now += 1
    assert bad < 20


def test_strangers_do_not_lock_out_who_was_here_before() -> None:
    clock = Clock()
    attempts = Attempts(RULES, clock)
    attempts.begin(HERE, "ann@example.com").succeeded()
    for number in range(50):
        try:
            attempts.begin(f"198.51.100.{number}", "ann@example.com")
        except RateLimited:
            clock.now += 0.3
    waits(attempts, "198.51.100.77", "ann@example.com")
    attempts.begin(HERE, "ann@example.com").succeeded()
    for _ in range(4):
        attempts.begin(HERE, "ann@example.com")
    waits(attempts, HERE, "ann@example.com")


def test_attempts_at_the_same_time_find_no_gap() -> None:
    attempts = Attempts(RULES, Clock())
    begun: list[Attempt] = []
    for _ in range(1000):
        with suppress(RateLimited):
            begun.append(attempts.begin(HERE, "ann@example.com"))
    assert len(begun) == 4


def test_who_never_stops_gets_what_is_forgiven() -> None:
    clock = Clock()
    attempts = Attempts(SIGN_INS, clock)
    tried = 0
    while clock.now < 1000 + 86_400:
        try:
            attempts.begin(HERE, "ann@example.com")
            tried += 1
        except RateLimited as refused:
            clock.now += refused.retry_after_s or 0
    assert tried <= SIGN_INS.account.free + 86_400 / SIGN_INS.account.forgiven_s + 10
    clock.now += 3600
    for _ in range(SIGN_INS.account.free):
        attempts.begin(HERE, "ann@example.com")


def test_memory_is_bounded() -> None:
    attempts = Attempts(RULES, Clock(), most=100)
    for number in range(1000):
        attempts.begin(f"10.0.{number // 256}.{number % 256}", f"{number}@x.y").succeeded()
        attempts.begin(f"10.1.{number // 256}.{number % 256}", f"{number}@x.y")
    assert len(attempts._addresses._subjects) <= 100
    assert len(attempts._accounts._subjects) <= 100
    assert len(attempts._known) <= 100


@given(
    steps=st.lists(
        st.one_of(st.just("count"), st.just("back"), st.floats(0, 500)), min_size=1, max_size=60
    ),
    free=st.integers(0, 5),
)
def test_waits_are_bounded_and_only_time_and_success_shorten_them(
    steps: list[str | float], free: int
) -> None:
    clock = Clock()
    throttle = Throttle(Patience(free, 20.0), clock)
    counted = 0
    for step in steps:
        before = throttle.wait_s("a")
        if step == "count":
            throttle.count("a")
            counted += 1
            assert throttle.wait_s("a") >= min(before, throttle.wait_s("a"))
        elif step == "back":
            throttle.take_back("a")
            assert throttle.wait_s("a") == 0
        else:
            clock.now += float(step)
            assert throttle.wait_s("a") <= before
        assert 0 <= throttle.wait_s("a") <= LONGEST_S
        assert throttle.wait_s("a") == 0 or counted > free


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_addresses_of_one_client(one: str, other: str) -> None:
    assert network(one) == network(other)


def test_addresses_of_different_clients() -> None:
    assert len({network(one) for one in ("2001:db8:1:2::1", "2001:db8:1:3::1", HERE, "?")}) == 4
