"""A plain request that the money covers in part is sent with the output that it does cover."""

from __future__ import annotations

import orjson
import pytest

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering

OUTPUT_USD = 10 / 1_000_000


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
