"""Whatever a client sends: a 400 that names the field, or an answer. Never a 500.

100 chats of every kind of provider a run; `EZKIELYNA_SOAK=1` makes them 10,000.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import orjson
import pytest

from ezkielyna.testing.clients import CHATS, samples
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Line
from ezkielyna.testing.scripted import ScriptedUpstream, Turn

Json = dict[str, Any]
SOAK = bool(os.environ.get("EZKIELYNA_SOAK"))
MANY = 10_000 if SOAK else 100
LINES = 8

MESSAGE = {
    "id": "msg_1", "type": "message", "model": "c", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip
CANDIDATE = {"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}
ANSWERS = {
    "openai": (chat_answer(), {"model", "messages"}),
    "anthropic": (orjson.dumps(MESSAGE), {"model", "messages", "max_tokens"}),
    "gemini": (
        orjson.dumps({"candidates": [CANDIDATE], "usageMetadata": COUNTS}),
        {"contents", "generationConfig"},
    ),
}
"""What each upstream answers, and what every request to it must have."""


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_chat_is_refused_by_name_or_answered(gateways: Gateways, kind: str) -> None:
    answer, needed = ANSWERS[kind]
    strange: list[str] = []

    async def script(turn: Turn) -> None:
        sent = orjson.loads(turn.request.body)
        if not needed <= sent.keys() or None in sent.values():
            strange.append(turn.request.body.decode())
        await turn.answer(200, JSON, answer)

    tables: Json = {"plugins": [*ANSWERS], "providers": {"lab": {"kind": kind}}}
    seen: Counter[int] = Counter()
    bodies = [{"model": "free-lab", **body} for body in samples(CHATS, MANY)]

    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):

        async def ask(share: list[Json]) -> None:
            async with await Line.open(gateway.url) as line:
                for body in share:
                    got = await line.post(gateway.key, body)
                    seen[got.status] += 1
                    told = got.document.get("error", {})
                    if got.status not in (200, 400) or (told and not told["message"]):
                        strange.append(f"{got.status} {got.body.decode()} for {body}")

        await asyncio.gather(*(ask(bodies[at::LINES]) for at in range(LINES)))
    assert not strange, "\n".join(strange[:20])
    assert seen[200] > len(bodies) * 0.05 < seen[400]
