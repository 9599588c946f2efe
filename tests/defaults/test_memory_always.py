"""What always holds of the rate limiter `memory`, whatever comes in whatever order.

60 runs of any plan and 100 of any window; `EZKIELYNA_SOAK=1` makes them 10,000.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ezkielyna.contract.context import Plan
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, Standing
from ezkielyna.contract.limits import NO_LIMITS
from ezkielyna.contract.limits import Limits as PerKey
from ezkielyna.testing.limits import SECOND, Bench, close

SOAK = bool(os.environ.get("EZKIELYNA_SOAK"))


class Limits(RuleBasedStateMachine):
    """Any plan, any order of requests, ends and time."""

    plan: Plan

    @initialize(
        rpm=st.sampled_from([0, 1, 5, 7, 60, 600, 999]),
        tpm=st.sampled_from([0, 1, 100, 6001, 200_000]),
        tpd=st.sampled_from([0, 5000, 100_001]),
        concurrency=st.sampled_from([0, 1, 3]),
        key=st.sampled_from([NO_LIMITS, PerKey(rpm=7, tpm=3000), PerKey(tpd=6000, concurrency=2)]),
        workers=st.sampled_from([1, 1, 2, 3]),
    )
    def begin(
        self, rpm: int, tpm: int, tpd: int, concurrency: int, key: PerKey, workers: int
    ) -> None:
        plan = Plan("p", rpm=rpm, tpm=tpm, tpd=tpd, concurrency=concurrency, key=key)
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
        assert (now.limit_requests or 0) in {plan.rpm, plan.key.rpm}
        assert (now.limit_tokens or 0) in {plan.tpm, plan.key.tpm}
        if now.remaining_requests is not None:
            assert 0 <= now.remaining_requests <= max(1, plan.rpm, plan.key.rpm)
        if now.remaining_tokens is not None:
            assert 0 <= now.remaining_tokens <= max(plan.tpm, plan.key.tpm)
        if self.still is not None:
            assert (now.remaining_requests or 0) <= (self.still.remaining_requests or 0)
            assert (now.remaining_tokens or 0) <= (self.still.remaining_tokens or 0)
        self.still = now
        counts = self.bench.limiter._counts.get("acc_1")
        assert (counts.running if counts else 0) == len(self.open)
        for limit in filter(None, (plan.concurrency, plan.key.concurrency)):
            assert len(self.open) <= max(1, limit // self.bench.limiter.workers)


TestLimits = Limits.TestCase
TestLimits.settings = settings(
    max_examples=10_000 if SOAK else 60, stateful_step_count=30, deadline=None
)


@settings(max_examples=10_000 if SOAK else 100, deadline=None)
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


@settings(max_examples=10_000 if SOAK else 100, deadline=None)
@given(
    tpm=st.integers(1000, 50_000),
    steps=st.lists(
        st.tuples(
            st.integers(0, 20 * SECOND), st.integers(0, 9000), st.floats(0.5, 1.5), st.booleans()
        ),
        min_size=1,
        max_size=80,
    ),
)
def test_any_window_holds_at_most_the_limit_and_one_request(
    tpm: int, steps: list[tuple[int, int, float, bool]]
) -> None:
    """One request after another, with estimates that are off by half either way."""
    bench = Bench(Plan("p", tpm=tpm))
    used: list[tuple[int, int]] = []
    for gap, estimate, error, patient in steps:
        bench.now += gap
        permit = bench.attempt(estimate)
        if isinstance(permit, RateLimited):
            if not patient:
                continue
            bench.wait(permit.retry_after_s or 0)
            permit = bench.admit(estimate)
        real = round(estimate * error)
        close(permit, real)
        used.append((bench.now, real))
    for begin, _ in used:
        inside = [real for moment, real in used if begin <= moment < begin + 60 * SECOND]
        assert sum(inside) <= tpm + max(inside)
    assert all(one <= other for (one, _), (other, _) in pairwise(used))


def test_a_steady_rate_of_the_limit_is_used_up() -> None:
    bench, admitted = Bench(Plan("p", tpm=60_000)), 0
    for _ in range(3 * 600):
        permit = bench.attempt(200)
        if not isinstance(permit, RateLimited):
            close(permit, 200)
            admitted += 200
        bench.wait(0.1)
    assert admitted >= 0.97 * 3 * 60_000
