"""Keys with a limit: exact within a worker, whatever runs at once, and soon known in the others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import orjson
import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna.contract.errors import InsufficientBalance
from ezkielyna.contract.money import nano
from ezkielyna.gateway.call import Credential
from ezkielyna.gateway.spending import Spending
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Line, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna.testing.scripts import Gate

IMAGE = {"model": "image-lab", "prompt": "A house", "n": 1}
IMAGES = "/v1/images/generations"
PICTURE = orjson.dumps({"created": 1_700_000_000, "data": [{"url": "http://127.0.0.1/1.png"}]})
PAINTING = answering(200, JSON, PICTURE)
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


async def limited(gateway: RunningGateway, limit: str) -> str:
    keys = Keys(gateway.database, SECRET)
    _, key = await keys.create(gateway.account, name="limited", limit=nano(limit))
    return key


async def test_two_hundred_at_once_spend_what_ten_cost(gateways: Gateways) -> None:
    async with ScriptedUpstream(PAINTING) as upstream, gateways(upstream.url) as gateway:
        key = await limited(gateway, "0.40")
        answers = await asyncio.gather(*(post(gateway.url, key, IMAGE, IMAGES) for _ in range(200)))
        assert Counter(answer.status for answer in answers) == {200: 10, 402: 190}
        assert len(upstream.requests) == 10
        refused = next(answer for answer in answers if answer.status == 402)
        assert refused.error == "insufficient_balance"
        assert "0.40 USD" in refused.document["error"]["message"]
        last = await post(gateway.url, key, IMAGE, IMAGES)
        assert last.status == 402
        assert "retry-after" not in last.headers
        other = await post(gateway.url, gateway.key, IMAGE, IMAGES)
        assert other.status == 200, "the limit is the key's, not the account's"


async def test_running_requests_hold_it_and_failed_ones_give_it_back(gateways: Gateways) -> None:
    failing = Gate(answering(500, JSON, b"{}"))
    async with ScriptedUpstream(failing, PAINTING) as upstream, gateways(upstream.url) as gateway:
        key = await limited(gateway, "0.05")
        first = asyncio.create_task(post(gateway.url, key, IMAGE, IMAGES))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        second = await post(gateway.url, key, IMAGE, IMAGES)
        assert second.status == 402
        assert second.headers["retry-after"] == "1"
        failing.open()
        assert (await first).status == 502
        assert (await post(gateway.url, key, IMAGE, IMAGES)).status == 200


async def test_the_account_without_money_gives_it_back(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(PAINTING) as upstream,
        gateways(upstream.url, credit="0") as gateway,
    ):
        key = await limited(gateway, "0.05")
        for _ in range(3):
            answer = await post(gateway.url, key, IMAGE, IMAGES)
            assert answer.status == 402
            assert "limit" not in answer.document["error"]["message"]


async def test_a_plain_answer_is_capped_to_what_the_key_has_left(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url) as gateway,
    ):
        key = await limited(gateway, "0.01")
        answer = await post(gateway.url, key, {**CHAT, "max_tokens": 16_000})
        assert answer.status == 200
        asked = orjson.loads(upstream.requests[0].body)["max_tokens"]
        assert 900 < asked < 1000


@pytest.mark.parametrize("model", ["gpt-lab", "free-lab"])
async def test_a_stream_ends_where_the_key_does(gateways: Gateways, model: str) -> None:
    pieces = ["four"] * 4000
    body = {**CHAT, "model": model, "max_tokens": 5000, "stream": True}
    async with (
        ScriptedUpstream(streaming(chat_stream(pieces))) as upstream,
        gateways(upstream.url) as gateway,
    ):
        key = await limited(gateway, "0.02")
        answer = await post(gateway.url, key, body)
        assert answer.status == 200
        delivered = answer.body.count(b'"four"')
        if model == "free-lab":
            assert delivered == 4000
            return
        assert b"insufficient_balance" in answer.body
        assert b"This API key may spend 0.02 USD" in answer.body
        assert 1000 < delivered < 4000
        assert (await post(gateway.url, key, body)).status == 402
        assert (await post(gateway.url, gateway.key, body)).status == 200


async def test_what_other_processes_settled_counts(gateways: Gateways) -> None:
    async with ScriptedUpstream(PAINTING) as upstream, gateways(upstream.url) as gateway:
        record, key = await Keys(gateway.database, SECRET).create(
            gateway.account, name="limited", limit=nano("0.12")
        )
        await _spent_elsewhere(gateway, record.id, nano("0.04"), 30 * 24)
        assert (await post(gateway.url, key, IMAGE, IMAGES)).status == 200
        await _spent_elsewhere(gateway, record.id, nano("0.04"), 0)
        async with asyncio.timeout(5):
            while (await _room(gateway, key)) != 0:
                await asyncio.sleep(0.1)
        assert (await post(gateway.url, key, IMAGE, IMAGES)).status == 402
        await asyncio.sleep(1.5)
        assert await _room(gateway, key) == 0, "what was settled here counts once"


async def test_a_key_without_a_limit_costs_no_further_command(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(PAINTING) as upstream,
        gateways(upstream.url) as gateway,
        await Line.open(gateway.url) as line,
    ):
        for key, commands in ((gateway.key, 1), (await limited(gateway, "1"), 2)):
            assert (await line.post(key, IMAGE, IMAGES)).status == 200
            gateway.database.commands.clear()
            await gateway.app._authentication.refresh()
            assert gateway.database.commands.count("aggregate") == commands


async def test_compacted_hours_count_once(gateways: Gateways) -> None:
    """Nothing is doubled or lost while hours pass, roll-ups are merged, and others spend."""
    async with ScriptedUpstream(PAINTING) as upstream, gateways(upstream.url) as gateway:
        record, key = await Keys(gateway.database, SECRET).create(
            gateway.account, name="limited", limit=nano("1")
        )
        assert (await post(gateway.url, key, IMAGE, IMAGES)).status == 200
        assert await _room(gateway, key) == nano("0.96")
        await _spent_elsewhere(gateway, record.id, nano("0.04"), 0)
        async with asyncio.timeout(5):
            while await gateway.database["usage_hourly"].count_documents({"key": record.id}) < 2:
                await asyncio.sleep(0.05)
        authentication = gateway.app._authentication
        for hours in range(4):
            clock = time.time() + hours * 3600
            authentication._spendings._now = lambda clock=clock: clock
            await authentication.refresh()
            assert await _room(gateway, key) == nano("0.92"), hours
            await compact(gateway.database, datetime.fromtimestamp(clock - 2 * 3600, UTC))
            await authentication.refresh()
            assert await _room(gateway, key) == nano("0.92"), hours
        assert await gateway.database["usage_hourly"].count_documents({"key": record.id}) == 0
        merged = await Keys(gateway.database, SECRET).spent(gateway.account, [record.id])
        assert merged == {record.id: nano("0.08")}


async def _room(gateway: RunningGateway, key: str) -> int:
    identity = await gateway.app._authentication.identify(Credential(key))
    assert identity.spending is not None
    return identity.spending.left


async def _spent_elsewhere(gateway: RunningGateway, key: str, cost: int, hours_ago: int) -> None:
    hour = datetime.fromtimestamp(time.time() // 3600 * 3600 - hours_ago * 3600, UTC)
    await gateway.database["usage_hourly"].insert_one(
        {
            "_id": f"{gateway.account}:{key}:m:e:{hours_ago}:other",
            "account": gateway.account,
            "key": key,
            "model": "m",
            "endpoint": "e",
            "requests": Int64(1),
            "errors": Int64(0),
            "hour": hour,
            "process": "other",
            "cost": Int64(cost),
        }
    )


@given(
    st.integers(0, 1000),
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 600), st.floats(0, 1))
    ),
)
def test_requests_that_pay_no_more_than_promised_never_pass_it(
    limit: int, requests: list[tuple[int, int, int, float]]
) -> None:
    spending = Spending(limit)
    running: list[tuple[int, int]] = []
    for least, more, extension, share in requests:
        try:
            promised = spending.promise(least, least + more)
        except InsufficientBalance:
            assert least > limit - spending.here - spending.promised
            continue
        assert least <= promised <= least + more
        promised = spending.extend(promised, extension)
        running.append((promised, int(promised * share)))
        if len(running) > 3:
            spending.end(*running.pop(0), started_at=0.0)
        assert spending.left >= 0
    for promised, cost in running:
        spending.end(promised, cost, started_at=0.0)
    assert spending.promised == 0
    assert spending.here <= limit
