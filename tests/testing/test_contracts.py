"""The contract suites find what they are there to find: each is run on a class with one fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest

from ezkielyna import (
    Account,
    Bill,
    BillingPolicy,
    Exchange,
    Key,
    PaymentEvent,
    PaymentMethod,
    Permit,
    Plan,
    RateLimited,
    RateLimiter,
    RequestContext,
    Scope,
    Standing,
    UpstreamError,
    UpstreamRequest,
    Usage,
    scopes,
)
from ezkielyna.contract.limits import NO_LIMITS
from ezkielyna.defaults import MemoryLimiter
from ezkielyna.defaults.per_token import PerToken
from ezkielyna.testing import (
    BillingPolicyContract,
    PaymentMethodContract,
    ProviderContract,
    RateLimiterContract,
)
from ezkielyna.testing.contracts.payment import Notification
from ezkielyna.testing.dialect import chat_answer, chat_stream
from ezkielyna_openai import OpenAIProvider

STREAM = b"".join(chat_stream(["Hello ", "you"]))
ACCOUNT, KEY = Account("acc_1", "a@b.c", "p"), Key("key_1", "acc_1", "k")
FAULTS = (AssertionError, pytest.fail.Exception)


class Twisted:
    """An exchange as it should be, but for one method."""

    def __init__(self, inner: Exchange, methods: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update(inner=inner, **methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["inner"], name, value)


def suite(**methods: Callable[[Exchange], Callable[..., Any]]) -> ProviderContract:
    """Return the suite on OpenAI's provider with these methods of its exchanges replaced."""

    class Suite(ProviderContract):
        provider = OpenAIProvider
        streams = {"hello": STREAM}

        def exchange(self, **fields: Any) -> Exchange:
            inner = super().exchange(**fields)
            twisted: Any = Twisted(inner, {name: make(inner) for name, make in methods.items()})
            return cast(Exchange, twisted)

    return Suite()


