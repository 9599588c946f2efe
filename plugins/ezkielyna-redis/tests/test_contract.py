"""What every rate limiter promises, asked of `redis` and of the built-in `memory` alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from ezkielyna import (
    Account,
    Key,
    Limits,
    Override,
    Permit,
    Plan,
    RateLimited,
    RateLimiter,
    Standing,
    Usage,
)
from ezkielyna.defaults import MemoryLimiter

Make = Callable[[], Awaitable[RateLimiter]]
KEY = Key("key_1", "acc_1", "k")
ACCOUNT = Account("acc_1", "a@b.c", "p")
TIMER_S = 0.001
"""By so much a timer of the event loop may be early: uvloop's go by whole milliseconds."""


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "redis":
        start: Make = request.getfixturevalue("limiters")
        return start

    async def memory() -> RateLimiter:
        return MemoryLimiter(1)

    return memory


async def refused(limiter: RateLimiter, ctx: Any) -> RateLimited:
    with pytest.raises(RateLimited) as error:
        await limiter.admit(ctx)
    return error.value


async def test_a_burst_then_an_even_pace(make: Make, context: Any) -> None:
    limiter, ctx = await make(), context(Plan("p", rpm=120))
    lefts = []
    for _ in range(20):
        permit = await limiter.admit(ctx)
        lefts.append(permit.standing.remaining_requests)
        await permit.close(None)
    assert lefts[0] == 19
    assert lefts == sorted(lefts, reverse=True)
    error = await refused(limiter, ctx)
    assert "120 requests a minute" in error.message
    assert error.retry_after_s is not None
    assert 0.3 < error.retry_after_s <= 0.5
    assert error.standing is not None
    assert error.standing.remaining_requests == 0
    await asyncio.sleep(error.retry_after_s + TIMER_S)
    await (await limiter.admit(ctx)).close(None)
    await refused(limiter, ctx)


async def test_tokens_are_charged_by_estimate_and_corrected_by_usage(
    make: Make, context: Any
) -> None:
    limiter, plan = await make(), Plan("p", tpm=6000)
    first = await limiter.admit(context(plan, 3000, 32_000))
    assert first.standing.limit_tokens == 6000
    assert first.standing.remaining_tokens == 2000
    error = await refused(limiter, context(plan, 3000))
    assert "6000 tokens a minute" in error.message
    assert error.retry_after_s == pytest.approx(60.5, abs=0.6)
    await first.close(Usage(input=3000, output=500))
    left = limiter.standing(ACCOUNT, KEY, plan).remaining_tokens
    assert left == pytest.approx(2500, abs=100)
    second = await limiter.admit(context(plan, 2500))
    await second.close(Usage(input=9000))
    assert limiter.standing(ACCOUNT, KEY, plan).remaining_tokens == 0
    error = await refused(limiter, context(plan, 1))
    assert error.retry_after_s == pytest.approx(60.5, abs=0.6)


