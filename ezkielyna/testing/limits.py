"""A bench for the rate limiter `memory`: its clock is moved by the test."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext
from ezkielyna.contract.errors import RateLimited
from ezkielyna.contract.limiter import Permit, Standing
from ezkielyna.contract.limits import Override
from ezkielyna.contract.money import Price
from ezkielyna.contract.requests import ChatRequest
from ezkielyna.contract.usage import Usage
from ezkielyna.defaults import MemoryLimiter

T = TypeVar("T")
SECOND = 1_000_000_000
REQUEST = ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}])
PRICE = Price("v", {"input": 0, "output": 0})


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
    """A limiter, its clock, and requests to it; `overrides` by account or key."""

    def __init__(self, plan: Plan, workers: int = 1) -> None:
        self.now = 1_000 * SECOND
        self.plan = plan
        self.overrides: dict[str, Override] = {}
        self.limiter = MemoryLimiter(workers, clock=lambda: self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += math.ceil(seconds * SECOND)

    def who(self, account: str = "acc_1", key: str = "key_1") -> tuple[Account, Key]:
        """Return an account and a key of it."""
        return (
            Account(account, "a@b.c", "p", limits=self.overrides.get(account)),
            Key(key, account, "k", limits=self.overrides.get(key)),
        )

    def context(
        self,
        tokens: int = 0,
        output: int = 0,
        account: str = "acc_1",
        key: str = "key_1",
        model: str = "m",
    ) -> RequestContext:
        """Return a request."""
        payer, with_key = self.who(account, key)
        return RequestContext(
            request_id="req_1",
            endpoint="chat.completions",
            request=REQUEST,
            account=payer,
            key=with_key,
            plan=self.plan,
            model=Model(model, "p", model, PRICE, 0, 0, "o", "M"),
            started_at=0.0,
            input_estimate=tokens,
            output_bound=output,
        )

    def admit(self, tokens: int = 0, output: int = 0, **of: str) -> Permit:
        """Return the permit of a request that must be admitted."""
        return at_once(self.limiter.admit(self.context(tokens, output, **of)))

    def attempt(self, tokens: int, **of: str) -> Permit | RateLimited:
        """Return a permit or a refusal."""
        try:
            return self.admit(tokens, 0, **of)
        except RateLimited as refusal:
            return refusal

    def refuse(self, tokens: int = 0, output: int = 0, **of: str) -> RateLimited:
        """Return the refusal of a request that must be refused."""
        with pytest.raises(RateLimited) as error:
            self.admit(tokens, output, **of)
        return error.value

    def standing(self, account: str = "acc_1", key: str = "key_1") -> Standing:
        """Return what is left of the account's and the key's limits."""
        return self.limiter.standing(*self.who(account, key), self.plan)


def close(permit: Permit, used: int | None = None) -> None:
    """Close a permit after so many tokens."""
    at_once(permit.close(None if used is None else Usage(input=used)))
