"""Every recorded answer, through the exchange, against what the upstream really said."""

from __future__ import annotations

import random
from itertools import repeat
from typing import Any

import orjson
import pytest

from anthropic_words import FINISH, Json, message_of, upstream_events
from ezkielyna import ChatRequest
from ezkielyna.testing.cuts import cut_at_every_byte, cut_at_random, splits
from ezkielyna.testing.recordings import Recording, recorded, recordings
from ezkielyna.testing.schemas import validator
from ezkielyna_anthropic import AnthropicProvider

PROVIDER = AnthropicProvider("lab", AnthropicProvider.Settings(api_key="k"))


def request(*, stream: bool, usage: bool = True) -> ChatRequest:
    body: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": usage}}
    return ChatRequest.parse(orjson.dumps(body))


STREAMED, PLAIN = request(stream=True), request(stream=False)


def exchanged(*pieces: bytes, asked: ChatRequest = STREAMED) -> bytes:
    """Return what the client gets for a stream that comes in these pieces."""
    exchange = PROVIDER.exchange(asked, "claude-opus-4-6")
    exchange.price = lambda usage: 1_234_567
    return b"".join(map(exchange.feed, pieces)) + exchange.close()


def inputs_of(recording: Recording) -> list[tuple[str, str, Any]]:
    """The calls as (id, name, arguments); arguments are text where the recording is a stream."""
    if recording.mode == "json":
        blocks = orjson.loads(recording.response.body)["content"]
        return [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    calls: dict[int, list[Any]] = {}
    for event in upstream_events(recording.response.body):
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            block = event["content_block"]
            calls[event["index"]] = [block["id"], block["name"], ""]
        elif event["type"] == "content_block_delta" and event["index"] in calls:
            calls[event["index"]][2] += event["delta"]["partial_json"]
    return [(id_, name, raw or "{}") for id_, name, raw in calls.values()]


def chunks_of(output: bytes) -> list[Json]:
    """Check the frame of our stream, and return its chunks."""
    assert output.endswith(b"data: [DONE]\n\n")
    lines = output.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"data: {") and b"\n" not in line for line in lines)
    return [orjson.loads(line[6:]) for line in lines]


def gathered(chunks: list[Json]) -> tuple[Json, Json]:
    """Check the grammar of the chunks; return the answer's message and usage."""
    *spoken, last = chunks
    assert last["choices"] == []
    assert {(c["id"], c["created"], c["model"], c["object"]) for c in chunks} == {
        (last["id"], last["created"], last["model"], "chat.completion.chunk")
    }
    assert all(chunk["usage"] is None and len(chunk["choices"]) == 1 for chunk in spoken)
    message: Json = {"content": "", "calls": [], "finish": [], "reasoning": "", "thoughts": []}
    for position, chunk in enumerate(spoken):
        choice = chunk["choices"][0]
        delta = choice["delta"]
        assert ("role" in delta) == (position == 0)
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning_content", "")
        message["thoughts"] += delta.get("thinking_blocks", [])
        message["refusal"] = delta.get("refusal", message.get("refusal"))
        for call in delta.get("tool_calls", []):
            if "id" in call:
                assert call["index"] == len(message["calls"]), "indexes are dense"
                message["calls"].append([call["id"], call["function"]["name"], ""])
            assert call["index"] == len(message["calls"]) - 1
            message["calls"][-1][2] += call["function"]["arguments"]
        if choice["finish_reason"] is not None:
            assert delta == {}
            message["finish"].append(choice["finish_reason"])
            assert position == len(spoken) - 1
    assert len(message["finish"]) == 1
    return message, last["usage"]


def check_usage(shown: Json, reported: Json) -> None:
    created = reported.get("cache_creation_input_tokens") or 0
    cached = reported.get("cache_read_input_tokens") or 0
    details = reported.get("output_tokens_details") or {}
    assert shown["prompt_tokens"] == reported["input_tokens"] + created + cached
    assert shown["completion_tokens"] == reported["output_tokens"]
    assert shown["total_tokens"] == shown["prompt_tokens"] + shown["completion_tokens"]
    assert shown["prompt_tokens_details"]["cached_tokens"] == cached
    assert shown["prompt_tokens_details"].get("cache_write_tokens", 0) == created
    thinking = details.get("thinking_tokens", 0)
    assert shown["completion_tokens_details"]["reasoning_tokens"] == thinking
    assert shown["cost"] == 0.001234567


def text_of(message: Json) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def thoughts_of(message: Json) -> list[Json]:
    return [b for b in message["content"] if b["type"] in ("thinking", "redacted_thinking")]