async def test_nothing_consumed_costs_no_tokens(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p", tpm=1000, tpd=1000)
    for _ in range(5):
        await (await limiter.admit(context(plan, 900))).close(None)
    await (await limiter.admit(context(plan, 1000))).close(None)


async def test_an_empty_window_takes_a_request_of_any_size(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p", tpm=1000)
    permit = await limiter.admit(context(plan, 5000))
    await permit.close(Usage(input=5000))
    error = await refused(limiter, context(plan, 1))
    assert error.retry_after_s == pytest.approx(60.5, abs=0.6)


async def test_tokens_a_day_name_themselves(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p", tpm=100_000, tpd=10_000)
    await (await limiter.admit(context(plan, 10_000))).close(Usage(input=10_000))
    error = await refused(limiter, context(plan, 1000))
    assert "10000 tokens a day" in error.message
    assert error.retry_after_s == pytest.approx(86_400, abs=1441)


async def test_slots_are_given_back_once(make: Make, context: Any) -> None:
    limiter, ctx = await make(), context(Plan("p", concurrency=2))
    first, second = await limiter.admit(ctx), await limiter.admit(ctx)
    error = await refused(limiter, ctx)
    assert "2 requests at once" in error.message
    assert error.retry_after_s == 1.0
    await first.close(Usage(input=1))
    await first.close(Usage(input=1))
    third = await limiter.admit(ctx)
    await refused(limiter, ctx)
    await second.close(None)
    await third.close(None)


async def test_all_limits_are_granted_or_none(make: Make, context: Any) -> None:
    limiter = await make()
    plan = Plan("p", rpm=60, tpm=1000, tpd=100_000, concurrency=1)
    permit = await limiter.admit(context(plan, 100))
    before = limiter.standing(ACCOUNT, KEY, plan)
    for _ in range(20):
        await refused(limiter, context(plan, 100))
    after = limiter.standing(ACCOUNT, KEY, plan)
    assert after.remaining_requests is not None
    assert before.remaining_requests is not None
    assert after.remaining_requests >= before.remaining_requests
    await permit.close(Usage(input=100))
    await refused(limiter, context(plan, 950))
    await (await limiter.admit(context(plan, 100))).close(None)


async def test_accounts_do_not_touch_each_other(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p", rpm=6)
    await (await limiter.admit(context(plan, account="acc_1"))).close(None)
    await refused(limiter, context(plan, account="acc_1"))
    await (await limiter.admit(context(plan, account="acc_2"))).close(None)


async def test_without_limits_nothing_is_shown(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p")
    permits: list[Permit] = [await limiter.admit(context(plan, 10**9)) for _ in range(100)]
    assert {permit.standing for permit in permits} == {Standing()}
    for permit in permits:
        await permit.close(Usage(input=1))
    assert {value for _, value in limiter.standing(ACCOUNT, KEY, plan).headers()} == {
        "2147483647",
        "0s",
    }


async def test_keys_and_models_have_limits_of_their_own(make: Make, context: Any) -> None:
    limiter = await make()
    plan = Plan("p", rpm=60, key=Limits(rpm=12), model=(("m*", Limits(rpm=12)),))
    first = await limiter.admit(context(plan))
    assert first.standing.limit_requests == 12
    assert first.standing.remaining_requests == 1
    await limiter.admit(context(plan))
    error = await refused(limiter, context(plan))
    assert "12 requests a minute" in error.message
    assert error.retry_after_s == pytest.approx(5, abs=0.3)
    assert "for this API key" in (await refused(limiter, context(plan, model="other"))).message
    assert "for the model 'm'" in (await refused(limiter, context(plan, key="key_2"))).message
    for number in range(4):
        for _ in range(2):
            await limiter.admit(context(plan, key=f"key_1{number}", model="other"))
    error = await refused(limiter, context(plan, key="key_3", model="other"))
    assert "reached: 60 requests a minute" in error.message


async def test_what_one_scope_refuses_no_other_counts(make: Make, context: Any) -> None:
    limiter = await make()
    limits = Limits(tpm=500, tpd=5000, concurrency=1)
    plan = Plan("p", rpm=600, tpm=1000, concurrency=9, key=limits, model=(("m", limits),))
    held = await limiter.admit(context(plan, 400))
    before = limiter.standing(ACCOUNT, KEY, plan)
    for _ in range(20):
        await refused(limiter, context(plan, 400))
        await refused(limiter, context(plan, 400, key="key_2"))
    after = limiter.standing(ACCOUNT, KEY, plan)
    assert after.remaining_tokens == before.remaining_tokens == 100
    await held.close(Usage(input=450))
    other = await limiter.admit(context(plan, 450, key="key_2", model="n"))
    await other.close(Usage(input=450))
    await refused(limiter, context(plan, 101, key="key_3", model="n"))
    await (await limiter.admit(context(plan, 50))).close(None)


async def test_an_override_holds_from_the_next_request(make: Make, context: Any) -> None:
    limiter, plan = await make(), Plan("p", rpm=6)
    await limiter.admit(context(plan))
    await refused(limiter, context(plan))
    lifted = context(plan)
    lifted.account = replace(lifted.account, limits=Override(rpm=0, tpm=100))
    permit = await limiter.admit(lifted)
    assert permit.standing.limit_requests is None
    assert permit.standing.limit_tokens == 100
