"""Live numbers: a finished request within a second or so, from any process, and never doubled."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.console.handlers.live import EVENT_S, rate
from ezkielyna.ledger.books import Ledger
from ezkielyna.ledger.live import Live
from ezkielyna.ledger.window import MINUTE_S, QUARTER_S, Finished, Window
from ezkielyna.storage.database import Database
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.history import ended, settled
from ezkielyna.testing.lab import post
from ezkielyna.testing.live import PATIENCE_S, events, until
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering
from ezkielyna.testing.visitor import Visitor, logged_in

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


async def test_a_call_appears_with_its_numbers(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        ann = await logged_in(gateway)
        async with events(gateway.url, ann) as stream:
            await until(stream, lambda event: bool(event["connected"]))
            assert (await post(gateway.url, gateway.key, CHAT)).status == 200
            event = await until(stream, lambda event: bool(event["finished"]))
    (row,) = event["finished"]
    assert row["model"] == "gpt-lab"
    assert row["key"] == "test"
    assert row["tokens"] == "10"
    assert row["cost"] == "$0.000040"
    assert row["bad"] is False
    assert event["numbers"]["minute-requests"] == "1"
    assert event["numbers"]["quarter-errors"] == "0"
    assert event["numbers"]["minute-tokens"] == "0.17"


async def test_what_ended_before_is_there_and_nothing_is_doubled(gateways: Gateways) -> None:
    now = datetime.now(UTC)
    async with gateways() as gateway:
        old = ended(gateway.account, gateway.key_id, now - timedelta(minutes=40), cost=1)
        recent = [
            ended(gateway.account, gateway.key_id, now - timedelta(seconds=10 * n), cost=1)
            for n in range(1, 12)
        ]
        stranger = ended("acc_other", "key", now - timedelta(seconds=5), cost=1)
        await settled(gateway.database, [old, *recent, stranger])
        ann = await logged_in(gateway)
        async with events(gateway.url, ann) as stream, events(gateway.url, ann) as other:
            first = await until(stream, lambda event: event["numbers"]["quarter-requests"] == "11")
            await until(other, lambda event: event["numbers"]["quarter-requests"] == "11")
            new = [ended(gateway.account, gateway.key_id, datetime.now(UTC), cost=1)]
            new[0].ended_at = time.time()
            await settled(gateway.database, [*new, ended("acc_other", "k", now, cost=1)])
            for source in (stream, other):
                event = await until(
                    source, lambda event: event["numbers"]["quarter-requests"] == "12"
                )
                assert [row["id"] for row in event["finished"]] == [new[0].request_id]
    ids = [row["id"] for row in first["finished"]]
    assert len(ids) == len(set(ids))
    assert stranger.request_id not in ids


async def test_events_are_coalesced(gateways: Gateways) -> None:
    """However much ends, there is one event a second, and every request is in one of them."""
    async with gateways() as gateway:
        ann = await logged_in(gateway)

        async def busy() -> list[str]:
            ids: list[str] = []
            for _ in range(20):
                record = ended(gateway.account, gateway.key_id, datetime.now(UTC), cost=1)
                record.ended_at = time.time()
                await settled(gateway.database, [record])
                ids.append(record.request_id)
                await asyncio.sleep(0.05)
            return ids

        async with events(gateway.url, ann) as stream:
            await until(stream, lambda event: bool(event["connected"]))
            writing = asyncio.create_task(busy())
            seen: list[str] = []
            times: list[float] = []
            while len(seen) < 20:
                event = await until(stream, lambda event: bool(event["finished"]))
                times.append(event["_at"])
                seen += [row["id"] for row in event["finished"]]
            ids = await writing
    assert sorted(seen) == ids
    # On a busy machine one event comes late, and the next sooner after it.
    assert len(times) <= (times[-1] - times[0]) / EVENT_S + 2, times


async def test_open_streams_are_counted(gateways: Gateways) -> None:
    gate = asyncio.Event()

    async def slow(turn: Turn) -> None:
        await turn.begin(200, {"content-type": "text/event-stream"})
        first, *rest = chat_stream(["a", "b"])
        await turn.chunk(first)
        await gate.wait()
        for piece in rest:
            await turn.chunk(piece)
        await turn.end()

    async with ScriptedUpstream(slow) as upstream, gateways(upstream.url) as gateway:
        ann = await logged_in(gateway)
        async with events(gateway.url, ann) as stream:
            call = asyncio.create_task(post(gateway.url, gateway.key, {**CHAT, "stream": True}))
            await until(stream, lambda event: event["numbers"]["open"] == "1")
            gate.set()
            assert (await call).status == 200
            await until(stream, lambda event: event["numbers"]["open"] == "0")


async def test_strangers_and_closed_sessions_get_no_stream(gateways: Gateways) -> None:
    async with gateways() as gateway:
        assert (await Visitor(gateway.url).get("/live/events")).status == 303
        assert (await Visitor(gateway.url).get("/live")).status == 303


async def test_nobody_looks_and_nothing_is_asked(database: Database, tmp_path: Path) -> None:
    live = Live(database, Ledger(database, tmp_path))
    live.start()
    await live._beat()
    assert database.commands == []
    async with live.look("ann") as feed, live.look("ann") as same:
        assert feed is same
        async with asyncio.timeout(PATIENCE_S):
            while not feed.connected:
                await asyncio.sleep(0.02)
    assert live._following is None
    await live.close()


async def test_a_gateway_stops_although_somebody_looks(gateways: Gateways) -> None:
    async with gateways() as gateway:
        ann = await logged_in(gateway)
        gone = await _watching(gateway, ann)
    async with asyncio.timeout(PATIENCE_S):
        await gone


async def _watching(gateway: RunningGateway, ann: Visitor) -> asyncio.Task[None]:
    ready = asyncio.Event()

    async def look() -> None:
        async with events(gateway.url, ann) as stream:
            async for _ in stream:
                ready.set()

    task = asyncio.create_task(look())
    await ready.wait()
    return task


ENDS = st.lists(st.integers(0, 2 * QUARTER_S * 10), max_size=40)


@given(ENDS, st.integers(0, 2 * QUARTER_S * 10))
def test_a_window_is_the_sum_of_what_is_in_it(tenths: list[int], at: int) -> None:
    window, now = Window(), 1_000_000 + at / 10
    for number, tenth in enumerate(tenths):
        end = 1_000_000 + tenth / 10
        request = Finished(f"r{number}", end, "m", "k", "ok", 200, 5, 7, 20, 30)
        assert window.add(request)
        assert not window.add(request), "twice is once"
    window.forget(now)
    for span in (MINUTE_S, QUARTER_S):
        inside = [
            t
            for t in tenths
            if now - span < int(1_000_000 + t / 10) + 1 and 1_000_000 + t / 10 < int(now) + 1
        ]
        found = window.last(span, now)
        assert (found.requests, found.tokens, found.cost) == (
            len(inside),
            5 * len(inside),
            7 * len(inside),
        )
        assert found.mean_first_byte_ms == (20 if inside else None)


def test_rates_have_three_digits() -> None:
    assert [rate(n, 60) for n in (0, 1, 700, 60_000)] == ["0.00", "0.02", "11.7", "1,000"]
