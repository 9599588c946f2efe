"""Every recorded answer of Gemini, through the exchange, against what Gemini really said."""

from __future__ import annotations

import random
from collections import Counter
from itertools import repeat
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, EmbeddingRequest, ImageRequest, UpstreamError, Usage
from ezkielyna.testing.cuts import cut_at_every_byte, cut_at_random, splits
from ezkielyna.testing.recordings import SKIPPED, Recording, folder, recordings
from ezkielyna.testing.schemas import validator
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k"))
PRICE = 1_234_567
STOPS = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
STOPS |= {"RECITATION": "content_filter", "PROHIBITED_CONTENT": "content_filter"}

LEFT_OUT = {
    "gemini/prism/use-cache-with-structured-1.json:0": "creates a cache, generates nothing",
}
"""Generations that are not replayed, each with its reason. Lists of models are no answers."""


def request(*, stream: bool) -> ChatRequest:
    body: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return ChatRequest.parse(orjson.dumps(body))


STREAMED, PLAIN = request(stream=True), request(stream=False)


def generations() -> list[Recording]:
    return [
        recording
        for recording in recordings(provider="gemini")
        if recording.endpoint in ("generateContent", "streamGenerateContent")
        and recording.id not in LEFT_OUT
    ]


def of_mode(*modes: str) -> list[Recording]:
    return [each for each in generations() if each.mode in modes and each.status == 200]


def each(found: list[Recording]) -> Any:
    """Run a test once a recording; without recordings it is skipped."""
    if not found:
        skipped = pytest.param(None, marks=pytest.mark.skip(reason=SKIPPED), id="no-recordings")
        return pytest.mark.parametrize("recording", [skipped])
    return pytest.mark.parametrize("recording", found, ids=lambda one: one.id)


def wire(recording: Recording) -> bytes:
    """Return the body as it comes with `alt=sse`, which this provider always asks for."""
    body = recording.response.body
    if recording.mode == "json-array":
        events = orjson.loads(body)
        return b"".join(b"data: %b\r\n\r\n" % orjson.dumps(event) for event in events)
    return body


def documents(recording: Recording) -> list[Json]:
    if recording.mode == "json":
        return [orjson.loads(recording.response.body)]
    lines = wire(recording).replace(b"\r\n", b"\n").split(b"\n")
    return [orjson.loads(line[5:]) for line in lines if line.startswith(b"data:")]


def said(recording: Recording, upstream_calls: Any) -> Json:
    """Fold the upstream's own documents into what they say, in the plainest way."""
    found: Json = {"texts": Counter(), "thoughts": "", "reason": {}, "blocked": None}
    found |= {"usage": None, "calls": upstream_calls(documents(recording))}
    for document in documents(recording):
        found["usage"] = document.get("usageMetadata") or found["usage"]
        found["blocked"] = document.get("promptFeedback", {}).get("blockReason")
        for candidate in document.get("candidates", []):
            index = candidate.get("index", 0)
            found["texts"].setdefault(index, "")
            if "finishReason" in candidate:
                found["reason"][index] = candidate["finishReason"]
            for part in candidate.get("content", {}).get("parts", []):
                if part.get("thought"):
                    found["thoughts"] += part.get("text", "")
                elif "text" in part:
                    found["texts"][index] += part["text"]
    return found


def streamed(*pieces: bytes) -> bytes:
    exchange = PROVIDER.exchange(STREAMED, "gemini-2.5-flash")
    return b"".join(map(exchange.feed, pieces)) + exchange.close()


def chunks(out: bytes) -> list[Json]:
    *events, done, rest = out.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: {") for event in events)
    return [orjson.loads(event[6:]) for event in events]


def expected_usage(metadata: Json) -> Json:
    prompt = metadata.get("promptTokenCount", 0) + metadata.get("toolUsePromptTokenCount", 0)
    thoughts = metadata.get("thoughtsTokenCount", 0)
    completion = metadata.get("candidatesTokenCount", 0) + thoughts
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached": metadata.get("cachedContentTokenCount", 0),
        "reasoning": thoughts,
    }


def check_usage(shown: Json, metadata: Json, usage: Usage) -> None:
    wanted = expected_usage(metadata)
    cached = shown["prompt_tokens_details"]["cached_tokens"]
    reasoning = shown["completion_tokens_details"]["reasoning_tokens"]
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert {name: shown[name] for name in names} | {"cached": cached, "reasoning": reasoning} == (
        wanted
    )
    assert usage.plausible
    assert usage.source == "upstream"
    assert usage.total == shown["total_tokens"]
    assert (usage.cached_input, usage.reasoning) == (cached, reasoning)


