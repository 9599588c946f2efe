"""Embeddings: they have no stream, whatever a client asks for."""

from __future__ import annotations

import orjson
import pytest

from ezkielyna.testing.dialect import JSON
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.simulated import SIMULATED

PATH = "/v1/embeddings"
ASKED = {"model": "gpt-lab", "input": "Hello", "stream": True}
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}
USAGE = {"prompt_tokens": 1000, "total_tokens": 1000}
ANSWER = orjson.dumps({"object": "list", "data": [VECTOR], "model": "gpt-lab", "usage": USAGE})


@pytest.mark.parametrize(
    "more", [{}, {"stream_options": {"include_usage": True}}], ids=["bare", "with usage"]
)
async def test_a_stream_is_answered_plainly(gateways: Gateways, more: dict[str, object]) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, ANSWER)) as upstream,
        gateways(upstream.url) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, {**ASKED, **more}, PATH)
        # What only plain requests may have goes with it, and a retry is answered from store.
        kept = [
            await post(gateway.url, gateway.key, {**ASKED, **more}, PATH, Idempotency_Key="one")
            for _ in range(2)
        ]
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.document["data"] == [VECTOR]
    assert answer.document["usage"] == {**USAGE, "cost": 0.0025}
    assert [orjson.loads(request.body) for request in upstream.requests] == [
        {"model": "gpt-lab", "input": "Hello"}
    ] * 2
    assert [again.body for again in kept] == [answer.body] * 2


async def test_a_stream_of_a_simulated_model_is_answered_plainly(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway:
        answer = await post(gateway.url, gateway.key, {**ASKED, "model": "sim-embedding"}, PATH)
    assert answer.status == 200
    assert len(answer.document["data"][0]["embedding"]) == 256
