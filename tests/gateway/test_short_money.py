"""A plain request that the money covers in part is sent with the output that it does cover."""

from __future__ import annotations

import orjson
import pytest

from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming

OUTPUT_USD = 10 / 1_000_000
DEAR_USD = 75 / 1_000_000
DEAR = {
    "models": {
        "dear-lab": {
            "provider": "lab",
            "upstream_model": "gpt-lab",
            "input": "15",
            "output": "75",
            "context": 200_000,
            "max_output": 32_000,
        }
    }
}


@pytest.mark.parametrize("choices", [1, 4])
async def test_all_choices_together_get_what_the_money_covers(
    gateways: Gateways, choices: int
) -> None:
    chat = {
        "model": "gpt-lab",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 8000,
        "n": choices,
    }
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, credit="0.05") as gateway,
    ):
        answer = await post(gateway.url, gateway.key, chat)
        assert answer.status == 200, answer.body
        sent = orjson.loads(upstream.requests[0].body)
    together = sent["max_tokens"] * choices
    assert 0.9 * 0.05 / OUTPUT_USD < together <= 0.05 / OUTPUT_USD


async def test_much_output_is_asked_for_with_a_dollar(gateways: Gateways) -> None:
    """32,000 tokens would cost $2.40. Plain, those are asked for that $1 pays; a stream asks for
    all of them, since it reserves as it runs."""
    chat = {
        "model": "dear-lab",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 32_000,
    }
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as plain,
        gateways(plain.url, credit="1", tables=DEAR) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, chat)
        assert answer.status == 200, answer.body
        asked = orjson.loads(plain.requests[0].body)["max_tokens"]
        assert 0.9 / DEAR_USD < asked <= 1 / DEAR_USD
    async with (
        ScriptedUpstream(streaming(chat_stream("Hello"))) as streamed,
        gateways(streamed.url, credit="1", tables=DEAR) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, {**chat, "stream": True})
        assert answer.status == 200, answer.body
        assert answer.body.endswith(DONE), answer.body
        assert orjson.loads(streamed.requests[0].body)["max_tokens"] == 32_000