def check_calls(calls: list[Json], upstream: list[tuple[Json, str | None]]) -> None:
    assert len(calls) == len(upstream)
    assert len({call["id"] for call in calls}) == len(calls)
    for call, (function, signature) in zip(calls, upstream, strict=True):
        assert call["type"] == "function"
        assert call["function"]["name"] == function["name"]
        assert orjson.loads(call["function"]["arguments"]) == function.get("args", {})
        extra = call.get("extra_content", {}).get("google", {})
        assert extra.get("thought_signature") == signature
        if function.get("id"):
            assert call["id"].startswith(function["id"])
        assert call["id"].replace("-", "").replace("_", "").isalnum()


def finish_of(upstream: Json, index: int) -> str:
    reason = upstream["reason"].get(index)
    if reason is None:
        return "content_filter" if upstream["blocked"] else "stop"
    if reason == "STOP" and upstream["calls"]:
        return "tool_calls"
    return STOPS.get(reason, "stop")


@each(of_mode("json"))
def test_a_plain_answer(recording: Recording, upstream_calls: Any) -> None:
    exchange = PROVIDER.exchange(PLAIN, "gemini-2.5-flash")
    exchange.price = lambda usage: PRICE
    upstream = said(recording, upstream_calls)
    answer = orjson.loads(exchange.answer(200, {}, recording.response.body))
    validator("CreateChatCompletionResponse").validate(answer)
    assert answer["id"].startswith("chatcmpl-")
    calls = []
    for choice in answer["choices"]:
        message = choice["message"]
        assert (message["content"] or "") == upstream["texts"].get(choice["index"], "")
        assert choice["finish_reason"] == finish_of(upstream, choice["index"])
        assert bool(message["refusal"]) == bool(upstream["blocked"])
        assert message.get("tool_calls") != []
        calls += message.get("tool_calls", [])
    assert (
        "".join(c["message"].get("reasoning_content", "") for c in answer["choices"])
        == (upstream["thoughts"])
    )
    check_calls(calls, upstream["calls"])
    if upstream["usage"]:
        assert exchange.usage is not None
        check_usage(answer["usage"], upstream["usage"], exchange.usage)
        assert answer["usage"]["cost"] == PRICE / 1e9


@each(of_mode("sse", "json-array"))
def test_a_streamed_answer(recording: Recording, upstream_calls: Any) -> None:
    exchange = PROVIDER.exchange(STREAMED, "gemini-2.5-flash")
    exchange.price = lambda usage: PRICE
    upstream = said(recording, upstream_calls)
    events = chunks(exchange.feed(wire(recording)) + exchange.close())
    for event in events:
        # The document says `usage` may not be null in a chunk, OpenAI itself sends it so.
        validator("CreateChatCompletionStreamResponse").validate(
            {key: value for key, value in event.items() if value is not None}
        )
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    if upstream["usage"]:
        last = events.pop()
        assert last["choices"] == []
        assert exchange.usage is not None
        check_usage(last["usage"], upstream["usage"], exchange.usage)
        assert last["usage"]["cost"] == PRICE / 1e9
    assert all(event["usage"] is None and len(event["choices"]) == 1 for event in events)
    texts, thoughts, calls, finished, refused = Counter(), "", [], {}, False
    for event in events:
        (choice,) = event["choices"]
        delta, index = choice["delta"], choice["index"]
        assert index not in finished
        assert ("role" in delta) == (index not in texts)
        texts.setdefault(index, "")
        texts[index] += delta.get("content") or ""
        thoughts += delta.get("reasoning_content", "")
        refused = refused or bool(delta.get("refusal"))
        for call in delta.get("tool_calls", []):
            assert call["index"] == len(calls)
            calls.append(call)
        if choice["finish_reason"]:
            assert delta == {}
            finished[index] = choice["finish_reason"]
    assert texts == (upstream["texts"] or {0: ""})
    assert thoughts == upstream["thoughts"]
    check_calls(calls, upstream["calls"])
    assert finished == {index: finish_of(upstream, index) for index in texts}
    assert refused == bool(upstream["blocked"])
    delivered = exchange.delivered()
    assert delivered.text == "".join(upstream["texts"].values())
    assert delivered.reasoning == upstream["thoughts"]
    assert all(function["name"] in delivered.tools for function, _ in upstream["calls"])


def varied(most: int) -> list[Recording]:
    """Return the streams that together show the most, the small ones of those that show alike."""
    left = sorted(of_mode("sse", "json-array"), key=lambda one: len(wire(one)))
    left = [one for one in left if len(wire(one)) < 4_000]
    chosen: list[Recording] = []
    seen: Counter[str] = Counter()
    while left and len(chosen) < most:
        best = max(left, key=lambda one: sum(1 / 4 ** seen[word] for word in one.covers))
        left.remove(best)
        chosen.append(best)
        seen.update(best.covers)
    return chosen


