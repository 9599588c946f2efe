"""The rate limiter `memory`, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, Standing
from ezkielyna.contract.money import Price
from ezkielyna.contract.requests import ChatRequest
from ezkielyna.contract.usage import Usage
from ezkielyna.defaults import MemoryLimiter, memory

T = TypeVar("T")
SECOND = 1_000_000_000
REQUEST = ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}])
MODEL = Model("m", "p", "m", Price("v", {"input": 0, "output": 0}), 0, 0, "o", "M")
KEY = Key("key_1", "acc_1", "k")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine that never waits returns."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise AssertionError("the limiter waited")


class Bench:
    """A limiter, its clock, and requests to it."""

    def __init__(self, plan: Plan, workers: int = 1) -> None:
        self.now = 1_000 * SECOND
        self.plan = plan
        self.limiter = MemoryLimiter(workers, clock=lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += math.ceil(seconds * SECOND)

    def context(self, tokens: int = 0, output: int = 0, account: str = "acc_1") -> RequestContext:
        return RequestContext(
            request_id="req_1",
            endpoint="chat.completions",
            request=REQUEST,
            account=Account(account, "a@b.c", "p"),
            key=KEY,
            plan=self.plan,
            model=MODEL,
            started_at=0.0,
            input_estimate=tokens,
            output_bound=output,
        )

    def admit(self, tokens: int = 0, output: int = 0, account: str = "acc_1") -> Permit:
        return at_once(self.limiter.admit(self.context(tokens, output, account)))

    def attempt(self, tokens: int) -> Permit | RateLimited:
        try:
            return self.admit(tokens)
        except RateLimited as refusal:
            return refusal

    def refuse(self, tokens: int = 0, output: int = 0, account: str = "acc_1") -> RateLimited:
        with pytest.raises(RateLimited) as error:
            self.admit(tokens, output, account)
        return error.value

    def standing(self, account: str = "acc_1") -> Standing:
        return self.limiter.standing(Account(account, "a@b.c", "p"), KEY, self.plan)


def close(permit: Permit, used: int | None = None) -> None:
    at_once(permit.close(None if used is None else Usage(input=used)))


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
    assert error.retry_after_s == 10.0
    close(first, used=3500)
    assert bench.standing().remaining_tokens == 2500
    bench.wait(5)
    close(bench.admit(3000), used=3000)
    assert bench.standing().remaining_tokens == 0


def test_more_than_estimated_is_charged_too() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(1000)
    close(permit, used=9000)
    assert bench.standing().remaining_tokens == 0
    assert bench.refuse(0).retry_after_s == 30.0
    assert bench.standing().reset_tokens_s == 90.0


def test_what_consumed_nothing_costs_nothing() -> None:
    bench = Bench(Plan("p", tpm=6000))
    close(bench.admit(5000), used=None)
    assert bench.standing().remaining_tokens == 6000


def test_a_bucket_is_never_more_than_full() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(5000)
    bench.wait(60)
    close(permit, used=0)
    assert bench.standing().remaining_tokens == 6000
    assert bench.standing().reset_tokens_s == 0


def test_a_request_larger_than_the_limit_passes_when_the_bucket_is_full() -> None:
    bench = Bench(Plan("p", tpm=6000))
    permit = bench.admit(10_000)
    wait = bench.refuse(10_000).retry_after_s
    assert wait == 100
    close(permit, used=10_000)
    bench.wait(100)
    bench.admit(10_000)


def test_tokens_a_day() -> None:
    bench = Bench(Plan("p", tpd=86_400))
    close(bench.admit(86_400), used=86_400)
    error = bench.refuse(100)
    assert "86400 tokens a day" in error.message
    assert error.retry_after_s == 100
    bench.wait(100)
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
    bench = Bench(Plan("p", rpm=6, tpm=6000))
    close(bench.admit(6000), used=6000)
    error = bench.refuse(3000)
    assert "tokens" in error.message
    assert error.retry_after_s == 30
    assert "requests" in bench.refuse(600).message


def test_a_refusal_carries_the_standing() -> None:
    bench = Bench(Plan("p", rpm=6, tpm=6000))
    close(bench.admit(600), used=600)
    standing = bench.refuse(0).standing
    assert standing == bench.standing()
    assert standing == Standing(6, 0, 10.0, 6000, 5400, 6.0)


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
    monkeypatch.setattr(memory, "MOST_ACCOUNTS", 50)
    bench = Bench(Plan("p", rpm=60, tpd=1000, concurrency=1))
    running = bench.admit(account="busy")
    for number in range(1000):
        close(bench.admit(10, account=f"acc_{number}"), used=10)
    assert len(bench.limiter._accounts) <= 51
    bench.refuse(account="busy")
    close(running)
    bench.wait(2 * 86_400)
    for number in range(60):
        close(bench.admit(account=f"late_{number}"))
        bench.wait(60)
    assert len(bench.limiter._accounts) <= 3


def test_forgetting_what_is_whole_changes_nothing() -> None:
    bench = Bench(Plan("p", rpm=6))
    bench.admit(account="a")
    close(bench.admit(account="b"))
    bench.wait(60)
    bench.admit(account="c")
    assert "b" not in bench.limiter._accounts or "a" in bench.limiter._accounts
    bench.admit(account="b")


async def test_admitting_never_waits() -> None:
    bench = Bench(Plan("p", concurrency=1000))
    permits = await asyncio.gather(*(bench.limiter.admit(bench.context()) for _ in range(1000)))
    assert len(permits) == 1000
    bench.refuse()


class Limits(RuleBasedStateMachine):
    """Any plan, any order of requests, ends and time."""

    plan: Plan

    @initialize(
        rpm=st.sampled_from([0, 1, 5, 7, 60, 600, 999]),
        tpm=st.sampled_from([0, 1, 100, 6001, 200_000]),
        tpd=st.sampled_from([0, 5000, 100_001]),
        concurrency=st.sampled_from([0, 1, 3]),
        workers=st.sampled_from([1, 1, 2, 3]),
    )
    def begin(self, rpm: int, tpm: int, tpd: int, concurrency: int, workers: int) -> None:
        plan = Plan("p", rpm=rpm, tpm=tpm, tpd=tpd, concurrency=concurrency)
        self.bench = Bench(plan, workers)
        self.open: list[Permit] = []
        self.still: Standing | None = None

    @rule(tokens=st.integers(0, 5000))
    def request(self, tokens: int) -> None:
        before = self.bench.standing()
        permit = self.bench.attempt(tokens)
        if isinstance(permit, RateLimited):
            assert permit.retry_after_s is not None
            assert permit.retry_after_s > 0
            assert self.bench.standing() == before, "a refusal takes nothing"
            assert permit.standing == before
            return
        self.open.append(permit)
        if before.remaining_requests is not None:
            assert before.remaining_requests >= 1
            assert permit.standing.remaining_requests == before.remaining_requests - 1

    @rule(tokens=st.integers(0, 5000))
    def retry_after_the_time_given_passes(self, tokens: int) -> None:
        permit = self.bench.attempt(tokens)
        if not isinstance(permit, RateLimited):
            self.open.append(permit)
            return
        while self.open:
            close(self.open.pop(), used=0)
        self.still = None
        self.bench.wait(permit.retry_after_s or 0)
        self.open.append(self.bench.admit(tokens))

    @precondition(lambda self: self.open)
    @rule(used=st.none() | st.integers(0, 9000), pick=st.randoms())
    def end(self, used: int | None, pick: Any) -> None:
        permit = self.open.pop(pick.randrange(len(self.open)))
        close(permit, used)
        self.still = None

    @rule(seconds=st.floats(0.000001, 4000))
    def pass_time(self, seconds: float) -> None:
        self.bench.wait(seconds)
        self.still = None

    @invariant()
    def headers_are_truthful(self) -> None:
        if not hasattr(self, "bench"):
            return
        plan, now = self.bench.plan, self.bench.standing()
        assert (now.limit_requests or 0, now.limit_tokens or 0) == (plan.rpm, plan.tpm)
        if now.remaining_requests is not None:
            assert 0 <= now.remaining_requests <= max(1, plan.rpm)
        if now.remaining_tokens is not None:
            assert 0 <= now.remaining_tokens <= plan.tpm
        if self.still is not None:
            assert (now.remaining_requests or 0) <= (self.still.remaining_requests or 0)
            assert (now.remaining_tokens or 0) <= (self.still.remaining_tokens or 0)
        self.still = now
        counts = self.bench.limiter._accounts.get("acc_1")
        assert (counts.running if counts else 0) == len(self.open)
        slots = max(1, plan.concurrency // self.bench.limiter.workers)
        assert not plan.concurrency or len(self.open) <= slots


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(
    rpm=st.integers(1, 5000),
    gaps=st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=200),
)
def test_any_window_holds_at_most_limit_and_burst(rpm: int, gaps: list[int]) -> None:
    bench = Bench(Plan("p", rpm=rpm))
    admitted: list[int] = []
    for gap in gaps:
        bench.now += gap
        try:
            close(bench.admit())
            admitted.append(bench.now)
        except RateLimited:
            pass
    for begin in admitted:
        inside = [moment for moment in admitted if begin <= moment < begin + 60 * SECOND]
        assert len(inside) <= rpm + max(1, rpm // 6)
