"""The database is not on a request's way: what is sent to it does not grow with the requests."""

from __future__ import annotations

import asyncio
from collections import Counter

from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.lab import Line
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
LINES = 10
EACH = 80


async def flooded(gateway: RunningGateway, *, stream: bool) -> Counter[str]:
    """Send requests over several lines; return the names of the commands that were sent."""

    async def ask(line: Line, times: int) -> None:
        for _ in range(times):
            answer = await line.post(gateway.key, {**CHAT, "stream": stream})
            assert answer.status == 200, answer.body

    lines = [await Line.open(gateway.url) for _ in range(LINES)]
    await asyncio.gather(*(ask(line, 3) for line in lines))  # the key is cached, money is leased
    gateway.database.commands.clear()
    await asyncio.gather(*(ask(line, EACH) for line in lines))
    sent = Counter(gateway.database.commands)
    for line in lines:
        async with line:
            pass
    return sent


async def test_requests_that_cost_money_send_no_commands(gateways: Gateways) -> None:
    """There are settlements, six commands each, and what is done every second; nothing else."""
    for script, stream in (
        (answering(200, JSON, chat_answer()), False),
        (streaming(chat_stream(["a", "b"])), True),
    ):
        async with (
            ScriptedUpstream(script) as upstream,
            gateways(upstream.url, credit="100") as gateway,
        ):
            sent = await flooded(gateway, stream=stream)
            assert sent.total() < LINES * EACH / 2, sent
            assert max(sent.values()) < LINES * EACH / 5, sent
            assert sent["insert"] > 0, "the commands are not counted"
