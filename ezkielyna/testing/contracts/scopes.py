"""What every rate limiter promises about keys, models and overrides, as tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from ezkielyna.contract.context import Account, Key, Plan
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, RateLimiter
from ezkielyna.contract.limits import Limits, Override
from ezkielyna.testing.requests import make_context

ONE = Limits(concurrency=1)


class ScopesContract:
    """A part of `RateLimiterContract`: all limits of a request are granted, or none."""

    limiter: ClassVar[type[RateLimiter]]

    def make(self) -> RateLimiter:
        """Return the limiter as a configuration makes it, for one process."""
        return self.limiter.build(1, "")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RateLimiter]:
        """Start a limiter, and close it in the end."""
        limiter = self.make()
        await limiter.start()
        try:
            yield limiter
        finally:
            await limiter.close()

    def run(self, work: Callable[[RateLimiter], Coroutine[Any, Any, None]]) -> None:
        """Run what a test does with a limiter, on an event loop of its own."""

        async def opened() -> None:
            async with self.open() as limiter:
                await work(limiter)

        asyncio.run(asyncio.wait_for(opened(), 60))

    def test_each_key_has_its_limits(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", key=ONE)
            permits = [await admit(limiter, plan, key="key_1")]
            await refused(limiter, plan, key="key_1")
            permits.append(await admit(limiter, plan, key="key_2"))
            await closed(permits)
            await closed([await admit(limiter, plan, key="key_1")])

        self.run(work)

    def test_each_model_has_its_limits_in_each_account(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", model=(("big*", ONE),))
            permits = [await admit(limiter, plan, model="big-1")]
            await refused(limiter, plan, model="big-1")
            permits.append(await admit(limiter, plan, model="big-2"))
            permits.append(await admit(limiter, plan, model="big-1", account="acc_2"))
            permits += [await admit(limiter, plan, model="small") for _ in range(3)]
            await closed(permits)

        self.run(work)

    def test_an_account_is_limited_over_all_its_keys_and_models(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=2, key=Limits(concurrency=2))
            permits = [await admit(limiter, plan, key=f"key_{n}", model=f"m{n}") for n in (1, 2)]
            await refused(limiter, plan, key="key_3", model="m3")
            await closed(permits)

        self.run(work)

    def test_what_a_key_is_refused_its_account_keeps(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpm=6_000, concurrency=3, key=Limits(tpm=1_000, concurrency=1))
            permits = [await admit(limiter, plan, key="key_1", tokens=900)]
            for _ in range(10):
                await refused(limiter, plan, key="key_1", tokens=900)
            permits += [await admit(limiter, plan, key=f"key_{n}", tokens=900) for n in (2, 3)]
            await closed(permits)

        self.run(work)

    def test_what_an_account_is_refused_its_key_and_model_keep(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=1, key=ONE, model=(("m*", ONE),))
            permit = await admit(limiter, plan, key="key_1", model="m1")
            for _ in range(5):
                await refused(limiter, plan, key="key_2", model="m2")
            await permit.close(None)
            await closed([await admit(limiter, plan, key="key_2", model="m2")])

        self.run(work)

    def test_what_a_model_is_refused_its_key_and_account_keep(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            two = Limits(concurrency=2)
            plan = Plan("p", concurrency=2, key=two, model=(("big", ONE),))
            permits = [await admit(limiter, plan, model="big")]
            for _ in range(5):
                await refused(limiter, plan, model="big")
            permits.append(await admit(limiter, plan, model="small"))
            await closed(permits)

        self.run(work)

    def test_every_limit_gets_back_what_was_not_used(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            limits = Limits(tpm=6_000, tpd=6_000, concurrency=1)
            plan = Plan("p", tpm=6_000, concurrency=1, key=limits, model=(("m", limits),))
            for _ in range(30):
                permit = await admit(limiter, plan, tokens=900)
                await permit.close(None)

        self.run(work)

    def test_overrides_take_the_place_of_the_plan(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan, one, two = (
                Plan("p", concurrency=1),
                Override(concurrency=1),
                Override(concurrency=2),
            )
            permits = [await admit(limiter, plan, of_account=two) for _ in range(2)]
            await refused(limiter, plan, of_account=two)
            await closed(permits)
            permits = [await admit(limiter, plan, of_account=two, of_key=one)]
            await refused(limiter, plan, of_account=two, of_key=one)
            await closed(permits)
            of_models = Override(concurrency=0, models=(("m", one),))
            permits = [await admit(limiter, plan, of_account=of_models)]
            await refused(limiter, plan, of_account=of_models)
            permits.append(await admit(limiter, plan, of_account=of_models, model="other"))
            await closed(permits)

        self.run(work)

    def test_the_limits_of_a_key_are_shown(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            account, key = Account("acc_1", "a@b.c", "p"), Key("key_1", "acc_1", "k")
            keyed = Limits(rpm=600, tpm=600_000)
            for plan in (Plan("p", key=keyed), Plan("p", rpm=6_000, tpm=6_000_000, key=keyed)):
                permit = await admit(limiter, plan, key="key_1")
                for standing in (limiter.standing(account, key, plan), permit.standing):
                    assert (standing.limit_requests, standing.limit_tokens) == (600, 600_000)
                await permit.close(None)

        self.run(work)


async def admit(
    limiter: RateLimiter,
    plan: Plan,
    *,
    tokens: int = 0,
    account: str = "acc_1",
    key: str = "",
    model: str = "m",
    of_account: Override | None = None,
    of_key: Override | None = None,
) -> Permit:
    """Return the permit of a request; raises RateLimited."""
    ctx = make_context(
        plan=plan, account=account, key=key, model=model, input_bound=tokens, output_bound=0
    )
    ctx.account = replace(ctx.account, limits=of_account)
    ctx.key = replace(ctx.key, limits=of_key)
    return await limiter.admit(ctx)


async def refused(limiter: RateLimiter, plan: Plan, **request: Any) -> RateLimited:
    """Return the refusal of a request that `admit` describes."""
    with pytest.raises(RateLimited) as error:
        await admit(limiter, plan, **request)
    assert (error.value.retry_after_s or 0) > 0
    return error.value


async def closed(permits: list[Permit]) -> None:
    """Close them all, as requests that used nothing."""
    for permit in permits:
        await permit.close(None)
