"""SIGTERM: what runs ends well, nothing new begins, nothing is left to be recovered."""

import asyncio
import signal

from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.lab import Lab, Line, request
from ezkielyna.testing.scripted import ScriptedUpstream, Turn

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}


async def test_a_running_request_ends_and_is_settled(lab: Lab) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(turn: Turn) -> None:
        asked.set()
        await go_on.wait()
        await turn.answer(200, JSON, chat_answer())

    payer = await lab.account("1")
    async with ScriptedUpstream(slow) as upstream:
        async with lab.serving(upstream.url) as gateway:
            async with await Line.open(gateway.url) as line, await Line.open(gateway.url) as probe:
                assert (await probe.get("/readyz")).status == 200
                line.send(payer.key, CHAT)
                await asked.wait()
                whole = request("GET", "/readyz")
                probe.writer.write(whole[:10])
                await asyncio.sleep(0.1)
                gateway.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.3)
                probe.writer.write(whole[10:])
                answer = await probe.answer()
                assert (answer.status, answer.document) == (503, {"status": "draining"})
                go_on.set()
                answer = await line.answer()
                assert answer.status == 200
                assert answer.document["usage"]["cost"] > 0
            assert await asyncio.to_thread(gateway.process.wait, 10) == 0
        documents = await lab.usages(1, within_s=0.5)
        assert [found["outcome"] for found in documents] == ["ok"]
        assert documents[0]["_id"] == answer.headers["x-request-id"]
        assert not lab.journals
        async with lab.serving(upstream.url) as gateway:
            assert len(lab.journals) == 1
            assert "recovered" not in gateway.output
    assert [found async for found in lab.database["leases"].find({})] == []
    await lab.verify()


async def test_a_new_request_on_an_open_connection_is_told_to_go_elsewhere(lab: Lab) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(turn: Turn) -> None:
        asked.set()
        await go_on.wait()
        await turn.answer(200, JSON, chat_answer())

    payer = await lab.account("1")
    async with (
        ScriptedUpstream(slow) as upstream,
        lab.serving(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
        await Line.open(gateway.url) as late,
    ):
        line.send(payer.key, CHAT)
        await asked.wait()
        late.writer.write(b"POST")
        await asyncio.sleep(0.1)
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        body = b'{"model": "gpt-lab", "messages": [{"role": "user", "content": "x"}]}'
        late.writer.write(request("POST", "/v1/chat/completions", payer.key, body)[4:])
        answer = await late.answer()
        assert (answer.status, answer.error) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(upstream.requests) == 1
        go_on.set()
        assert (await line.answer()).status == 200
