"""Who asks: one look-up a key, none a request, and never a 401 for a fault of ours."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from ezkielyna.storage.errors import StorageAway
from ezkielyna.storage.keyformat import generate
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
ANSWERING = answering(200, JSON, chat_answer())


async def models(gateway: RunningGateway, key: str) -> Answer:
    async with await Line.open(gateway.url) as line:
        return await line.get("/v1/models", key)


async def test_many_first_requests_with_one_key_cost_one_look_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        lines = await asyncio.gather(*(Line.open(gateway.url) for _ in range(50)))
        gateway.database.commands.clear()
        answers = await asyncio.gather(*(line.get("/v1/models", gateway.key) for line in lines))
        assert {answer.status for answer in answers} == {200}
        assert gateway.database.commands.count("aggregate") == 1
        for line in lines:
            line.writer.close()


async def test_many_requests_with_one_unknown_key_cost_one_look_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        stranger = generate()
        gateway.database.commands.clear()
        answers = await asyncio.gather(*(models(gateway, stranger) for _ in range(50)))
        assert {answer.status for answer in answers} == {401}
        again = await models(gateway, stranger)
        assert again.error == "invalid_api_key"
        assert gateway.database.commands.count("aggregate") == 1


async def test_a_key_of_a_wrong_form_costs_no_look_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        gateway.database.commands.clear()
        for key in ("x", "sk-foreign", generate()[:-1], generate() + "0", "ez-" + "é" * 46):
            answer = await models(gateway, key)
            assert (answer.status, answer.error) == (401, "invalid_api_key")
        assert "aggregate" not in gateway.database.commands


async def test_no_command_a_request_once_key_and_lease_are_warm(gateways: Gateways) -> None:
    """Commands behind the requests go by time: a batch in 0.4 s, a look at the keys in 2 s."""
    requests = 200
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        async with await Line.open(gateway.url) as line:
            for _ in range(20):
                assert (await line.post(gateway.key, CHAT)).status == 200
            gateway.database.commands.clear()
            began = time.monotonic()
            for _ in range(requests):
                assert (await line.post(gateway.key, CHAT)).status == 200
            took = time.monotonic() - began
        counted = Counter(gateway.database.commands)
        assert sum(counted.values()) < 20 + 40 * took, counted
        assert counted["aggregate"] <= 1 + took / 2, counted


async def test_one_warm_request_costs_no_command_at_all(gateways: Gateways) -> None:
    """What is done behind requests goes by the clock: most requests see none of it."""
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        async with await Line.open(gateway.url) as line:
            assert (await line.post(gateway.key, CHAT)).status == 200
            seen = []
            for _ in range(10):
                before = len(gateway.database.commands)
                assert (await line.post(gateway.key, CHAT)).status == 200
                seen.append(gateway.database.commands[before:])
        assert [] in seen, "every request cost a command"
        assert sum(map(bool, seen)) <= 5, seen


async def test_an_expired_key_is_refused_the_moment_it_expires(gateways: Gateways) -> None:
    async with gateways() as gateway:
        _, key = await Keys(gateway.database, SECRET).create(
            gateway.account, name="short", expires_at=datetime.now(UTC) + timedelta(seconds=1)
        )
        assert (await models(gateway, key)).status == 200
        await asyncio.sleep(1.1)
        answer = await models(gateway, key)
        assert (answer.status, answer.error) == (401, "invalid_api_key")
        assert "expired" in answer.document["error"]["message"]


async def test_a_deleted_key_is_refused_within_five_seconds(gateways: Gateways) -> None:
    async with gateways() as gateway:
        assert (await models(gateway, gateway.key)).status == 200
        await gateway.database["keys"].delete_one({"_id": gateway.key_id})
        deleted = time.monotonic()
        while (answer := await models(gateway, gateway.key)).status == 200:
            assert time.monotonic() < deleted + 5
            await asyncio.sleep(0.05)
        assert (answer.status, answer.error) == (401, "invalid_api_key")


async def test_a_key_made_after_it_was_refused_works_within_seconds(gateways: Gateways) -> None:
    async with gateways() as gateway:
        key = generate()
        assert (await models(gateway, key)).status == 401
        await Keys(gateway.database, SECRET).create(gateway.account, name="late", key=key)
        await asyncio.sleep(1.1)
        assert (await models(gateway, key)).status == 200


async def test_a_key_that_cannot_be_looked_up_is_503_for_everyone_who_waits(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise StorageAway("the database cannot be reached")

    async with gateways() as gateway:
        assert (await models(gateway, gateway.key)).status == 200
        with monkeypatch.context() as patched:
            patched.setattr(Keys, "find", away)
            patched.setattr(Keys, "refresh", away)
            stranger = generate()
            for answer in await asyncio.gather(*(models(gateway, stranger) for _ in range(5))):
                assert (answer.status, answer.error) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            await asyncio.sleep(2.2)
            assert (await models(gateway, gateway.key)).status == 200
        assert (await models(gateway, stranger)).status == 401


async def test_a_client_that_leaves_does_not_take_the_look_up_with_it(gateways: Gateways) -> None:
    async with ScriptedUpstream(ANSWERING) as upstream, gateways(upstream.url) as gateway:
        leaving = [await Line.open(gateway.url) for _ in range(3)]
        for line in leaving:
            line.send(gateway.key, CHAT)
        staying = asyncio.create_task(post(gateway.url, gateway.key, CHAT))
        for line in leaving:
            line.writer.close()
        assert (await staying).status == 200


async def test_a_head_that_comes_again_is_asked_for_its_key_each_time(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(ANSWERING) as upstream,
        gateways(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
    ):
        stranger = generate()
        for key, status in ((gateway.key, 200), (gateway.key, 200), (stranger, 401)):
            assert (await line.post(key, CHAT)).status == status
        for _ in range(2):
            assert (await line.post(gateway.key, CHAT)).status == 200
        await Keys(gateway.database, SECRET).revoke(gateway.key_id)
        await gateway.app._authentication.refresh()
        refused = await line.post(gateway.key, CHAT)
        assert (refused.status, refused.error) == (401, "invalid_api_key")
