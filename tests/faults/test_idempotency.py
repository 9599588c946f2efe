"""`Idempotency-Key` holds across workers and restarts."""

import asyncio
from collections import Counter

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Lab, post
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


async def test_workers_share_claims_and_restarts_keep_answers(lab: Lab) -> None:
    payer = await lab.account("5")

    async def slow(turn: Turn) -> None:
        await asyncio.sleep(0.5)
        await turn.answer(200, JSON, chat_answer("once"))

    async with ScriptedUpstream(slow, answering(200, JSON, chat_answer("twice"))) as upstream:
        async with lab.serving(upstream.url, workers=2) as gateway:
            answers = await asyncio.gather(
                *(post(gateway.url, payer.key, CHAT, Idempotency_Key="k") for _ in range(20))
            )
            assert Counter(answer.status for answer in answers) == {200: 1, 409: 19}
        async with lab.serving(upstream.url) as gateway:
            again = await post(gateway.url, payer.key, CHAT, Idempotency_Key="k")
        assert b"once" in again.body
        assert again.headers["idempotent-replayed"] == "true"
        assert len(upstream.requests) == 1
    assert len(await lab.usages(1)) == 1
    await lab.verify()
