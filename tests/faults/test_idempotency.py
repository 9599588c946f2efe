"""`Idempotency-Key` holds across workers and restarts."""

import asyncio
import os
from collections import Counter

import pytest

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Lab, post
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
REPEATS = 25 if os.environ.get("EZKIELYNA_SOAK") else 1


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


@pytest.mark.parametrize(
    ("point", "begun", "kept"),
    [
        ("before_begin", False, False),
        ("before_kept", True, False),
        ("after_kept", True, True),
        ("before_end", True, True),
        ("after_end", True, True),
    ]
    * REPEATS,
)
async def test_a_worker_that_dies_around_the_charge_charges_once(
    lab: Lab, point: str, begun: bool, kept: bool
) -> None:
    payer = await lab.account("5")
    scripts = [answering(200, JSON, chat_answer(text)) for text in ("first", "second")]
    async with ScriptedUpstream(*scripts) as upstream:
        async with lab.serving(upstream.url, crash_point=point) as gateway:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await post(gateway.url, payer.key, CHAT, Idempotency_Key="k")
            await asyncio.to_thread(gateway.process.wait, 10)
        async with lab.serving(upstream.url) as gateway:
            await lab.usages(1 if begun else 0)
            again = await post(gateway.url, payer.key, CHAT, Idempotency_Key="k")
            assert again.status == 200, again.body
            assert again.headers.get("idempotent-replayed") == ("true" if kept else None)
            assert (b"second" if begun and not kept else b"first") in again.body
            documents = await lab.usages(2 if begun and not kept else 1)
    costs = [document["cost"] for document in documents]
    assert sorted(costs)[:-1] == ([0] if begun and not kept else [])
    assert max(costs) == 8 * 2500 + 2 * 10_000
    assert await lab.balance(payer) == 5 * 10**9 - max(costs)
    await lab.verify()