@recorded(provider="anthropic", endpoint="messages", mode="sse")
def test_a_recorded_stream_says_what_the_upstream_said(recording: Recording) -> None:
    if recording.status != 200:
        return
    upstream = message_of(recording)
    chunks = chunks_of(exchanged(recording.response.body))
    message, usage = gathered(chunks)
    assert message["content"] == text_of(upstream)
    assert message["reasoning"] == "".join(b.get("thinking", "") for b in thoughts_of(upstream))
    calls = [(id_.partition("_ezt1_")[0], name, raw) for id_, name, raw in message["calls"]]
    assert calls == inputs_of(recording)
    if upstream["stop_reason"] != "max_tokens":
        assert all(isinstance(orjson.loads(raw), dict) for _, _, raw in calls)
    assert message["finish"] == [FINISH[upstream["stop_reason"]]]
    for ours, theirs in zip(message["thoughts"], thoughts_of(upstream), strict=True):
        assert ours == {key: theirs[key] for key in ours}
    check_usage(usage, upstream["usage"])
    assert chunks[0]["model"] == upstream["model"]
    for chunk in chunks:
        # The document says `usage` may not be null in a chunk, OpenAI itself sends it so.
        validator("CreateChatCompletionStreamResponse").validate(
            {key: value for key, value in chunk.items() if value is not None}
        )


@recorded(provider="anthropic", endpoint="messages", mode="json")
def test_a_recorded_answer_says_what_the_upstream_said(recording: Recording) -> None:
    exchange = PROVIDER.exchange(PLAIN, "claude-opus-4-6")
    exchange.price = lambda usage: 1_234_567
    response = recording.response
    if recording.status != 200:
        assert exchange.failure(response.status, response.headers, response.body).status in (
            400,
            502,
        )
        return
    upstream = message_of(recording)
    answer = orjson.loads(exchange.answer(200, response.headers, response.body))
    validator("CreateChatCompletionResponse").validate(answer)
    (choice,) = answer["choices"]
    message = choice["message"]
    expected = text_of(upstream)
    calls = message.get("tool_calls", [])
    assert message["content"] == (expected or (None if calls or message["refusal"] else ""))
    assert [
        (
            call["id"].partition("_ezt1_")[0],
            call["function"]["name"],
            orjson.loads(call["function"]["arguments"]),
        )
        for call in calls
    ] == inputs_of(recording)
    assert ("tool_calls" in message) == bool(calls)
    assert choice["finish_reason"] == FINISH[upstream["stop_reason"]]
    assert message.get("thinking_blocks", []) == [
        block for block in thoughts_of(upstream) if block.get("signature") or "data" in block
    ]
    check_usage(answer["usage"], upstream["usage"])
    assert exchange.usage is not None
    assert exchange.usage.total == answer["usage"]["total_tokens"]


def varied(limit: int) -> list[Recording]:
    """The streams with the most features not seen in the ones before; short ones first."""
    rest = [r for r in recordings(provider="anthropic", mode="sse") if r.status == 200]
    seen: set[str] = set()
    chosen: list[Recording] = []
    while rest and len(chosen) < limit:
        best = max(rest, key=lambda r: (len(r.covers - seen), len(r.covers), -len(r.response.body)))
        rest.remove(best)
        if len(best.response.body) <= 4_000:
            seen |= best.covers
            chosen.append(best)
    return chosen


@pytest.mark.skipif(not recordings(provider="anthropic"), reason="no recordings")
def test_every_split_of_the_most_varied_streams_gives_the_same_output() -> None:
    chosen = varied(20)
    assert len(chosen) == 20
    for recording in chosen:
        body = recording.response.body
        whole = exchanged(body)
        for pieces in cut_at_every_byte(body):
            assert exchanged(*pieces) == whole, (recording.id, pieces)


@recorded(provider="anthropic", endpoint="messages", mode="sse")
def test_random_splits_give_the_same_output(recording: Recording) -> None:
    if recording.status != 200:
        return
    body = recording.response.body
    whole = exchanged(body)
    for pieces in cut_at_random(body, random.Random(recording.id)):
        assert exchanged(*pieces) == whole, pieces
    assert exchanged(*splits(body, repeat(1))) == whole


@recorded(provider="anthropic", endpoint="messages", mode="sse")
def test_no_usage_is_sent_unasked_and_line_ends_do_not_matter(recording: Recording) -> None:
    if recording.status != 200:
        return
    unasked = exchanged(recording.response.body, asked=request(stream=True, usage=False))
    assert all("usage" not in chunk for chunk in chunks_of(unasked))
    crlf = recording.response.body.replace(b"\n", b"\r\n")
    assert exchanged(crlf) == exchanged(recording.response.body)
