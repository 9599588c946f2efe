"""One tiny call through a provider, to see whether it works, and what its upstream says if not."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from ezkielyna.contract.context import Model
from ezkielyna.contract.errors import GatewayError, UpstreamError
from ezkielyna.contract.provider import Exchange, Provider, TimeLimits
from ezkielyna.contract.requests import REQUESTS, ApiRequest, Endpoint
from ezkielyna.gateway.catalogue import Catalogue
from ezkielyna.gateway.counting import said
from ezkielyna.gateway.relay import PlainRelay
from ezkielyna.wire.upstream import Upstream

WORDS = "Say OK."
MOST_TOKENS = 16
"""Fewer are refused by some models."""

PATIENCE_S = 30.0
"""How long somebody waits for a page in which a provider is tried."""

MOST_RAW = 2000
SHORTEST_SECRET = 6
HIDDEN = "[hidden]"


@dataclass(frozen=True, slots=True)
class Probe:
    """How a tiny call went. `raw` is the upstream's own error, without what is secret in it.

    `status` is None where there was no answer; times are in milliseconds.
    """

    provider: str
    model: str
    upstream_model: str
    endpoint: Endpoint
    ok: bool
    status: int | None
    latency_ms: int
    said: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str = ""
    raw: str = ""

    def document(self) -> dict[str, Any]:
        """Return all of it."""
        return asdict(self)


def cheapest(models: Iterable[Model], provider: str) -> Model | None:
    """Return the provider's model whose tiny chat costs least; None where none takes words.

    Embeddings are taken where the provider has no chats.
    """
    fitting = [m for m in models if m.provider == provider and "input" in m.price.rates]
    costs = {m.name: (not _talks(m), m.price.most(20, MOST_TOKENS, 0)) for m in fitting}
    return min(fitting, key=lambda m: costs[m.name], default=None)


class Prober:
    """Makes tiny calls through the providers of a catalogue, for somebody who waits for a page."""

    def __init__(self, catalogue: Catalogue, upstream: Upstream) -> None:
        self._catalogue = catalogue
        self._upstream = upstream

    async def __call__(self, provider: str) -> Probe | None:
        """Call the provider's cheapest model; None where it has none that takes words."""
        model = cheapest(self._catalogue.models.values(), provider)
        if model is None:
            return None
        chosen = self._catalogue.providers[provider]
        usual = chosen.settings.time_limits
        limits = usual.model_copy(
            update={
                "first_byte_s": min(usual.first_byte_s, PATIENCE_S),
                "total_s": min(usual.total_s, PATIENCE_S),
            }
        )
        return await probe(chosen, model, self._upstream, limits)


async def probe(
    provider: Provider, model: Model, upstream: Upstream, limits: TimeLimits | None = None
) -> Probe:
    """Call the model; whatever goes wrong is in the result. `limits` are else the provider's."""
    request = _request(model)
    began = time.monotonic()
    status: int | None = None
    body = b""
    exchange: Exchange | None = None
    try:
        exchange = provider.exchange(request, model.upstream_model)
        relay = PlainRelay()
        upstream.start(exchange.request, limits or provider.settings.time_limits, relay)
        status, headers, body = await relay.ended
        if status != 200:
            raise exchange.failure(status, headers, body)
        answer = exchange.answer(status, headers, body)
    except GatewayError as error:
        raw = body.decode("utf-8", "replace") or _cause(error)
        secrets = [provider.settings.api_key.get_secret_value()]
        secrets += [] if exchange is None else exchange.request.headers.values()
        return Probe(
            *(provider.name, model.name, model.upstream_model, request.endpoint, False, status),
            _since(began),
            error=_hidden(error.message, secrets),
            raw=_hidden(raw, secrets)[:MOST_RAW],
        )
    usage = exchange.usage
    return Probe(
        *(provider.name, model.name, model.upstream_model, request.endpoint, True, status),
        _since(began),
        said=_said(answer),
        input_tokens=usage and usage.input_total,
        output_tokens=usage and usage.output_total,
    )


def _request(model: Model) -> ApiRequest:
    """Return a chat, or for a model that does not talk an embedding."""
    fields: dict[str, Any] = {"model": model.name, "input": WORDS}
    endpoint: Endpoint = "embeddings"
    if _talks(model):
        endpoint = "chat.completions"
        messages = [{"role": "user", "content": WORDS}]
        fields = {"model": model.name, "messages": messages, "max_completion_tokens": MOST_TOKENS}
    return REQUESTS[endpoint].parse(orjson.dumps(fields))


def _talks(model: Model) -> bool:
    """True for a model that puts tokens out; embeddings cost nothing for what they put out."""
    return bool(model.price.rates.get("output") or model.max_output or model.price.free)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _said(answer: bytes) -> str:
    try:
        spoken = said(orjson.loads(answer))
    except orjson.JSONDecodeError:
        return ""
    return " ".join((spoken.text or spoken.reasoning).split())[:200]


def _cause(error: GatewayError) -> str:
    """Return what the system said where an upstream said nothing."""
    cause = error.__cause__
    known = isinstance(error, UpstreamError) and cause is not None
    return f"{type(cause).__name__}: {cause}" if known else ""


def _hidden(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the values that were sent with the request, as wholes or as words."""
    parts = {part for secret in secrets for part in (secret, *secret.split())}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET and part != "application/json":
            text = text.replace(part, HIDDEN)
    return text
