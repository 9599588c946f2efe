"""What every rate limiter promises, as tests."""

from __future__ import annotations

import asyncio

from ezkielyna.contract.context import Account, Key, Plan
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, RateLimiter, Standing
from ezkielyna.contract.usage import Usage
from ezkielyna.testing.contracts.scopes import ScopesContract, admit, refused

FREE = Plan("p")


class RateLimiterContract(ScopesContract):
    """Subclass it and name your limiter; write `make` where `build` needs more than its defaults.

    The tests wait for nothing: limits are so low or so high that no time passes between.
    """

    def test_kind_is_a_word(self) -> None:
        assert self.limiter.kind
        assert not set(self.limiter.kind) & set(" \t\n.\"'[]")

    def test_it_starts_and_closes(self) -> None:
        self.run(nothing)

    def test_it_serves_undegraded(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            assert limiter.degradation is None

        self.run(work)

    def test_no_limits_limit_nothing(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            permits = [await admit(limiter, FREE, tokens=1_000_000) for _ in range(50)]
            assert permits[0].standing.limit_requests is None
            assert permits[0].standing.limit_tokens is None
            for permit in permits:
                await permit.close(Usage(input=1_000_000))

        self.run(work)

    def test_so_many_at_once_and_no_more(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=3)
            permits = [await admit(limiter, plan) for _ in range(3)]
            await refused(limiter, plan)
            await permits.pop().close(None)
            permits.append(await admit(limiter, plan))
            await refused(limiter, plan)
            for permit in permits:
                await permit.close(Usage(input=1))

        self.run(work)

    def test_a_crowd_gets_no_more_than_the_limit(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=10)
            tries = [admit(limiter, plan) for _ in range(50)]
            results = await asyncio.gather(*tries, return_exceptions=True)
            permits = [result for result in results if isinstance(result, Permit)]
            assert len(permits) == 10
            assert all(isinstance(r, RateLimited) for r in results if not isinstance(r, Permit))
            for permit in permits:
                await permit.close(None)

        self.run(work)

    def test_requests_are_limited(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            error = await until_refused(limiter, Plan("p", rpm=4), at_most=5)
            assert 0 < (error.retry_after_s or 0) <= 120

        self.run(work)

    def test_tokens_are_limited(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpm=6_000)
            error = await until_refused(limiter, plan, at_most=7, tokens=1_000)
            assert 0 < (error.retry_after_s or 0) <= 120

        self.run(work)

    def test_tokens_of_a_day_are_limited(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpd=6_000)
            error = await until_refused(limiter, plan, at_most=7, tokens=1_000)
            assert 0 < (error.retry_after_s or 0) <= 2 * 86_400

        self.run(work)

    def test_a_refusal_takes_nothing(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpm=6_000, concurrency=2)
            await until_refused(limiter, plan, at_most=7, tokens=1_000, close=True)
            for _ in range(5):
                await refused(limiter, plan, tokens=6_000)
            free = Plan("p", concurrency=2)
            permits = [await admit(limiter, free) for _ in range(2)]
            for permit in permits:
                await permit.close(None)

        self.run(work)

    def test_what_was_not_used_comes_back(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpm=6_000)
            for _ in range(30):
                permit = await admit(limiter, plan, tokens=900)
                await permit.close(None)

        self.run(work)

    def test_what_was_used_beyond_the_estimate_counts(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", tpm=6_000)
            permit = await admit(limiter, plan, tokens=10)
            await permit.close(Usage(input=6_000, output=6_000))
            await refused(limiter, plan, tokens=10)

        self.run(work)

    def test_accounts_do_not_share_limits(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=1)
            permits = [await admit(limiter, plan, account=f"acc_{n}") for n in range(5)]
            for permit in permits:
                await permit.close(None)

        self.run(work)

    def test_a_permit_says_what_is_left(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", rpm=600, tpm=600_000)
            permit = await admit(limiter, plan, tokens=100)
            check_standing(permit.standing)
            later = await admit(limiter, plan, tokens=100)
            assert (later.standing.remaining_tokens or 0) < (permit.standing.limit_tokens or 0)
            for one in (permit, later):
                await one.close(Usage(input=100))

        self.run(work)

    def test_looking_counts_nothing(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", rpm=600, tpm=600_000, concurrency=1)
            account, key = Account("acc_1", "a@b.c", "p"), Key("key_1", "acc_1", "k")
            for _ in range(50):
                check_standing(limiter.standing(account, key, plan))
            permit = await admit(limiter, plan)
            await permit.close(None)

        self.run(work)

    def test_without_limits_there_is_nothing_to_look_at(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            account, key = Account("acc_1", "a@b.c", "p"), Key("key_1", "acc_1", "k")
            standing = limiter.standing(account, key, FREE)
            assert standing.limit_requests is None
            assert standing.limit_tokens is None

        self.run(work)

    def test_a_refusal_can_be_told(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            error = await until_refused(limiter, Plan("p", rpm=4), at_most=5)
            assert error.message
            headers = dict(error.headers())
            assert int(headers["Retry-After"]) >= 1
            assert int(headers["retry-after-ms"]) >= 1

        self.run(work)

    def test_a_changed_plan_holds_at_once(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            permit = await admit(limiter, Plan("p", concurrency=1))
            more = await admit(limiter, Plan("p", concurrency=2))
            await refused(limiter, Plan("p", concurrency=1))
            for one in (permit, more):
                await one.close(None)

        self.run(work)

    def test_who_stops_waiting_leaves_no_slot_taken(self) -> None:
        async def work(limiter: RateLimiter) -> None:
            plan = Plan("p", concurrency=2)
            for _ in range(10):
                task = asyncio.ensure_future(admit(limiter, plan))
                await asyncio.sleep(0)
                if not task.cancel():
                    await task.result().close(None)
                else:
                    await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(30):
                permits = [await patiently(limiter, plan) for _ in range(2)]
            for permit in permits:
                await permit.close(None)

        self.run(work)

    def test_no_limiter_knows_of_another(self) -> None:
        """Two objects in one process, as tests and restarts make them, both serve."""

        async def work(limiter: RateLimiter) -> None:
            async with self.open() as other:
                for one in (limiter, other):
                    permit = await admit(one, Plan("p", rpm=600), account="acc_other")
                    await permit.close(None)

        self.run(work)


async def nothing(_: RateLimiter) -> None:
    """Do nothing."""


async def until_refused(
    limiter: RateLimiter, plan: Plan, *, at_most: int, tokens: int = 0, close: bool = True
) -> RateLimited:
    """Return the refusal that comes after so many requests at most."""
    for _ in range(at_most):
        try:
            permit = await admit(limiter, plan, tokens=tokens)
        except RateLimited as error:
            return error
        if close:
            await permit.close(Usage(input=tokens))
    raise AssertionError(f"{at_most} requests were admitted under {plan}")


async def patiently(limiter: RateLimiter, plan: Plan) -> Permit:
    """Return a permit as soon as there is one."""
    while True:
        try:
            return await admit(limiter, plan)
        except RateLimited:
            await asyncio.sleep(0.05)


def check_standing(standing: Standing) -> None:
    """Assert that what is left makes sense."""
    for limit, remaining, reset_s in (
        (standing.limit_requests, standing.remaining_requests, standing.reset_requests_s),
        (standing.limit_tokens, standing.remaining_tokens, standing.reset_tokens_s),
    ):
        assert limit is not None
        assert remaining is not None
        assert 0 <= remaining <= limit
        assert reset_s >= 0
