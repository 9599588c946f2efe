"""A pooled connection that dies within an answer is no connection that died unnoticed."""

from __future__ import annotations

import pytest

from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.testing.scripts import cutting

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
PIECES = chat_stream(["Hello ", "you"])


async def half(turn: Turn) -> None:
    await turn.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    )
    await turn.cut()


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_that_is_cut_is_not_asked_for_again(
    gateways: Gateways, streamed: bool
) -> None:
    scripts = (
        (streaming(PIECES), cutting(PIECES, 3))
        if streamed
        else (answering(200, JSON, chat_answer()), half)
    )
    body = {**CHAT, "stream": streamed}
    async with ScriptedUpstream(*scripts) as upstream, gateways(upstream.url) as gateway:
        assert (await post(gateway.url, gateway.key, body)).status == 200
        answer = await post(gateway.url, gateway.key, body)
        assert upstream.connections == 1
        assert len(upstream.requests) == 2
    assert b"upstream_error" in answer.body
    assert (b"Hello " in answer.body) == streamed