@each(varied(20))
def test_a_stream_cut_at_every_byte(recording: Recording) -> None:
    body = wire(recording)
    whole = streamed(body)
    assert streamed(*splits(body, repeat(1))) == whole
    for pieces in cut_at_every_byte(body):
        assert streamed(*pieces) == whole, pieces


@each(of_mode("sse", "json-array"))
def test_a_stream_cut_at_random_bytes(recording: Recording) -> None:
    body = wire(recording)
    whole = streamed(body)
    for pieces in cut_at_random(body, random.Random(recording.id)):
        assert streamed(*pieces) == whole, pieces


@each(of_mode("sse", "json-array"))
def test_the_first_output_comes_with_the_first_event(recording: Recording) -> None:
    body = wire(recording).replace(b"\r\n", b"\n")
    first, end, _ = body.lstrip(b"\n").partition(b"\n\n")
    if b'"candidates"' in first:
        exchange = PROVIDER.exchange(STREAMED, "gemini-2.5-flash")
        assert exchange.feed(first + end).startswith(b"data: {")


@each([one for one in generations() if one.status != 200])
def test_an_error(recording: Recording) -> None:
    said = orjson.loads(recording.response.body)["error"]
    failure = PROVIDER.exchange(PLAIN, "m").failure(
        recording.status, recording.response.headers, recording.response.body
    )
    if "API key" in said["message"]:
        assert (failure.status, failure.type, failure.retryable) == (502, "upstream_error", True)
        assert "key" not in failure.message.lower()
    elif said["status"] == "RESOURCE_EXHAUSTED":
        assert (failure.status, failure.type) == (429, "rate_limited")
        assert failure.retry_after_s
    else:
        assert (failure.status, failure.type) == (400, "invalid_request")
        assert failure.message == said["message"]


@each([one for one in recordings(provider="gemini") if one.endpoint == "batchEmbedContents"])
def test_embeddings(recording: Recording) -> None:
    sent = orjson.loads(recording.request.body or b"{}")["requests"]
    texts = [item["content"]["parts"][0]["text"] for item in sent]
    size = sent[0].get("outputDimensionality", sent[0].get("output_dimensionality"))
    body: Json = {"model": "m", "input": texts}
    body |= {"dimensions": size} if size else {}
    model = sent[0]["model"].removeprefix("models/")
    exchange = PROVIDER.exchange(EmbeddingRequest.parse(orjson.dumps(body)), model)
    asked = orjson.loads(exchange.request.body)["requests"]
    spelling = [
        {k.replace("output_dimensionality", "outputDimensionality"): v for k, v in one.items()}
        for one in sent
    ]
    assert asked == spelling
    assert exchange.request.url.endswith(f"/models/{model}:batchEmbedContents")
    if recording.status != 200:
        failure = exchange.failure(recording.status, {}, recording.response.body)
        assert failure.status == 400
        return
    answer = orjson.loads(exchange.answer(200, {}, recording.response.body))
    validator("CreateEmbeddingResponse").validate(answer)
    upstream = orjson.loads(recording.response.body)["embeddings"]
    assert [one["index"] for one in answer["data"]] == list(range(len(texts)))
    for one, original in zip(answer["data"], upstream, strict=True):
        assert sum(x * x for x in one["embedding"]) == pytest.approx(1)
        ratio = original["values"][0] / one["embedding"][0]
        assert original["values"] == pytest.approx([x * ratio for x in one["embedding"]])


@each([one for one in recordings(provider="gemini") if one.endpoint == "predict"])
def test_images(recording: Recording) -> None:
    asked = ImageRequest.parse(b'{"model": "m", "prompt": "a cat"}')
    exchange = PROVIDER.exchange(asked, "imagen-4.0-generate-001")
    wanted = orjson.loads(recording.response.body).get("predictions", [])
    drawn = [one["bytesBase64Encoded"] for one in wanted if "bytesBase64Encoded" in one]
    if recording.status != 200:
        assert exchange.failure(recording.status, {}, recording.response.body).status == 400
    elif not drawn:
        with pytest.raises(UpstreamError) as refused:
            exchange.answer(200, {}, recording.response.body)
        assert (refused.value.status, refused.value.param) == (400, "prompt")
    else:
        answer = orjson.loads(exchange.answer(200, {}, recording.response.body))
        validator("ImagesResponse").validate(answer)
        assert [one["b64_json"] for one in answer["data"]] == drawn
        assert exchange.usage == Usage(images=len(drawn))


def test_nearly_every_recording_is_replayed() -> None:
    folder()
    every = recordings(provider="gemini")
    known = ("generateContent", "streamGenerateContent", "batchEmbedContents", "predict")
    out = {one.id for one in every if one.id in LEFT_OUT or one.endpoint not in known}
    print("\nanswers:", Counter((one.endpoint, one.mode) for one in every if one.id not in out))
    print("left out:", sorted(out))
    assert out >= LEFT_OUT.keys()
    assert len(out) / len(every) < 0.02
