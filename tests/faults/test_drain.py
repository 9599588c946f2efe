"""SIGTERM: what runs ends well, nothing new begins, nothing is left to be recovered."""

import asyncio
import signal

import orjson
import pytest

from ezkielyna.testing.dialect import JSON, chat_answer, chunk
from ezkielyna.testing.lab import Lab, Line, request
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering
from ezkielyna.testing.scripts import Gate

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_a_running_request_ends_and_is_settled(lab: Lab, wire: str) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    payer = await lab.account("1")
    async with ScriptedUpstream(slow) as upstream:
        async with lab.serving(upstream.url, wire=wire) as gateway:
            async with await Line.open(gateway.url) as line, await Line.open(gateway.url) as idle:
                assert (await idle.get("/readyz")).status == 200
                line.send(payer.key, CHAT)
                await slow.asked.wait()
                gateway.process.send_signal(signal.SIGTERM)
                assert await idle.reader.read() == b"", "an idle connection is closed"
                with pytest.raises(ConnectionRefusedError):
                    await Line.open(gateway.url)
                slow.open()
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


async def test_requests_that_were_arriving_are_told_to_go_elsewhere(lab: Lab) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    payer = await lab.account("1")
    async with (
        ScriptedUpstream(slow) as upstream,
        lab.serving(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
        await Line.open(gateway.url) as late,
        await Line.open(gateway.url) as probe,
    ):
        assert (await probe.get("/readyz")).status == 200
        line.send(payer.key, CHAT)
        await slow.asked.wait()
        whole = request("GET", "/readyz")
        probe.writer.write(whole[:10])
        late.writer.write(b"POST")
        await asyncio.sleep(0.1)
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        probe.writer.write(whole[10:])
        ready = await probe.answer()
        assert (ready.status, ready.document) == (503, {"status": "draining", "degraded": []})
        body = b'{"model": "gpt-lab", "messages": [{"role": "user", "content": "x"}]}'
        late.writer.write(request("POST", "/v1/chat/completions", payer.key, body)[4:])
        answer = await late.answer()
        assert (answer.status, answer.error) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(upstream.requests) == 1
        slow.open()
        assert (await line.answer()).status == 200


async def test_what_does_not_end_in_time_is_ended_and_settled(lab: Lab) -> None:
    async def endless(turn: Turn) -> None:
        if b'"stream"' not in turn.request.body:
            await turn.stall()
            return
        await turn.begin(200, {"content-type": "text/event-stream"})
        await turn.chunk(chunk({"role": "assistant", "content": "Some words. " * 4}))
        await turn.stall()

    payer = await lab.account("1")
    async with ScriptedUpstream(endless) as upstream:
        async with lab.serving(upstream.url, drain_s=0.5) as gateway:
            async with await Line.open(gateway.url) as plain, await Line.open(gateway.url) as line:
                plain.send(payer.key, CHAT)
                line.send(payer.key, {**CHAT, "stream": True})
                assert (await line.head()).status == 200
                chunks = line.chunks()
                assert b"Some words" in await anext(chunks)
                gateway.process.send_signal(signal.SIGTERM)
                last = b"".join([data async for data in chunks])
                error = orjson.loads(last.removeprefix(b"data: "))["error"]
                assert (error["type"], error["code"]) == ("unavailable", 503)
                answer = await plain.answer()
                assert (answer.status, answer.error) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            assert await asyncio.to_thread(gateway.process.wait, 15) == 0
        documents = await lab.usages(2, within_s=0.5)
        stream, silent = sorted(documents, key=lambda found: -found["cost"])
        assert stream["outcome"] == silent["outcome"] == "failed"
        assert stream["tokens"]["output"] > 0, "what was delivered is billed"
        assert silent["cost"] == 0
    assert not lab.journals
    await lab.verify()
