"""A finished request is seen within a second, and in the charts within five; by any worker."""

from __future__ import annotations

import asyncio
import time

from ezkielyna.console.handlers.live import EVENT_S
from ezkielyna.storage.console_sessions import ConsoleSessions
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import SECRET, Lab, Line
from ezkielyna.testing.live import events, until
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.visitor import SESSION, Visitor

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
LIVE_S = 1.0
CHARTS_S = 5.0
MOST = 16
"""Requests, each on a connection of its own: enough that the kernel gives both workers some."""


async def test_a_finished_request_is_seen_soon(lab: Lab) -> None:
    """The best of some requests counts: a machine that is busy delays them, and hastens none."""
    ann = await lab.account("5")
    live: list[float] = []
    charts: list[float] = []
    workers: set[str] = set()
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        lab.serving(upstream.url, workers=2) as gateway,
    ):
        token = await ConsoleSessions(lab.database, SECRET.encode()).begin(ann.account, agent="")
        visitor = Visitor(gateway.url, {SESSION: token})
        async with (
            events(gateway.url, visitor, patience_s=120) as stream,
            await Line.open(gateway.url) as reports,
        ):
            await until(stream, lambda event: bool(event["connected"]))
            for number in range(1, MOST + 1):
                await asyncio.sleep(EVENT_S)  # events are at most one a second: after a quiet one
                async with await Line.open(gateway.url) as line:
                    answer = await line.post(ann.key, CHAT)
                ended_at = time.monotonic()
                event = await until(
                    stream,
                    lambda event, id_=answer.headers["x-request-id"]: any(  # type: ignore[misc]
                        row["id"] == id_ for row in event["finished"]
                    ),
                )
                live.append(event["_at"] - ended_at)
                while await charted(reports, ann.key) < number:
                    await asyncio.sleep(0.05)
                charts.append(time.monotonic() - ended_at)
                workers = {one["batch"].partition(":")[0] for one in await lab.usages(number)}
                if len(workers) == 2 and min(live) <= LIVE_S and min(charts) <= CHARTS_S:
                    break
        assert "gpt-lab" in (await visitor.get("/usage?group=model")).text
    assert min(live) <= LIVE_S, live
    assert min(charts) <= CHARTS_S, charts
    assert len(workers) == 2, "one worker served all"


async def charted(line: Line, key: str) -> int:
    """Return how many requests the series of the charts hold."""
    answer = await line.get("/api/v1/usage", key)
    assert answer.status == 200, answer.body
    return sum(row["requests"] for row in answer.document["data"])
