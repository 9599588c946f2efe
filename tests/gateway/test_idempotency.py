"""`Idempotency-Key`: the same request twice is one charge, and only what lasts is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from ezkielyna.contract.money import nano
from ezkielyna.gateway import idempotency
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.errors import StorageAway
from ezkielyna.storage.idempotency import MOST_BODY, Claims
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna.testing.scripts import Gate

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
ANSWERING = answering(200, JSON, chat_answer())
REFUSAL = answering(400, JSON, b'{"error": {"message": "No such tool.", "param": "tools"}}')
FAILING = answering(500, JSON, b"{}")


async def ask(gateway: RunningGateway, key: str = "one", body: Any = CHAT) -> Answer:
    return await post(gateway.url, gateway.key, body, Idempotency_Key=key)


async def usages(gateway: RunningGateway, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        while True:
            found = [document async for document in gateway.database["usage"].find({})]
            if len(found) >= count:
                await asyncio.sleep(0.5)
                return found
            await asyncio.sleep(0.05)


async def test_the_same_request_is_answered_and_charged_once(gateways: Gateways) -> None:
    scripts = [answering(200, JSON, chat_answer(text)) for text in ("first", "second")]
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        first = await ask(gateway)
        assert (first.status, "idempotent-replayed" in first.headers) == (200, False)
        for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
            again = await post(gateway.url, gateway.key, CHAT, path, Idempotency_Key="one")
            assert (again.status, again.body) == (200, first.body)
            assert again.headers["idempotent-replayed"] == "true"
            assert again.headers["x-request-id"] != first.headers["x-request-id"]
        other = await ask(gateway, "two")
        assert b"second" in other.body
        assert len(upstream.requests) == 2
        assert len(await usages(gateway, 2)) == 2


async def test_another_body_path_or_account_is_another_request(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        assert (await ask(gateway)).status == 200
        conflict = await ask(gateway, body={**CHAT, "max_tokens": 6})
        assert (conflict.status, conflict.error) == (409, "idempotency_conflict")
        assert conflict.document["error"]["param"] == "Idempotency-Key"
        assert "retry-after" not in conflict.headers
        path = "/v1/completions"
        body = {**CHAT, "prompt": "x"}
        assert (await ask(gateway, "both", body)).status == 200
        elsewhere = await post(gateway.url, gateway.key, body, path, Idempotency_Key="both")
        assert elsewhere.status == 409
        bob = await Accounts(gateway.database).create(
            "bob@example.com", "default", verified=True, credit=nano("1")
        )
        _, key = await Keys(gateway.database, SECRET).create(bob.id, name="bob")
        theirs = await post(gateway.url, key, CHAT, Idempotency_Key="one")
        assert (theirs.status, "idempotent-replayed" in theirs.headers) == (200, False)


async def test_while_the_first_runs_the_second_is_told_to_wait(gateways: Gateways) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    async with ScriptedUpstream(slow) as upstream, gateways(upstream.url) as gateway:
        running = [asyncio.create_task(ask(gateway)) for _ in range(10)]
        while sum(task.done() for task in running) < 9:
            await asyncio.sleep(0.01)
        assert not all(task.done() for task in running)
        slow.open()
        answers = await asyncio.gather(*running)
        assert Counter(answer.status for answer in answers) == {200: 1, 409: 9}
        refused = next(answer for answer in answers if answer.status == 409)
        assert refused.headers["retry-after"] == "1"
        assert "still running" in refused.document["error"]["message"]
        assert len(upstream.requests) == 1
        assert (await ask(gateway)).headers["idempotent-replayed"] == "true"


async def test_who_left_finds_the_answer(gateways: Gateways) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    async with ScriptedUpstream(slow) as upstream, gateways(upstream.url) as gateway:
        async with await Line.open(gateway.url) as line:
            line.send(gateway.key, CHAT, Idempotency_Key="one")
            while not upstream.requests:
                await asyncio.sleep(0.01)
        slow.open()
        async with asyncio.timeout(5):
            while (answer := await ask(gateway)).status == 409:
                await asyncio.sleep(0.05)
        assert (answer.status, answer.headers["idempotent-replayed"]) == (200, "true")
        assert len(await usages(gateway, 1)) == 1


async def test_a_refusal_by_the_upstream_is_kept(gateways: Gateways) -> None:
    async with ScriptedUpstream(REFUSAL, ANSWERING) as upstream, gateways(upstream.url) as gateway:
        first, again = await ask(gateway), await ask(gateway)
        assert (first.status, again.status) == (400, 400)
        assert first.body == again.body
        assert again.headers["idempotent-replayed"] == "true"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [FAILING, answering(429, JSON, b"{}"), answering(401, JSON, b"{}"), answering(200, JSON, b"x")],
    ids=["500", "429", "401", "no answer"],
)
async def test_failures_give_the_key_back(gateways: Gateways, failure: Any) -> None:
    async with ScriptedUpstream(failure, ANSWERING) as upstream, gateways(upstream.url) as gateway:
        assert (await ask(gateway)).status >= 402
        again = await ask(gateway)
        assert (again.status, "idempotent-replayed" in again.headers) == (200, False)


async def test_without_money_the_key_is_free(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(ANSWERING) as upstream,
        gateways(upstream.url, credit="0") as gateway,
    ):
        assert (await ask(gateway)).status == 402
        assert await gateway.database["idempotency"].count_documents({}) == 0


async def test_a_refusal_of_ours_costs_no_claim(gateways: Gateways) -> None:
    async with gateways() as gateway:
        for body, status in (({**CHAT, "n": 0}, 400), ({**CHAT, "model": "none"}, 404)):
            assert (await ask(gateway, body=body)).status == status
        assert await gateway.database["idempotency"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("key", "more", "word"),
    [("one", {"stream": True}, "stream"), ("x" * 256, {}, "255"), ("", {}, "255")],
)
async def test_keys_that_cannot_be_used(
    gateways: Gateways, key: str, more: dict[str, Any], word: str
) -> None:
    async with gateways() as gateway:
        answer = await ask(gateway, key, {**CHAT, **more})
        assert (answer.status, answer.error) == (400, "invalid_request")
        assert answer.document["error"]["param"] == "Idempotency-Key"
        assert word in answer.document["error"]["message"]


async def test_255_characters_are_a_key(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        assert (await ask(gateway, "x" * 255)).status == 200


async def test_a_claim_whose_process_died_expires(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        claims, now = Claims(gateway.database, "dead"), datetime.now(UTC)
        soon = now + timedelta(seconds=1)
        fingerprint = await _fingerprint(gateway)
        assert await claims.claim(f"{gateway.account}:one", "dead", fingerprint, now, soon) is None
        assert (await ask(gateway)).status == 409
        await asyncio.sleep(1.1)
        assert (await ask(gateway)).status == 200
        assert (await ask(gateway)).headers["idempotent-replayed"] == "true"
        assert not await claims.keep(f"{gateway.account}:one", "dead", 200, b"late", now, None)
        assert (await ask(gateway)).body != b"late", "who lost the claim keeps nothing"


async def test_answers_are_kept_for_a_day(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        assert (await ask(gateway)).status == 200
        document = await gateway.database["idempotency"].find_one({})
        assert document is not None
        day = document["expires_at"].replace(tzinfo=UTC) - datetime.now(UTC)
        assert timedelta(hours=23, minutes=59) < day <= timedelta(hours=24)
        past = datetime.now(UTC) - timedelta(seconds=1)
        await gateway.database["idempotency"].update_one({}, {"$set": {"expires_at": past}})
        assert "idempotent-replayed" not in (await ask(gateway)).headers
        assert len(upstream.requests) == 2


async def test_an_answer_too_large_to_keep_is_not_charged_again(gateways: Gateways) -> None:
    huge = answering(200, JSON, chat_answer("x" * MOST_BODY))
    async with ScriptedUpstream(huge) as upstream, gateways(upstream.url) as gateway:
        assert (await ask(gateway)).status == 200
        again = await ask(gateway)
        assert (again.status, "retry-after" in again.headers) == (409, False)
        assert "too large" in again.document["error"]["message"]
        assert len(upstream.requests) == 1


async def test_without_the_header_nothing_is_looked_up(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(ANSWERING) as upstream,
        gateways(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
    ):
        assert (await line.post(gateway.key, CHAT)).status == 200
        commands = []
        for _ in range(20):
            gateway.database.commands.clear()
            assert (await line.post(gateway.key, CHAT)).status == 200
            commands.append(len(gateway.database.commands))
        assert commands.count(0) > 10


async def test_a_database_that_is_away_is_no_conflict(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StorageAway("away")

    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        with monkeypatch.context() as patch:
            patch.setattr(Claims, "claim", away)
            answer = await ask(gateway)
        assert (answer.status, answer.error) == (503, "unavailable")
        assert not upstream.requests


async def test_an_answer_is_charged_and_sent_when_it_is_kept(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = asyncio.Event()
    keep = Claims.keep

    async def away_at_first(self: Claims, *arguments: Any) -> bool:
        if not back.is_set():
            raise StorageAway("away")
        return await keep(self, *arguments)

    monkeypatch.setattr(Claims, "keep", away_at_first)
    monkeypatch.setattr(idempotency, "PAUSE_S", 0.05)
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        first = asyncio.create_task(ask(gateway))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert (await ask(gateway)).status == 409
        assert not first.done()
        assert await gateway.database["usage"].count_documents({}) == 0
        back.set()
        assert (await first).status == 200
        again = await ask(gateway)
        assert (again.body, again.headers["idempotent-replayed"]) == ((await first).body, "true")
        [document] = await usages(gateway, 1)
        assert document["cost"] > 0
        assert len(upstream.requests) == 1


async def test_an_answer_whose_claim_went_to_another_is_not_charged(
    gateways: Gateways, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Gate(answering(200, JSON, chat_answer()))
    async with ScriptedUpstream(slow) as upstream, gateways(upstream.url) as gateway:
        first = asyncio.create_task(ask(gateway))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        await gateway.database["idempotency"].update_one({}, {"$set": {"claim": "another"}})
        slow.open()
        answer = await first
        assert (answer.status, answer.error) == (503, "unavailable")
        [document] = await usages(gateway, 1)
        assert (document["cost"], document["outcome"]) == (0, "failed")
        assert (await ask(gateway)).status == 409, "the other's claim stays"


async def _fingerprint(gateway: RunningGateway) -> bytes:
    """Return the fingerprint of CHAT, as the gateway makes it."""
    assert (await ask(gateway, "for its fingerprint")).status == 200
    document = await gateway.database["idempotency"].find_one({})
    assert document is not None
    assert orjson.loads(document["body"])["object"] == "chat.completion"
    await gateway.database["idempotency"].delete_many({})
    return bytes(document["fingerprint"])
