"""What plugins see of requests, what they may change, and whom their failures concern."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import orjson
import pytest

from ezkielyna import hooks as calls
from ezkielyna.ledger.verify import verify
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.lab import Line, post
from ezkielyna.testing.plugins import InstallPlugin
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna.testing.scripts import stalling

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**CHAT, "stream": True}

Recording = Callable[..., dict[str, Any]]
Ends = Callable[..., Awaitable[list[Any]]]


async def test_a_request_is_seen_before_and_after(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=recording()) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
        [end] = await ended(gateway)
        recorder = gateway.app.recorder  # type: ignore[attr-defined]
    request_id = answer.headers["x-request-id"]
    assert recorder.trace == [("before", request_id), ("after", request_id)]
    assert (end.outcome, end.status, end.error) == ("ok", 200, "")
    assert (end.usage.input, end.usage.output) == (8, 2)
    assert end.bill.cost == 40_000
    assert end.body == answer.body
    assert recorder.ctx.started_at <= end.first_byte_at <= end.ended_at


async def test_a_watcher_sees_every_event_that_the_client_gets(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    pieces = chat_stream(["one ", "two ", "three"])
    async with (
        ScriptedUpstream(streaming(pieces, delay_s=0.01)) as upstream,
        gateways(upstream.url, tables=recording()) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, STREAM)
        [end] = await ended(gateway)
        recorder = gateway.app.recorder  # type: ignore[attr-defined]
    assert [name for name, _ in recorder.trace] == ["before", "watch", "after"]
    assert b"".join(recorder.shown) == answer.body
    assert len(recorder.shown) >= 4
    assert all(shown.endswith(b"\n\n") for shown in recorder.shown)
    assert (end.outcome, end.body) == ("ok", None)


async def test_a_refusal_costs_nothing_and_reaches_no_upstream(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    tables = recording(before='raise InvalidRequest("Not today.", param="messages")')
    async with (
        ScriptedUpstream() as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
        [end] = await ended(gateway)
        assert not upstream.requests
        assert [found async for found in gateway.database["usage"].find({})] == []
    assert (answer.status, answer.error) == (400, "invalid_request")
    assert answer.document["error"]["message"] == "Not today."
    assert (end.outcome, end.status, end.error) == ("refused", 400, "invalid_request")
    assert end.usage is None


async def test_the_limits_refusal_is_seen_after_but_not_before(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    tables = {**recording(), "plans": {"default": {"rpm": 1}}}
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        await post(gateway.url, gateway.key, CHAT)
        answer = await post(gateway.url, gateway.key, CHAT)
        ends = await ended(gateway, 2)
        recorder = gateway.app.recorder  # type: ignore[attr-defined]
    assert answer.status == 429
    assert sorted(end.status for end in ends) == [200, 429]
    assert [name for name, _ in recorder.trace].count("before") == 1


async def test_a_change_is_what_the_upstream_gets(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    change = (
        "fields = ctx.request.fields(); fields['messages'][0]['content'] = 'x' * 4000; "
        "fields['max_tokens'] = 7; ctx.change(fields); self.bounds = ctx.input_bound"
    )
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=recording(before=change)) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
        await ended(gateway)
        sent = orjson.loads(upstream.requests[0].body)
        recorder = gateway.app.recorder  # type: ignore[attr-defined]
    assert answer.status == 200
    assert sent["messages"][0]["content"] == "x" * 4000
    assert recorder.ctx.input_bound > 4000 > recorder.bounds  # money is reserved for what is sent
    assert recorder.ctx.output_bound == 7


async def test_a_plugin_may_answer(gateways: Gateways, recording: Recording, ended: Ends) -> None:
    give = (
        'ctx.answer = Answer(b\'{"id":"kept","usage":{"total_tokens":3,"cost":9}}\', '
        "Usage(input=1, output=2)); ctx.add_header('x-kept', 'yes')"
    )
    async with (
        ScriptedUpstream() as upstream,
        gateways(upstream.url, tables=recording(before=give)) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, CHAT)
        [end] = await ended(gateway)
        assert not upstream.requests
        found = []
        while not found:
            found = [one async for one in gateway.database["usage"].find({})]
            await asyncio.sleep(0.05)
        verdict = await verify(gateway.database, pause_s=1.0)
    assert answer.headers["x-kept"] == "yes"
    assert answer.document == {"id": "kept", "usage": {"total_tokens": 3, "cost": 0.0000225}}
    assert end.bill.cost == 22_500
    assert (end.outcome, end.body) == ("ok", answer.body)
    assert [(one["cost"], one["outcome"]) for one in found] == [(22_500, "ok")]
    assert verdict.ok


async def test_an_answer_for_nothing_needs_no_money(
    gateways: Gateways, recording: Recording
) -> None:
    tables = recording(before="ctx.answer = Answer(b'{}') if ctx.header('x-kept') else None")
    async with (
        ScriptedUpstream() as upstream,
        gateways(upstream.url, tables=tables, credit="0") as gateway,
    ):
        free = await post(gateway.url, gateway.key, CHAT, "/v1/chat/completions", x_kept="1")
        paid = await post(gateway.url, gateway.key, CHAT)
    assert (free.status, free.body) == (200, b"{}")
    assert paid.status == 402


async def test_credentials_are_shown_to_no_plugin(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, tables=recording()) as gateway,
    ):
        headers = {"x_api_key": gateway.key, "cookie": "a=b", "x_copy": f"Key {gateway.key}"}
        await post(gateway.url, gateway.key, CHAT, "/v1/chat/completions", x_plain="yes", **headers)
        await ended(gateway)
        ctx = gateway.app.recorder.ctx  # type: ignore[attr-defined]
    assert ctx.header("X-Plain") == "yes"
    for name in ("authorization", "x-api-key", "cookie", "x-copy"):
        assert ctx.header(name) is None
    assert gateway.key not in repr(ctx)


async def test_a_client_that_left_is_seen_after(
    gateways: Gateways, recording: Recording, ended: Ends
) -> None:
    half = stalling(chat_stream(["one "])[:2])
    async with (
        ScriptedUpstream(half) as upstream,
        gateways(upstream.url, tables=recording()) as gateway,
    ):
        async with await Line.open(gateway.url) as line:
            line.send(gateway.key, STREAM)
            await line.head()
        [end] = await ended(gateway)
    assert (end.outcome, end.status, end.error) == ("client_gone", 499, "")


async def test_every_call_is_traced_when_asked_for(
    gateways: Gateways,
    recording: Recording,
    ended: Ends,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EZKIELYNA_TRACE_HOOKS", "1")
    async with (
        ScriptedUpstream(streaming(chat_stream(["a"]))) as upstream,
        gateways(upstream.url, tables=recording()) as gateway,
    ):
        await post(gateway.url, gateway.key, STREAM)
        await ended(gateway)
    traced = capsys.readouterr().err
    for hook in ("startup", "before_request", "watch_stream", "after_request"):
        assert f"hook {hook} of recorder: " in traced
    assert "hook register_providers of openai: " in traced
    assert " ms\n" in traced


class Calls:
    """Counts calls of Python functions by the file that they are in."""

    def __init__(self, *files: str) -> None:
        self.counts: Counter[str] = Counter()
        self._files = files

    def __enter__(self) -> Counter[str]:
        sys.setprofile(self._count)
        return self.counts

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            self.counts.update(end for end in self._files if file.endswith(end))


async def counted(gateway: RunningGateway, body: dict[str, Any]) -> Counter[str]:
    files = "gateway/hooks.py", "ezkielyna/hooks.py", "plugin_of_test_shown.py"
    with Calls(*files) as counts:
        assert (await post(gateway.url, gateway.key, body)).status == 200
    return counts


async def test_without_plugins_hooks_cost_nothing(gateways: Gateways) -> None:
    scripts = answering(200, JSON, chat_answer()), streaming(chat_stream("abcdefgh"))
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        assert not await counted(gateway, CHAT)
        assert not await counted(gateway, STREAM)


SHOWN = """
from ezkielyna import hookimpl

@hookimpl
def watch_stream(ctx):
    return lambda data: None
"""


async def test_one_watcher_costs_one_call_a_chunk(
    gateways: Gateways, install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SAMPLE_EVERY_S", 3600.0)  # the first stream alone is timed
    install_plugin("shown", SHOWN)
    few, many = chat_stream("a" * 5), chat_stream("a" * 30)
    scripts = [streaming(pieces, delay_s=0.01) for pieces in (few, few, many)]
    async with (
        ScriptedUpstream(*scripts) as upstream,
        gateways(upstream.url, tables={"plugins": ["openai", "shown"]}) as gateway,
    ):
        await post(gateway.url, gateway.key, STREAM)
        short = await counted(gateway, STREAM)
        long = await counted(gateway, STREAM)
    assert short["gateway/hooks.py"] == long["gateway/hooks.py"] > 0
    assert short["ezkielyna/hooks.py"] == long["ezkielyna/hooks.py"]
    assert short["plugin_of_test_shown.py"] <= 1 + len(few)
    assert len(few) < long["plugin_of_test_shown.py"] <= 1 + len(many)