@pytest.mark.parametrize(
    ("test", "arguments", "methods"),
    [
        (
            "test_every_split_gives_the_same",
            (STREAM,),
            {"feed": lambda inner: lambda data: inner.feed(data) if len(data) != 40 else b""},
        ),
        (
            "test_bytes_one_by_one_give_the_same",
            (STREAM,),
            {"feed": lambda inner: lambda data: inner.feed(data) + (b":\n\n" * (len(data) == 1))},
        ),
        (
            "test_events_are_handed_on_whole",
            (STREAM,),
            {"feed": lambda inner: lambda data: inner.feed(data)[:-1]},
        ),
        (
            "test_a_stream_is_openais",
            (STREAM,),
            {"feed": lambda inner: lambda data: inner.feed(data).replace(b"data: [DONE]\n\n", b"")},
        ),
        (
            "test_progress_never_falls",
            (STREAM,),
            {"progress": lambda inner: lambda: -inner.progress()},
        ),
        ("test_a_cut_stream_is_an_error", (STREAM,), {"close": lambda inner: lambda: b""}),
        (
            "test_what_was_delivered_is_what_was_handed_on",
            (STREAM,),
            {"delivered": lambda inner: lambda: type(inner.delivered())("Hello")},
        ),
        (
            "test_every_status_has_an_error",
            (401,),
            {"failure": lambda inner: lambda *_: UpstreamError.refused("no")},
        ),
        (
            "test_an_answer_is_openais",
            (chat_answer(),),
            {"answer": lambda inner: lambda *_: b'{"object":"chat.completion","choices":[]}'},
        ),
        (
            "test_an_answer_that_is_none_is_the_upstreams_fault",
            (b"null",),
            {"answer": lambda inner: lambda status, headers, body: body},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_provider_with_a_fault(test: str, arguments: Any, methods: Any) -> None:
    getattr(suite(), test)(*arguments)
    with pytest.raises((*FAULTS, KeyError, orjson.JSONDecodeError)):
        getattr(suite(**methods), test)(*arguments)


def test_a_provider_that_leaks_its_key() -> None:
    class Leaky(OpenAIProvider):
        def exchange(self, request: Any, model: str) -> Exchange:
            made = super().exchange(request, model)
            body = made.request.body + self.settings.api_key.get_secret_value().encode()
            made.request = UpstreamRequest("POST", made.request.url, {}, body)
            return made

    class Suite(ProviderContract):
        provider = Leaky

    with pytest.raises(AssertionError):
        Suite().test_the_key_is_not_in_the_body()


class Cheap(PerToken):
    def quote(self, ctx: RequestContext) -> int:
        return super().quote(ctx) // 2


class Falling(PerToken):
    def quote(self, ctx: RequestContext) -> int:
        return super().quote(ctx) + max(0, 10_000_000 - 20_000 * ctx.output_bound)


class Forgetful(PerToken):
    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        return super().price(ctx, usage)._replace(cost=7)


class Moody(PerToken):
    def price(self, ctx: RequestContext, usage: Usage) -> Bill:
        self.calls = getattr(self, "calls", 0) + 1
        return Bill((), self.calls)


@pytest.mark.parametrize(
    ("policy_class", "test"),
    [
        (Cheap, "test_the_quote_covers_every_bill_within_its_bounds"),
        (Falling, "test_more_output_is_never_quoted_less"),
        (Forgetful, "test_bills_add_up"),
        (Moody, "test_policies_are_pure"),
    ],
)
def test_a_policy_with_a_fault(policy_class: type[BillingPolicy], test: str) -> None:
    class Suite(BillingPolicyContract):
        policy = policy_class

    class Good(BillingPolicyContract):
        policy = PerToken

    rates: Any = {"input": 2_500_000_000, "output": 10_000_000_000}
    getattr(Good(), test)(rates)
    with pytest.raises(AssertionError):
        getattr(Suite(), test)(rates)


class Generous(MemoryLimiter):
    async def admit(self, ctx: RequestContext) -> Permit:
        return await super().admit(replace(ctx, plan=Plan("p")))


class OfAccounts(MemoryLimiter):
    """Forgets keys and models, as the first limiter that `plugins new` wrote."""

    async def admit(self, ctx: RequestContext) -> Permit:
        return await super().admit(
            replace(ctx, plan=replace(ctx.plan, key=NO_LIMITS, model=()), account=ACCOUNT, key=KEY)
        )


class Hasty(RateLimiter):
    """Counts under one limit before it looks at the next."""

    kind = "hasty"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.running: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()

    async def admit(self, ctx: RequestContext) -> Permit:
        found = self.under(ctx)
        for scope in found:
            limits = scope.limits
            for counts, cost, limit in (
                (self.running, 1, limits.concurrency),
                (self.tokens, ctx.input_estimate, limits.tpm),
            ):
                if limit and counts[scope.id] + cost > limit:
                    raise RateLimited("no more", retry_after_s=1)
                counts[scope.id] += cost
        return HastyPermit(self, [scope.id for scope in found])

    def under(self, ctx: RequestContext) -> list[Scope]:
        return scopes(ctx.plan, ctx.account, ctx.key, ctx.model)

    def standing(self, account: Account, key: Key, plan: Plan) -> Standing:
        raise NotImplementedError


class HastyBackwards(Hasty):
    """Looks at the account last."""

    def under(self, ctx: RequestContext) -> list[Scope]:
        return super().under(ctx)[::-1]


class HastyPermit(Permit):
    """Gives its slots back, and no token."""

    def __init__(self, limiter: Hasty, taken: list[str]) -> None:
        self.limiter, self.taken = limiter, taken

    async def close(self, usage: Usage | None) -> None:
        self.limiter.running.subtract(self.taken)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (Generous, "test_so_many_at_once_and_no_more"),
        (Generous, "test_a_crowd_gets_no_more_than_the_limit"),
        (Generous, "test_requests_are_limited"),
        (Generous, "test_tokens_are_limited"),
        (Generous, "test_an_account_is_limited_over_all_its_keys_and_models"),
        (OfAccounts, "test_each_key_has_its_limits"),
        (OfAccounts, "test_each_model_has_its_limits_in_each_account"),
        (OfAccounts, "test_overrides_take_the_place_of_the_plan"),
        (OfAccounts, "test_the_limits_of_a_key_are_shown"),
        (Hasty, "test_what_a_key_is_refused_its_account_keeps"),
        (HastyBackwards, "test_what_an_account_is_refused_its_key_and_model_keep"),
        (Hasty, "test_what_a_model_is_refused_its_key_and_account_keep"),
        (Hasty, "test_every_limit_gets_back_what_was_not_used"),
    ],
)
def test_a_limiter_that_does_not_limit(faulty: type[RateLimiter], test: str) -> None:
    class Suite(RateLimiterContract):
        limiter = faulty

    with pytest.raises((*FAULTS, RateLimited)):
        getattr(Suite(), test)()


class Gullible(PaymentMethod):
    kind = "gullible"
    title = "Gullible"

    async def start(self, order: Any) -> Any:
        raise NotImplementedError

    async def verify(self, body: bytes, headers: Any) -> PaymentEvent | None:
        order, _, amount = body.decode(errors="replace").partition(" ")
        paid = int(amount) if amount.isdigit() else 0
        return PaymentEvent("paid", order, "always", paid, "usd", datetime.now(UTC))


@pytest.mark.parametrize(
    "test",
    [
        "test_a_changed_body_is_forged",
        "test_without_its_headers_it_is_forged",
        "test_another_orders_signature_is_forged",
        "test_another_payment_has_another_id",
    ],
)
def test_a_payment_method_that_believes_everything(test: str) -> None:
    class Suite(PaymentMethodContract):
        method = Gullible

        async def paid(self, method: PaymentMethod, order: Any) -> Notification:
            return f"{order.id} {order.amount}".encode(), {"signature": "x"}

    with pytest.raises(FAULTS):
        getattr(Suite(), test)()
