"""Plugins that raise, block, hang, leak or return nonsense: named, while the gateway lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ezkielyna import hooks as calls
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.plugins import InstallPlugin
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**CHAT, "stream": True}

Recording = Callable[..., dict[str, Any]]
Ends = Callable[..., Awaitable[list[Any]]]


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("ctx.change({**ctx.request.fields(), 'model': 'free-lab'})", "neither the model"),
        ("ctx.change({**ctx.request.fields(), 'stream': True})", "nor whether it is streamed"),
        ("ctx.change({'model': 'gpt-lab'})", "changed request is not valid"),
        ("ctx.answer = b'{}'", "must be an Answer"),
        ("ctx.answer = Answer(b'[]')", "must be a JSON object"),
        ("ctx.answer = Answer(b'rubbish')", "JSONDecodeError"),
        ("ctx.answer = Answer(b'{}', Usage(input=-1))", "not plausible"),
        ("ctx.add_header('Content-Length', '3')", "belongs to the gateway"),
        ("ctx.add_header('x-a', 'b\\r\\nx-c: d')", "is no header"),
    ],
)
async def test_what_fails_before_a_request_fails_that_request_alone(
    gateways: Gateways,
    recording: Recording,
    logged: list[Any],
    before: str,
    reason: str,
) -> None:
    tables = recording(before=f"if ctx.header('x-bad'): {before}")
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        bad = await post(gateway.url, gateway.key, CHAT, "/v1/chat/completions", x_bad="1")
        good = await post(gateway.url, gateway.key, CHAT)
        assert len(upstream.requests) == 1
    assert (bad.status, bad.error, good.status) == (500, "server_error", 200)
    assert bad.headers["x-request-id"] in bad.document["error"]["message"]
    [told] = logged
    assert told["log_level"] == "error"
    assert (told["plugin"], told["hook"]) == ("recorder", "before_request")
    assert told["request_id"] == bad.headers["x-request-id"]
    assert reason in told["exception"]


@pytest.mark.parametrize(
    ("watch", "reason"),
    [
        ("return lambda data: 1 / 0", "ZeroDivisionError"),
        ("1 / 0", "ZeroDivisionError"),
        ("return 7", "must return a function"),
    ],
)
async def test_a_watcher_that_fails_harms_no_stream(
    gateways: Gateways,
    recording: Recording,
    ended: Ends,
    logged: list[Any],
    watch: str,
    reason: str,
) -> None:
    pieces = chat_stream(["one ", "two ", "three"])
    async with (
        ScriptedUpstream(streaming(pieces, delay_s=0.01)) as upstream,
        gateways(upstream.url, tables=recording(watch=watch)) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, STREAM)
        [end] = await ended(gateway)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert end.outcome == "ok"
    [told] = logged
    assert (told["log_level"], told["plugin"]) == ("error", "recorder")
    assert reason in told["exception"]


async def test_what_fails_after_a_request_is_logged_and_the_others_run(
    gateways: Gateways,
    recording: Recording,
    ended: Ends,
    install_plugin: InstallPlugin,
    logged: list[Any],
) -> None:
    recording()
    install_plugin(
        "broken",
        "from ezkielyna import hookimpl\n@hookimpl\nasync def after_request(ctx):\n    1 / 0\n",
    )
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables={"plugins": ["openai", "recorder", "broken"]}) as gateway,
    ):
        assert (await post(gateway.url, gateway.key, CHAT)).status == 200
        await ended(gateway)  # the recorder is called last: the reverse order
    [told] = logged
    assert (told["plugin"], told["hook"]) == ("broken", "after_request")
    assert "ZeroDivisionError" in told["exception"]


async def test_a_hook_that_takes_too_long_is_cancelled(
    gateways: Gateways,
    recording: Recording,
    logged: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(calls.LIMITS_S, "before_request", 0.1)
    tables = recording(before="import asyncio; await asyncio.sleep(3600)")
    async with (
        ScriptedUpstream() as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
    assert answer.status == 500
    [told] = logged
    assert told["plugin"] == "recorder"
    assert "did not end within 0.1 s" in told["exception"]


async def test_a_hook_that_blocks_is_reported_once(
    gateways: Gateways, recording: Recording, logged: list[Any]
) -> None:
    tables = recording(before="import time; time.sleep(0.15)")
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        for _ in range(3):
            assert (await post(gateway.url, gateway.key, CHAT)).status == 200
    [slow] = logged
    assert (slow["event"], slow["plugin"]) == ("a plugin is slow", "recorder")
    assert "held up every request" in slow["did"]
    assert slow["seconds"] >= 0.15


async def test_a_watcher_that_blocks_is_reported(
    gateways: Gateways, recording: Recording, logged: list[Any]
) -> None:
    tables = recording(watch="import time; return lambda data: time.sleep(0.15)")
    async with (
        ScriptedUpstream(streaming(chat_stream(["a"]))) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        await post(gateway.url, gateway.key, STREAM)
    [slow] = logged
    assert (slow["event"], slow["hook"]) == ("a plugin is slow", "watch_stream")


LEAKY = """
import asyncio
from ezkielyna import hookimpl

async def for_ever():
    await asyncio.Event().wait()

@hookimpl
async def startup(gateway):
    gateway.leak = asyncio.get_running_loop().create_task(for_ever())

@hookimpl
async def shutdown(gateway):
    raise OSError("stuck")
"""


async def test_what_a_plugin_leaves_behind_is_named_and_ended(
    gateways: Gateways, install_plugin: InstallPlugin, logged: list[Any]
) -> None:
    install_plugin("leaky", LEAKY)
    async with gateways(tables={"plugins": ["openai", "leaky"]}) as gateway:
        leak: asyncio.Task[None] = gateway.app.leak  # type: ignore[attr-defined]
    assert leak.cancelled()
    stuck, left = logged
    assert stuck["event"] == "a plugin did not shut down"
    assert "OSError: stuck" in stuck["reason"]
    assert (left["event"], left["plugin"]) == ("a plugin left a task behind", "leaky")
