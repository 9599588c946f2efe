"""What a request made goes with it: no cycle stays behind for the collector, which seldom looks.

The server's collector looks at what has lived for a while once in minutes (`server.COLLECTIONS`).
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.scripted import Script, ScriptedUpstream, answering, streaming

REQUESTS = 20
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
OF_A_REQUEST = frozenset(
    {
        "Call",
        "Charge",
        "ChatRequest",
        "OpenAIExchange",
        "PlainRelay",
        "Reply",
        "RequestConnection",
        "RequestContext",
        "Settled",
        "StreamRelay",
        "UsageRecord",
    }
)


@asynccontextmanager
async def garbage() -> AsyncIterator[Counter[str]]:
    """Count, by class, what only the collector would have found within the block."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        await asyncio.sleep(0.1)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def ask(gateway: RunningGateway, *, streamed: bool) -> None:
    async with httpx2.AsyncClient(timeout=20) as client:
        for _ in range(REQUESTS):
            body = {**CHAT, "stream": streamed}
            url = f"{gateway.api}/chat/completions"
            answer = await client.post(url, json=body, headers=gateway.headers)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("script", "streamed"),
    [(answering(200, JSON, chat_answer()), False), (streaming(chat_stream(["Hel", "lo"])), True)],
    ids=["plain", "streamed"],
)
@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_no_request_leaves_a_cycle(
    gateways: Gateways, script: Script, streamed: bool, wire: str
) -> None:
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url, tables={"server": {"wire": wire}}) as gateway,
    ):
        await ask(gateway, streamed=streamed)
        async with garbage() as found:
            await ask(gateway, streamed=streamed)
    left = {name: count for name, count in found.items() if name in OF_A_REQUEST}
    assert not left, left
