"""`GET /key` and `GET /usage`: what the API tells of an account, against its documents."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from ezkielyna.contract.money import NANOS_PER_USD, nano
from ezkielyna.gateway import reports
from ezkielyna.ledger.report import COLUMNS
from ezkielyna.ledger.settlement import settlement
from ezkielyna.storage.batches import settle
from ezkielyna.storage.compaction import compact
from ezkielyna.storage.errors import StorageAway
from ezkielyna.storage.keys import Keys
from ezkielyna.storage.usage import requests
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import SECRET, Gateways, RunningGateway
from ezkielyna.testing.lab import Answer, Line, post
from ezkielyna.testing.ledger import accepted, priced
from ezkielyna.testing.scripted import ScriptedUpstream, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
ANSWERING = answering(200, JSON, chat_answer())
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


async def get(gateway: RunningGateway, path: str, method: str = "GET") -> Answer:
    async with asyncio.timeout(30), await Line.open(gateway.url) as line:
        return await line.get(f"/api/v1{path}", gateway.key, method)


async def used(gateway: RunningGateway, spec: list[tuple[int, int, str]], process: str) -> None:
    """Settle requests: days ago, cost, and model."""
    records = []
    for number, (days_ago, cost, model) in enumerate(spec):
        began = (NOON - timedelta(days=days_ago)).timestamp()
        record = accepted(gateway.account, f"req_{process}_{number}", began)
        record.key, record.model, record.outcome, record.status = gateway.key_id, model, "ok", 200
        record.usage, record.bill = priced(cost)
        record.first_byte_at, record.ended_at = began + 0.2, began + 1.5
        records.append(record)
    for first in range(0, len(records), 500):
        batch = settlement(process, first + 1, records[first : first + 500], NOON.timestamp())
        assert await settle(gateway.database, batch)


async def settled(gateway: RunningGateway, count: int) -> None:
    async with asyncio.timeout(30):
        while await gateway.database["usage_hourly"].count_documents({}) < count:
            await asyncio.sleep(0.05)


async def test_a_key_shows_its_money(gateways: Gateways) -> None:
    plan = {"rpm": 60, "tpm": 1000, "concurrency": 3}
    async with (
        ScriptedUpstream(ANSWERING) as upstream,
        gateways(upstream.url, credit="5", tables={"plans": {"default": plan}}) as gateway,
    ):
        assert (await post(gateway.url, gateway.key, CHAT)).status == 200
        await settled(gateway, 1)
        await used(gateway, [(1, 7, "a"), (6, 70, "a"), (7, 700, "a"), (29, 7000, "b")], "p1")
        await used(gateway, [(30, 10**8, "a")], "p2")
        answer = await get(gateway, "/key")
    assert answer.status == 200
    assert "x-ratelimit-limit-requests" in answer.headers
    document = answer.document
    assert document["name"] == "test"
    assert document["account"] == {"email": gateway.email, "plan": "default"}
    spend = {name: round(usd * NANOS_PER_USD) for name, usd in document["spend"].items()}
    assert spend == {"today": 40_000, "7d": 40_077, "30d": 47_777}
    assert document["key_spend"] == document["spend"]
    assert document["limits"]["requests_per_minute"] == 60
    assert set(document["key_limits"].values()) == {None}
    assert document["limits"]["spend"] is None
    assert document["models"] == ["*"]
    assert document["expires_at"] is None
    spent_in_all = 40_000 + 7777 + 10**8
    assert b'"balance":' + f"{(5 * 10**9 - spent_in_all) / 10**9:.9f}".encode() in answer.body


async def test_a_limited_key_shows_its_limit(gateways: Gateways) -> None:
    async with gateways() as gateway:
        record, key = await Keys(gateway.database, SECRET).create(
            gateway.account, name="limited", limit=nano("1.5"), models=["gpt-lab"]
        )
        gateway.key, gateway.key_id = key, record.id
        await used(gateway, [(0, 10, "gpt-lab")], "p1")
        document = (await get(gateway, "/key")).document
    assert document["limits"]["spend"] == 1.5
    assert document["limits"]["spent"] == 1e-8
    assert document["models"] == ["gpt-lab"]


async def test_usage_is_zero_filled_and_adds_up(gateways: Gateways) -> None:
    async with gateways() as gateway:
        await used(gateway, [(0, 5, "a"), (0, 6, "b"), (3, 7, "a"), (29, 8, "a")], "p1")
        await used(gateway, [(30, 100, "a")], "p2")
        await compact(gateway.database, NOON - timedelta(days=2))
        plain = (await get(gateway, "/usage")).document
        grouped = (await get(gateway, "/usage?group=model")).document
        by_key = (await get(gateway, "/usage?group=key")).document
        by_status = (await get(gateway, "/usage?group=status")).document
        day = f"from={NOON:%Y-%m-%d}&to={NOON + timedelta(days=1):%Y-%m-%d}"
        today = (await get(gateway, f"/usage?{day}")).document
    assert plain["unit"] == "day"
    assert len(plain["data"]) == 30
    assert [row["requests"] for row in plain["data"]] == [1] + [0] * 25 + [1, 0, 0, 2]
    assert plain["data"][1]["first_byte_ms"] is None
    assert plain["data"][0]["first_byte_ms"] == 200
    assert plain["total"]["tokens"]["input"] == 26
    assert round(plain["total"]["cost"] * NANOS_PER_USD) == 26
    assert len(grouped["data"]) == 60
    assert {row["model"] for row in grouped["data"]} == {"a", "b"}
    assert grouped["total"] == plain["total"]
    assert {(row["key"], row["key_name"]) for row in by_key["data"]} == {(gateway.key_id, "test")}
    assert {row["status"] for row in by_status["data"]} == {"ok"}
    assert today["unit"] == "hour"
    assert [row["requests"] for row in today["data"]] == [0] * 12 + [2] + [0] * 11
    assert today["data"][12]["start"] == f"{NOON:%Y-%m-%dT%H}:00:00Z"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("from=soon", "from"),
        ("from=2026-11-02&to=2026-11-02", "from"),
        ("from=2026-11-02T10:30", "from"),
        ("to=x", "to"),
        ("group=colour", "group"),
        ("unit=year", "unit"),
        ("format=xml", "format"),
        ("format=csv&from=2026-11-02&to=2026-11-01", "from"),
    ],
)
async def test_a_wrong_question_is_named(gateways: Gateways, query: str, param: str) -> None:
    async with gateways() as gateway:
        answer = await get(gateway, f"/usage?{query}")
    assert answer.status == 400
    assert answer.document["error"]["param"] == param


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_an_export_is_the_ledger(gateways: Gateways, wire: str) -> None:
    """Every request of a half-open range, streamed; its costs are what the ledger settled."""
    spec = [(number % 3, number, "a,b\n") for number in range(450)]
    async with gateways(tables={"server": {"wire": wire}}) as gateway:
        await used(gateway, spec, "p1")
        since, until = NOON - timedelta(days=1), NOON
        whole = await get(gateway, "/usage?format=csv")
        window = f"from={quote(since.isoformat())}&to={quote(until.isoformat())}"
        part = await get(gateway, f"/usage?format=csv&{window}")
        head = await get(gateway, "/usage?format=csv", "HEAD")
        entries = gateway.database["ledger"].find({"kind": "settlement"})
        charged = -sum([entry["amount"] async for entry in entries])
        missing = await post(gateway.url, "", {}, "/api/v1/usage")
    assert whole.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert whole.headers["transfer-encoding"] == "chunked"
    assert ".csv" in whole.headers["content-disposition"]
    assert head.status == 200
    assert missing.status == 405
    lines = whole.body.decode().split("\r\n")
    assert lines[0] == ",".join(COLUMNS)
    rows = list(csv.DictReader(io.StringIO(whole.body.decode(), newline="")))
    assert len(rows) == 450
    assert sum(nano(row["cost_usd"]) for row in rows) == charged == sum(range(450))
    assert {row["model"] for row in rows} == {"a,b\n"}
    assert rows[0]["started_at"].endswith("T12:00:00.000Z")
    inside = list(csv.DictReader(io.StringIO(part.body.decode(), newline="")))
    assert len(inside) == 150, "what began at the first moment, not what began at the last"
    assert all(row["started_at"].startswith(f"{since:%Y-%m-%d}") for row in inside)


async def test_a_cell_is_never_a_formula(gateways: Gateways) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", '\t=1,"', "fine=1"]
    async with gateways() as gateway:
        await used(gateway, [(0, 1, model) for model in evil], "p1")
        answer = await get(gateway, "/usage?format=csv")
    rows = csv.DictReader(io.StringIO(answer.body.decode(), newline=""))
    assert [row["model"] for row in rows] == [f"'{model}" for model in evil[:-1]] + ["fine=1"]


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_half_an_export_is_no_whole_one(
    gateways: Gateways, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaking(*arguments: Any) -> AsyncIterator[dict[str, Any]]:
        count = 0
        async for document in requests(*arguments):
            yield document
            count += 1
            if count == 300:
                raise StorageAway("gone")

    monkeypatch.setattr(reports, "requests", breaking)
    async with gateways(tables={"server": {"wire": wire}}) as gateway:
        await used(gateway, [(0, 1, "a")] * 450, "p1")
        with pytest.raises((asyncio.IncompleteReadError, ValueError, ConnectionError)):
            await get(gateway, "/usage?format=csv")


async def test_without_a_database_it_is_503(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StorageAway("gone")

    async with gateways() as gateway:
        assert (await get(gateway, "/key")).status == 200
        for name in ("usage_series", "spending"):
            monkeypatch.setattr(reports, name, away)
        for path in ("/usage", "/key"):
            answer = await get(gateway, path)
            assert (answer.status, answer.error) == (503, "unavailable")
