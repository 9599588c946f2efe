"""Requests and contexts as the gateway makes them, for tests that have no gateway."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna.contract.context import Account, Key, Model, Plan, RequestContext
from ezkielyna.contract.money import Price
from ezkielyna.contract.requests import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
)
from ezkielyna.contract.usage import Bucket

RATES: dict[Bucket, int] = {"input": 2_500_000_000, "output": 10_000_000_000}
"""2.50 and 10 USD per million tokens."""

BODIES: dict[type[ApiRequest], dict[str, Any]] = {
    ChatRequest: {"messages": [{"role": "user", "content": "Hello"}]},
    CompletionRequest: {"prompt": "Hello"},
    EmbeddingRequest: {"input": "Hello"},
    ImageRequest: {"prompt": "A square"},
}


def make_request(kind: type[ApiRequest] = ChatRequest, /, **fields: Any) -> ApiRequest:
    """Return a small request of a kind, with these fields laid over it."""
    return kind.parse(orjson.dumps({"model": "m", **BODIES[kind], **fields}))


def make_context(
    *,
    request: ApiRequest | None = None,
    plan: Plan | None = None,
    account: str = "acc_1",
    key: str = "",
    model: str = "m",
    rates: dict[Bucket, int] | None = None,
    input_bound: int = 100,
    output_bound: int = 100,
) -> RequestContext:
    """Return the context of an admitted request; the estimate of its input is its bound."""
    return RequestContext(
        request_id="req_1",
        endpoint="chat.completions" if request is None else request.endpoint,
        request=request or make_request(),
        account=Account(account, f"{account}@example.com", "p"),
        key=Key(key or f"key_of_{account}", account, "k"),
        plan=plan or Plan("p"),
        model=Model(model, "p", model, Price.of(rates or RATES), 128_000, 16_384, "o", "M"),
        started_at=1_700_000_000.0,
        input_estimate=input_bound,
        input_bound=input_bound,
        output_bound=output_bound,
    )
