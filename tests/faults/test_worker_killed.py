"""Workers die under streams: every request is billed once, whoever has to finish it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from ezkielyna.testing.dialect import DONE, chunk, usage_chunk
from ezkielyna.testing.lab import Lab, Line, Payer, listeners
from ezkielyna.testing.processes import Serving
from ezkielyna.testing.scripted import ScriptedUpstream, Turn

ROUNDS, STREAMS = 5, 20
REPEATS = 20 if os.environ.get("EZKIELYNA_SOAK") else 1
TOKENS, PACE_S = 90, 0.02
KILL_AFTER_S = 1.3
"""Long enough for one note of progress, short enough for no stream to have ended."""

PROMPT = 8


@dataclass
class Log:
    """How many chunks the upstream sent, by the name that the client gave the request."""

    sent: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    async def script(self, turn: Turn) -> None:
        name = orjson.loads(turn.request.body)["user"]
        assert name not in self.sent, "a request was sent twice"
        self.sent[name] = 0
        await turn.begin(200, {"content-type": "text/event-stream"})
        await turn.chunk(chunk({"role": "assistant", "content": ""}))
        self.sent[name] += 1  # before anybody knows better, every chunk counts for a token
        for _ in range(TOKENS):
            await turn.chunk(chunk({"content": "word"}))  # four characters, as estimates have it
            self.sent[name] += 1
            await asyncio.sleep(PACE_S)
        await turn.chunk(chunk({}, "stop") + usage_chunk(PROMPT, TOKENS) + DONE)
        await turn.end()
        self.ended.add(name)


@pytest.mark.timeout(seconds=300)
@pytest.mark.parametrize("repeat", range(REPEATS))
async def test_no_stream_is_lost_or_billed_twice(lab: Lab, repeat: int) -> None:
    payer = await lab.account("100")
    log, seen = Log(), dict[str, str]()
    async with (
        ScriptedUpstream(log.script) as upstream,
        lab.serving(upstream.url, workers=2) as gateway,
    ):
        for number in range(ROUNDS):
            await _round(lab, gateway, payer, seen, number)
        assert gateway.output.count("a worker died") == ROUNDS
    documents = {found["_id"]: found for found in await lab.usages(len(seen))}
    assert set(documents) == set(seen.values())
    assert len(documents) == len(log.sent) == ROUNDS * STREAMS
    for name, request in seen.items():
        _agree(log, name, documents[request])
    crashed = [found for found in documents.values() if found["outcome"] == "crashed"]
    assert len(crashed) >= ROUNDS, "nothing was killed in mid-stream"
    cost = sum(found["cost"] for found in documents.values())
    assert await lab.balance(payer) == 100 * 10**9 - cost
    assert not lab.journals
    await lab.verify()


def _agree(log: Log, name: str, document: dict[str, Any]) -> None:
    """Hold one usage document against what the upstream sent."""
    output = document["tokens"]["output"]
    if document["outcome"] == "ok":
        assert name in log.ended
        assert (document["tokens"]["input"], output) == (PROMPT, TOKENS)
    else:
        assert document["outcome"] == "crashed"
        assert name not in log.ended
        assert 0 < output <= log.sent[name], "billed for more than was sent"


async def _round(
    lab: Lab, gateway: Serving, payer: Payer, seen: dict[str, str], number: int
) -> None:
    """Kill a worker under streams and wait until its sibling has finished for it."""
    async with AsyncExitStack() as stack:
        lines = [
            await stack.enter_async_context(await Line.open(gateway.url)) for _ in range(STREAMS)
        ]
        seen.update(await _started(lines, payer, number))
        reading = [asyncio.create_task(_whole(line.chunks())) for line in lines]
        await asyncio.sleep(KILL_AFTER_S)
        os.kill(gateway.children()[number % 2], signal.SIGKILL)
        killed = time.monotonic()
        whole = await asyncio.gather(*reading)
        assert not all(whole), "the kernel gave every stream to the other worker"
    await lab.usages(len(seen), within_s=killed + 10 - time.monotonic())
    while listeners(gateway.url) < 2 or len(lab.journals) != 2:
        assert time.monotonic() < killed + 60, "the successor does not come up"
        await asyncio.sleep(0.05)


async def _started(lines: list[Line], payer: Payer, number: int) -> dict[str, str]:
    """Start a stream on every connection; return the request ids by the names of the streams."""
    names = [f"{number}-{position}" for position in range(len(lines))]
    for name, line in zip(names, lines, strict=True):
        body = {"messages": [{"role": "user", "content": "Talk"}], "user": name}
        line.send(payer.key, {"model": "gpt-lab", "stream": True, "max_tokens": 2000, **body})
    heads = [await line.head() for line in lines]
    assert {head.status for head in heads} == {200}
    ids = [head.headers["x-request-id"] for head in heads]
    return dict(zip(names, ids, strict=True))


async def _whole(chunks: AsyncIterator[bytes]) -> bool:
    """Read a stream to its end; True when it ended as it should."""
    last = b""
    try:
        async for data in chunks:
            last = data
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        return False
    return last.endswith(DONE)
