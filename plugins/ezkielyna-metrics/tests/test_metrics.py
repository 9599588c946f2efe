"""Metrics: what is counted, that workers are added up, and who may ask."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna_metrics.numbers import Numbers
from ezkielyna_metrics.shared import Shared

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
TABLES: dict[str, Any] = {"plugins": ["openai", "metrics"]}
FOLDER = Path(__file__).parent.parent

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def scraped(url: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as client:
        return await client.get(f"{url}/metrics", headers=headers)


async def test_requests_are_counted(gateways: Gateways) -> None:
    scripts = answering(200, JSON, chat_answer()), streaming(chat_stream(["a ", "b"]))
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        await post(gateway.url, gateway.key, CHAT)
        await post(gateway.url, gateway.key, {**CHAT, "stream": True})
        await post(gateway.url, gateway.key, {**CHAT, "model": "made-up"})
        answer = await scraped(gateway.url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = parsed(answer.text)
    labels = {"endpoint": "chat.completions", "model": "gpt-lab"}
    ok = {**labels, "provider": "lab", "outcome": "ok", "status": "200"}
    assert value(samples, "ezkielyna_requests_total", **ok) == 2
    assert value(samples, "ezkielyna_tokens_total", model="gpt-lab", bucket="input") == 16
    assert value(samples, "ezkielyna_tokens_total", model="gpt-lab", bucket="output") == 4
    assert value(samples, "ezkielyna_cost_nano_usd_total", model="gpt-lab") == 80_000
    assert value(samples, "ezkielyna_duration_seconds_count", **labels) == 2
    assert value(samples, "ezkielyna_first_byte_seconds_count", model="gpt-lab") == 2
    assert value(samples, "ezkielyna_requests_running", endpoint="chat.completions") == 0
    assert "made-up" not in answer.text
    assert gateway.account not in answer.text


async def test_counts_outlive_the_process(gateways: Gateways, tmp_path: Path) -> None:
    seen = []
    async with ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream:
        for _ in range(2):
            async with gateways(upstream.url, tables=TABLES, data=tmp_path / "kept") as gateway:
                await post(gateway.url, gateway.key, CHAT)
                samples = parsed((await scraped(gateway.url)).text)
                seen.append(value(samples, "ezkielyna_cost_nano_usd_total", model="gpt-lab"))
    assert seen == [40_000, 80_000]


def shown(shared: Shared) -> Samples:
    registry = CollectorRegistry()
    registry.register(shared)
    return parsed(generate_latest(registry).decode())


def worker(folder: Path, tokens: int) -> tuple[Numbers, Shared]:
    numbers = Numbers()
    shared = Shared(folder, numbers.registry)
    shared.open()
    numbers._tokens.labels("m", "input").inc(tokens)
    numbers._running.labels("chat.completions").inc()
    numbers._duration.labels("chat.completions", "m").observe(0.2)
    shared.write()
    return numbers, shared


TOKENS = "ezkielyna_tokens_total", frozenset({("model", "m"), ("bucket", "input")})
RUNNING = "ezkielyna_requests_running", frozenset({("endpoint", "chat.completions")})


def test_whoever_is_asked_adds_all_workers_up(tmp_path: Path) -> None:
    (_, one), (_, two) = worker(tmp_path, 3), worker(tmp_path, 4)
    for shared in (one, two):
        samples = shown(shared)
        assert samples[TOKENS] == 7
        assert samples[RUNNING] == 2
        buckets = {key: count for key, count in samples.items() if "_bucket" in key[0]}
        assert {count for key, count in buckets.items() if ("le", "0.25") in key[1]} == {2}
    two.close()
    assert shown(one)[TOKENS] == 7
    assert shown(one)[RUNNING] == 1


def test_a_dead_worker_keeps_its_counts_and_loses_its_gauges(tmp_path: Path) -> None:
    _, dead = worker(tmp_path, 3)
    assert dead._lock is not None
    os.close(dead._lock)  # as the system does when a process dies
    _, alive = worker(tmp_path, 4)
    assert shown(alive)[TOKENS] == 7
    assert shown(alive)[RUNNING] == 1
    _, third = worker(tmp_path, 5)
    assert shown(third)[TOKENS] == shown(alive)[TOKENS] == 12
    kept = sorted(path.name for path in tmp_path.glob("*.json"))
    assert len(kept) == 3
    assert "ended.json" in kept


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer open-sesame"}, 200),
        ({"authorization": "Bearer open"}, 403),
        ({}, 403),
    ],
)
async def test_a_token_is_asked_for(
    gateways: Gateways, headers: dict[str, str], status: int
) -> None:
    tables = {**TABLES, "plugin": {"metrics": {"token": "open-sesame"}}}
    async with gateways(tables=tables) as gateway:
        assert (await scraped(gateway.url, **headers)).status_code == status


async def test_without_a_token_strangers_behind_a_proxy_are_refused(gateways: Gateways) -> None:
    async with gateways(tables=TABLES) as gateway:
        assert (await scraped(gateway.url)).status_code == 200
        answer = await scraped(gateway.url, **{"x-forwarded-for": "203.0.113.9"})
        assert answer.status_code == 403


def test_the_dashboard_shows_what_is_counted() -> None:
    dashboard = orjson.loads((FOLDER / "dashboard.json").read_bytes())
    families = list(Numbers().registry.collect())
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    known = {f"{one.name}{end}" for one in families for end in endings[one.type]}
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ezkielyna_\w+", target["expr"])
    }
    assert asked
    assert asked <= known
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in dashboard["panels"]]
    assert all(x + w <= 24 for x, _, w, _ in places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)
    readme = (FOLDER / "README.md").read_text()
    assert all(
        f"`{one.name}{endings[one.type][0]}`".replace("_bucket", "") in readme for one in families
    )
