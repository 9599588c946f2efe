"""The rate limiter `memory`, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ezkielyna.contract.context import Plan
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Standing
from ezkielyna.defaults import memory
from ezkielyna.testing.limits import SECOND, Bench, at_once, close


def test_a_burst_is_a_sixth_of_the_limit_then_an_even_pace() -> None:
    bench = Bench(Plan("p", rpm=60))
    for _ in range(10):
        close(bench.admit())
    error = bench.refuse()
    assert error.retry_after_s == 1.0
    assert "60 requests a minute" in error.message
    bench.wait(0.999)
    bench.refuse()
    bench.wait(0.001)
    close(bench.admit())
    bench.refuse()


def test_a_small_limit_still_lets_one_through() -> None:
    bench = Bench(Plan("p", rpm=1))
    close(bench.admit())
    assert bench.refuse().retry_after_s == 60
    bench.wait(60)
    close(bench.admit())


def test_requests_are_never_more_than_limit_and_burst_in_a_minute() -> None:
    bench = Bench(Plan("p", rpm=600))
    admitted: list[int] = []
    for _ in range(3 * 1800):
        try:
            close(bench.admit())
            admitted.append(bench.now)
        except RateLimited:
            pass
        bench.wait(1 / 30)
    for start in range(0, 120, 7):
        begin = admitted[0] + start * SECOND
        window = sum(begin <= moment < begin + 60 * SECOND for moment in admitted)
        assert window <= 700
    assert len(admitted) >= 0.98 * 600 * 3


def test_tokens_are_charged_by_estimate_and_corrected_by_usage() -> None:
    bench = Bench(Plan("p", tpm=6000))
    first = bench.admit(3000, output=32_000)
    assert first.standing.remaining_tokens == 2000
    assert bench.standing().remaining_tokens == 2000
    error = bench.refuse(3000)
    assert "6000 tokens a minute" in error.message
    assert error.retry_after_s == 61.0
    close(first, used=3500)
    assert bench.standing().remaining_tokens == 2500
    bench.wait(5)
    close(bench.admit(2500), used=2500)
    assert bench.standing().remaining_tokens == 0
    assert bench.refuse(3000).retry_after_s == 56.0
    assert bench.refuse(4000).retry_after_s == 61.0
    bench.wait(56)
    close(bench.admit(3000), used=3000)


def test_more_than_estimated_is_charged_too() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(1000)
    bench.wait(30)
    close(permit, used=9000)
    assert bench.standing().remaining_tokens == 0
    assert bench.refuse(0).retry_after_s == 61.0
    assert bench.standing().reset_tokens_s == 61.0
    bench.wait(61)
    assert bench.standing().remaining_tokens == 6000
    bench.admit(6000)


def test_what_consumed_nothing_costs_nothing() -> None:
    bench = Bench(Plan("p", tpm=6000))
    close(bench.admit(5000), used=None)
    assert bench.standing().remaining_tokens == 6000


def test_no_window_is_emptier_than_empty() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(5000)
    bench.wait(61)
    other = bench.admit(2000)
    close(permit, used=0)
    assert bench.standing().remaining_tokens == 4000
    close(other, used=0)
    assert bench.standing().remaining_tokens == 6000
    assert bench.standing().reset_tokens_s == 0


def test_a_request_larger_than_the_limit_passes_when_nothing_is_used() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(10_000)
    wait = bench.refuse(10_000).retry_after_s
    assert wait == 61
    close(permit, used=10_000)
    bench.wait(61)
    bench.admit(10_000)


def test_tokens_a_day() -> None:
    bench = Bench(Plan("p", tpd=86_400))
    close(bench.admit(80_000), used=80_000)
    bench.wait(3600)
    close(bench.admit(6400), used=6400)
    error = bench.refuse(100)
    assert "86400 tokens a day" in error.message
    assert error.retry_after_s is not None
    assert 86_400 - 3600 <= error.retry_after_s <= 86_400 - 3600 + 24 * 60
    bench.wait(error.retry_after_s)
    bench.admit(100)


def test_slots_come_back() -> None:
    bench = Bench(Plan("p", concurrency=2))
    first, _ = bench.admit(), bench.admit()
    error = bench.refuse()
    assert "2 requests at once" in error.message
    assert error.retry_after_s == 1
    close(first)
    bench.admit()
    bench.refuse()


def test_closing_again_changes_nothing() -> None:
    bench = Bench(Plan("p", concurrency=2, tpm=6000))
    first, second = bench.admit(1000), bench.admit(1000)
    close(first, used=500)
    before = bench.standing()
    close(first, used=0)
    assert bench.standing() == before
    bench.admit()
    bench.refuse()
    close(second, used=1000)


def test_all_limits_or_none() -> None:
    bench = Bench(Plan("p", rpm=600, tpm=6000, tpd=100_000, concurrency=1))
    permit = bench.admit(1000)
    before = bench.standing()
    for _ in range(50):
        bench.refuse(1000)
        bench.refuse(6000)
    assert bench.standing() == before
    close(permit, used=1000)


def test_the_longest_wait_is_named() -> None:
    bench = Bench(Plan("p", rpm=1, tpm=6000))
    close(bench.admit(6000), used=6000)
    error = bench.refuse(3000)
    assert "tokens" in error.message
    assert error.retry_after_s == 61
    bench = Bench(Plan("p", rpm=1, tpm=6000))
    close(bench.admit(6000), used=10)
    assert "requests" in bench.refuse(600).message


def test_a_refusal_carries_the_standing() -> None:
    bench = Bench(Plan("p", rpm=6, tpm=6000))
    close(bench.admit(600), used=600)
    standing = bench.refuse(0).standing
    assert standing == bench.standing()
    assert standing == Standing(6, 0, 10.0, 6000, 5400, 61.0)


def test_no_limit_means_no_limit() -> None:
    bench = Bench(Plan("p"))
    for _ in range(1000):
        bench.admit(10**9)
    assert bench.standing() == Standing()


def test_accounts_do_not_disturb_each_other() -> None:
    bench = Bench(Plan("p", rpm=6, tpm=1000, concurrency=1))
    bench.admit(1000)
    bench.refuse(1)
    bench.admit(1000, account="acc_2")


@pytest.mark.parametrize("workers", [2, 3, 4, 7])
def test_workers_together_hold_the_limit(workers: int) -> None:
    plan = Plan("p", rpm=600, tpm=60_000, concurrency=28)
    benches = [Bench(plan, workers) for _ in range(workers)]
    running = 0
    for bench in benches:
        while True:
            try:
                bench.admit()
                running += 1
            except RateLimited:
                break
    assert running <= 28
    spent = 0
    for bench in [Bench(replace(plan, concurrency=0, rpm=0), workers) for _ in range(workers)]:
        while True:
            try:
                bench.admit(10)
                spent += 10
            except RateLimited:
                break
    assert 60_000 - 10 * workers <= spent <= 60_000


def test_a_change_of_plan_keeps_what_was_used() -> None:
    bench = Bench(Plan("small", rpm=60, tpm=6000, tpd=10_000, concurrency=1))
    permit = bench.admit(5000)
    bench.plan = Plan("large", rpm=600, tpm=60_000, concurrency=2)
    assert bench.admit(0).standing.remaining_tokens == 55_000
    bench.refuse()
    close(permit, used=5000)
    bench.plan = Plan("none")
    for _ in range(100):
        close(bench.admit(10**6), used=10**6)


def test_equal_plans_are_one_plan() -> None:
    bench = Bench(Plan("p", rpm=6))
    bench.admit()
    bench.plan = Plan("p", rpm=6)
    bench.refuse()
    bench.plan = Plan("p", rpm=12)
    bench.admit()
    bench.refuse()


def test_idle_accounts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_COUNTED", 50)
    bench = Bench(Plan("p", rpm=60, tpd=1000, concurrency=1))
    running = bench.admit(account="busy")
    for number in range(1000):
        close(bench.admit(10, account=f"acc_{number}"), used=10)
    assert len(bench.limiter._counts) <= 51
    bench.refuse(account="busy")
    close(running)
    bench.wait(2 * 86_400)
    for number in range(60):
        close(bench.admit(account=f"late_{number}"))
        bench.wait(60)
    assert len(bench.limiter._counts) <= memory.FEW + 1


def test_forgetting_what_is_whole_changes_nothing() -> None:
    bench = Bench(Plan("p", rpm=6))
    bench.admit(account="a")
    close(bench.admit(account="b"))
    bench.wait(60)
    bench.admit(account="c")
    assert "b" not in bench.limiter._counts or "a" in bench.limiter._counts
    bench.admit(account="b")


def test_who_was_forgotten_is_counted_from_the_next_request_on() -> None:
    bench = Bench(Plan("p", rpm=6, tpm=1000))
    same = bench.context(100, account="late", key="its")
    close(at_once(bench.limiter.admit(same)), used=100)
    bench.wait(120)
    for number in range(2 * memory.FEW):
        close(bench.admit(account=f"acc_{number}"))
    assert "late" not in bench.limiter._counts
    bench.wait(5)
    close(at_once(bench.limiter.admit(same)), used=100)
    assert bench.standing(account="late").remaining_tokens == 900
    bench.refuse(account="late")


async def test_admitting_never_waits() -> None:
    bench = Bench(Plan("p", concurrency=1000))
    permits = await asyncio.gather(*(bench.limiter.admit(bench.context()) for _ in range(1000)))
    assert len(permits) == 1000
    bench.refuse()
