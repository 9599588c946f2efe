"""The cache: who gets a kept answer, what it costs, and how much is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ezkielyna import Usage
from ezkielyna.ledger.verify import verify
from ezkielyna.storage.accounts import Accounts
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, post
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering
from ezkielyna_cache.shelf import OVERHEAD, Shelf

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
FULL_COST = 0.00004


def tables(**settings: Any) -> dict[str, Any]:
    return {"plugins": ["openai", "cache"], "plugin": {"cache": settings}}


async def ask(
    gateway: RunningGateway, word: str = "use", body: Any = None, key: str = ""
) -> Answer:
    headers = {"x_ezkielyna_cache": word} if word else {}
    path = "/v1/chat/completions"
    return await post(gateway.url, key or gateway.key, body or CHAT, path, **headers)


async def until_hit(gateway: RunningGateway, **more: Any) -> Answer:
    """An answer is kept a moment after it was given."""
    async with asyncio.timeout(15):
        while (answer := await ask(gateway, **more)).headers["x-ezkielyna-cache"] != "hit":
            await asyncio.sleep(0.02)
    return answer


@pytest.mark.parametrize(("bill", "cost"), [("zero", 0), ("policy", FULL_COST)])
async def test_the_same_request_is_answered_from_memory(
    gateways: Gateways, bill: str, cost: float
) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables(bill=bill)) as gateway,
    ):
        first = await ask(gateway)
        hit = await until_hit(gateway, body=dict(reversed(CHAT.items())))
        asked = len(upstream.requests)
        assert (await ask(gateway)).headers["x-ezkielyna-cache"] == "hit"
        assert len(upstream.requests) == asked
        verdict = await verify(gateway.database, pause_s=1.0)
    assert first.headers["x-ezkielyna-cache"] == "miss"
    assert first.document["usage"].pop("cost") == FULL_COST
    assert hit.headers["age"] == "0"
    assert hit.document["usage"]["cost"] == cost
    usage = {**hit.document["usage"], "cost": FULL_COST}
    assert {**hit.document, "usage": usage} == {**first.document, "usage": usage}
    assert verdict.ok


async def test_nothing_happens_without_the_header(gateways: Gateways) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables()) as gateway,
    ):
        await ask(gateway)
        await until_hit(gateway)
        asked = len(upstream.requests)
        plain = await ask(gateway, word="")
        assert len(upstream.requests) == asked + 1
    assert "x-ezkielyna-cache" not in plain.headers


async def test_refresh_asks_anew_and_keeps_the_new_answer(gateways: Gateways) -> None:
    answers = [answering(200, JSON, chat_answer(f"answer {n}")) for n in range(40)]
    async with (
        ScriptedUpstream(*answers) as upstream,
        gateways(upstream.url, tables=tables()) as gateway,
    ):
        await ask(gateway)
        old = await until_hit(gateway)
        fresh = await ask(gateway, word="refresh")
        assert fresh.headers["x-ezkielyna-cache"] == "miss"
        async with asyncio.timeout(15):
            while (now := await until_hit(gateway)).document == old.document:
                await asyncio.sleep(0.02)
    assert now.document["choices"] == fresh.document["choices"] != old.document["choices"]


@pytest.mark.parametrize("shared", [False, True])
async def test_accounts_share_only_where_the_operator_says_so(
    gateways: Gateways, shared: bool
) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables(shared=shared)) as gateway,
    ):
        other = await Accounts(gateway.database).create("o@example.com", "default", verified=True)
        _, key = await Keys(gateway.database, SECRET).create(other.id, name="other")
        await ask(gateway)
        await until_hit(gateway)
        answer = await ask(gateway, key=key)
    if shared:  # the other account has no money, and needs none
        assert (answer.status, answer.headers["x-ezkielyna-cache"]) == (200, "hit")
    else:
        assert answer.status == 402


async def test_errors_are_not_kept(gateways: Gateways) -> None:
    async def failing(turn: Turn) -> None:
        await turn.answer(500, JSON, b"{}")

    async with (
        ScriptedUpstream(failing, answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables()) as gateway,
    ):
        assert (await ask(gateway)).status == 502
        answer = await ask(gateway)
    assert (answer.status, answer.headers["x-ezkielyna-cache"]) == (200, "miss")


@pytest.mark.parametrize(
    ("word", "body", "reason"),
    [
        ("please", CHAT, "must be use or refresh"),
        ("use", {**CHAT, "stream": True}, "only for plain requests"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    gateways: Gateways, word: str, body: Any, reason: str
) -> None:
    async with ScriptedUpstream() as upstream, gateways(upstream.url, tables=tables()) as gateway:
        answer = await ask(gateway, word=word, body=body)
    assert (answer.status, answer.document["error"]["param"]) == (400, "x-ezkielyna-cache")
    assert reason in answer.document["error"]["message"]


def test_a_shelf_keeps_what_fits_and_what_is_fresh() -> None:
    now = [0.0]
    shelf = Shelf(3 * (OVERHEAD + 10), 60.0, lambda: now[0])
    usage = Usage(input=1)
    for place in (b"a", b"b", b"c"):
        shelf.put(place, bytes(10), usage)
    assert shelf.get(b"a") is not None  # asked for, so b is now the oldest
    shelf.put(b"d", bytes(10), None)
    assert shelf.get(b"b") is None
    now[0] = 59.0
    kept = shelf.get(b"a")
    assert kept is not None
    assert (kept.age_s, kept.usage) == (59.0, usage)
    now[0] = 60.0
    assert shelf.get(b"a") is None
    assert shelf.bytes == 2 * (OVERHEAD + 10)
    shelf.put(b"huge", bytes(10_000), None)
    assert shelf.get(b"huge") is None
    shelf.put(b"c", bytes(20), None)
    assert shelf.bytes == 2 * OVERHEAD + 30
