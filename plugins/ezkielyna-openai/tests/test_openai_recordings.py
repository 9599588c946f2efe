"""Replay what OpenAI and the servers that speak its API really sent."""

from __future__ import annotations

import random
from collections import Counter
from itertools import repeat
from typing import Any

import orjson
import pytest

from ezkielyna import GatewayError
from ezkielyna.testing.cuts import cut_at_every_byte, cut_at_random, splits
from ezkielyna.testing.recordings import Recording, folder, recordings
from ezkielyna.testing.schemas import validator

ENDPOINTS = ("chat.completions", "completions", "embeddings", "images.generations")
SCHEMAS = {
    "chat.completions": "CreateChatCompletionResponse",
    "completions": "CreateCompletionResponse",
    "embeddings": "CreateEmbeddingResponse",
    "images.generations": "ImagesResponse",
}


def chosen(mode: str) -> list[Recording]:
    return [
        recording
        for recording in recordings(mode=mode)  # type: ignore[arg-type]
        if recording.endpoint in ENDPOINTS
        and "/organization/" not in recording.url
        and (recording.provider == "openai" or recording.provider.startswith("compat/"))
    ]


def each(mode: str) -> pytest.MarkDecorator:
    found = chosen(mode)
    if not found:
        skip = pytest.mark.skip(reason="EZKIELYNA_FIXTURES does not name a folder of recordings")
        return pytest.mark.parametrize("recording", [pytest.param(None, marks=skip)])
    return pytest.mark.parametrize("recording", found, ids=[found.id for found in found])


def settings(recording: Recording) -> dict[str, str]:
    """Half of the servers are configured by name, the others by nothing but an address."""
    if recording.provider == "openai":
        return {}
    name = recording.provider.removeprefix("compat/")
    known = name in {"deepseek", "groq", "mistral", "openrouter", "perplexity", "vllm", "xai"}
    if name == "perplexity" or (known and len(recording.id) % 2):
        return {"preset": name}
    return {"base_url": "http://127.0.0.1:1/v1"}


def asked(recording: Recording, **fields: Any) -> bytes | dict[str, Any]:
    body = recording.request.body
    sent = orjson.loads(body) if body else {}
    sent = {name: value for name, value in sent.items() if value is not None}
    if recording.endpoint == "embeddings" and "input" in sent:
        return {**sent, "model": "m"}
    return {**sent, "model": "m", **fields} if "messages" in sent else fields


def events(body: bytes) -> list[dict[str, Any]]:
    """Read the recorded stream as tolerantly as can be, by other means than the exchange."""
    found = []
    for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:") and "[DONE]" not in line:
            found.append(orjson.loads(line[5:]))
    return found


def expected_text(body: bytes) -> tuple[str, str, str]:
    """Return text, reasoning and tool arguments, of all choices in the order they came."""
    text, reasoning, arguments = "", "", ""
    for event in events(body):
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {"content": choice.get("text")}
            content = delta.get("content")
            if isinstance(content, list):
                for part in content:
                    text += part.get("text", "")
                    thinking = part.get("thinking", [])
                    reasoning += "".join(step["text"] for step in thinking)
            else:
                text += content or ""
            text += delta.get("refusal") or ""
            reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or []:
                arguments += call["function"].get("arguments") or ""
            arguments += (delta.get("function_call") or {}).get("arguments") or ""
    return text, reasoning, arguments


def expected_usage(body: bytes) -> dict[str, Any] | None:
    found = None
    for event in events(body):
        found = event.get("usage") or (event.get("x_groq") or {}).get("usage") or found
    return found


def cut(recording: Recording) -> bool:
    """True for the recordings that end with an error, or that were cut short by hand."""
    body = recording.response.body.replace(b" ", b"")
    return b"event:error" in body or (b'finish_reason":"' not in body and b"[DONE]" not in body)


@each("sse")
def test_a_stream_says_the_same(recording: Recording, make: Any, run: Any, read: Any) -> None:
    body = recording.response.body
    exchange = make(
        asked(recording, stream=True, stream_options={"include_usage": True}),
        endpoint=recording.endpoint,
        **settings(recording),
    )
    out, error = run(exchange, [body])
    if cut(recording):
        assert error is not None
        assert b"[DONE]" not in out
        return
    assert error is None
    seen = read(out)
    delivered = exchange.delivered()
    assert (delivered.text, delivered.reasoning, delivered.tools) == expected_text(body)
    assert seen.done == 1
    assert all(count <= 1 for count in seen.roles.values()) or recording.provider == "openai"
    usage = expected_usage(body)
    assert len(seen.usages) == (1 if usage else 0)
    assert (exchange.usage is None) == (usage is None)
    if usage:
        check_usage(usage, seen, exchange)
    if "tool_call" in recording.covers or "parallel_tool_calls" in recording.covers:
        check_calls(seen, body)


def check_usage(usage: dict[str, Any], seen: Any, exchange: Any) -> None:
    shown, counted = seen.usages[0], exchange.usage
    assert shown["cost"] == 0.001000003
    assert shown["prompt_tokens"] == usage["prompt_tokens"] == counted.input_total
    assert shown["completion_tokens"] == counted.output_total
    assert shown["total_tokens"] == shown["prompt_tokens"] + shown["completion_tokens"]
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    assert counted.reasoning == reasoning
    assert shown["completion_tokens"] in (
        usage["completion_tokens"],
        usage["completion_tokens"] + reasoning,
    )
    assert seen.chunks[-1]["choices"] == []
    assert seen.chunks[-1]["usage"] == shown
    assert not {"cost_in_usd_ticks", "cost_details", "is_byok"} & shown.keys()
    assert counted.plausible
    assert exchange.progress() > 0


def check_calls(seen: Any, body: bytes) -> None:
    ids = set()
    for call in seen.calls.values():
        assert call["name"]
        assert call["id"]
        ids.add(call["id"])
        if set(seen.finish.values()) <= {"tool_calls", "stop"}:
            orjson.loads(call["args"] or "{}")
    recorded = {
        call["id"]
        for event in events(body)
        for choice in event.get("choices") or []
        for call in (choice.get("delta") or {}).get("tool_calls") or []
        if call.get("id")
    }
    assert recorded <= ids
    assert ids
    indexes = sorted(index for choice, index in seen.calls if choice == 0)
    assert indexes == list(range(len(indexes)))


@each("sse")
def test_without_include_usage_no_chunk_has_usage(
    recording: Recording, make: Any, run: Any, read: Any
) -> None:
    body = recording.response.body
    exchange = make(
        asked(recording, stream=True, stream_options=None),
        endpoint=recording.endpoint,
        **settings(recording),
    )
    out, error = run(exchange, [body])
    if error is not None:
        assert cut(recording)
        return
    seen = read(out)
    assert all("usage" not in chunk for chunk in seen.chunks)
    assert all(chunk["choices"] for chunk in seen.chunks) or recording.provider == "openai"
    assert (exchange.usage is None) == (expected_usage(body) is None)


@each("sse")
def test_random_splits_change_nothing(recording: Recording, make: Any, run: Any) -> None:
    body = recording.response.body
    chance = random.Random(recording.id)
    for wants in (True, False):
        wanted = {"stream_options": {"include_usage": True}} if wants else {}
        first = make({"stream": True, **wanted}, **settings(recording))

        def stream(pieces: Any, first: Any = first) -> tuple[bytes, str | None, Any, Any]:
            exchange = first.provider.exchange(first.client_request, "m")
            exchange.price = first.price
            out, error = run(exchange, pieces)
            message = error.message if isinstance(error, GatewayError) else None
            return out, message, exchange.usage, exchange.delivered()

        whole = stream([body])
        for most in (3, 700) if wants else (40,):
            sizes = iter(lambda most=most: chance.randint(1, most), 0)  # type: ignore[misc]
            assert stream(splits(body, sizes)) == whole
        for pieces in cut_at_random(body, chance):
            assert stream(pieces) == whole, pieces


def varied() -> list[Recording]:
    """The twenty streams that together show the most of all servers, but for the long ones."""
    left = [found for found in chosen("sse") if len(found.response.body) < 3_000]
    left.sort(key=lambda found: len(found.response.body))
    picked: list[Recording] = []
    seen: Counter[str] = Counter()
    while left and len(picked) < 20:
        best = max(left, key=lambda found: sum(1 / 4 ** seen[word] for word in words_of(found)))
        left.remove(best)
        picked.append(best)
        seen.update(words_of(best))
    return picked


def words_of(recording: Recording) -> set[str]:
    """What a recording shows, as far as an answer does; its server counts like a feature."""
    return {recording.provider, recording.endpoint, *(recording.covers & WORDS)}


WORDS = frozenset({"logprobs", "n>1", "refusal", "tool_call", "function_call", "error"})


def test_every_split_of_varied_streams_changes_nothing(make: Any, run: Any) -> None:
    folder()
    samples = varied()
    assert len(samples) == 20
    for recording in samples:
        body = recording.response.body
        request = {"stream": True, "stream_options": {"include_usage": True}}

        first = make(request, **settings(recording))

        def stream(pieces: Any, first: Any = first) -> tuple[bytes, Any]:
            out, error = run(first.provider.exchange(first.client_request, "m"), pieces)
            return out, error and error.message

        whole = stream([body])
        assert stream(splits(body, repeat(1))) == whole, recording.id
        for pieces in cut_at_every_byte(body):
            assert stream(pieces) == whole, (recording.id, pieces)


@each("json")
def test_a_plain_answer_says_the_same(recording: Recording, make: Any) -> None:
    response = recording.response
    if response.status != 200:
        exchange = make({}, endpoint=recording.endpoint, **settings(recording))
        error = exchange.failure(response.status, response.headers, response.body)
        assert isinstance(error, GatewayError)
        assert error.message
        assert "http" not in error.message.replace("HTTP", "").replace("[hidden]", "")
        if response.status in (400, 404):
            assert (error.status, error.type) == (400, "invalid_request")
            assert not error.retryable  # type: ignore[attr-defined]
        else:
            assert error.status == 502
        return
    exchange = make(asked(recording), endpoint=recording.endpoint, **settings(recording))
    original = orjson.loads(response.body)
    content = original.get("choices", original.get("data"))
    if not content:
        # other shapes: an error of status 200, Ollama's own paths, the Responses API
        with pytest.raises(GatewayError):
            exchange.answer(200, {}, response.body)
        return
    answer = orjson.loads(exchange.answer(200, response.headers, response.body))
    images = recording.endpoint == "images.generations"
    if original.get("usage") or images:
        assert answer["usage"].pop("cost") == 0.001000003
        assert exchange.usage is not None
        assert exchange.usage.plausible
        total = answer["usage"]["total_tokens"]
        parts = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
        assert sum(answer["usage"].get(name, 0) for name in parts) == total
        assert exchange.usage.total == total
    if images:
        assert exchange.usage is not None
        assert exchange.usage.images == len(original["data"])
    if recording.provider == "openai":
        assert answer == (original | {"usage": answer["usage"]} if images else original)
    else:
        assert unrepaired(answer) == unrepaired(original)


def unrepaired(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the exchange is there to change."""
    rest = {name: value for name, value in answer.items() if name != "usage"}
    for choice in rest.get("choices", []):
        message = choice.get("message", {})
        for name in ("reasoning", "reasoning_content"):
            message.pop(name, None)
        for position, call in enumerate(message.get("tool_calls") or []):
            assert isinstance(call.pop("index", position), int)
            assert call.pop("type", "function") == "function"
        if choice.get("finish_reason") in ("eos", "end_turn"):
            choice["finish_reason"] = "stop"
        if isinstance(message.get("content"), list):
            message["content"] = "".join(part.get("text", "") for part in message["content"])
    return rest


def test_translated_answers_satisfy_the_published_schemas(make: Any, run: Any, read: Any) -> None:
    """Only faults that the upstream itself did not have count against the exchange."""
    folder()
    checked = 0
    for recording in chosen("json"):
        if recording.provider != "openai" or recording.status != 200:
            continue
        schema = validator(SCHEMAS[recording.endpoint])
        original = orjson.loads(recording.response.body)
        if not schema.is_valid(original):
            continue
        exchange = make({}, endpoint=recording.endpoint)
        schema.validate(orjson.loads(exchange.answer(200, {}, recording.response.body)))
        checked += 1
    for recording in chosen("sse"):
        if recording.endpoint != "chat.completions":
            continue
        schema = validator("CreateChatCompletionStreamResponse")
        if not all(schema.is_valid(event) for event in events(recording.response.body)):
            continue
        request = {"stream": True, "stream_options": {"include_usage": True}}
        out, _ = run(make(request, **settings(recording)), [recording.response.body])
        for chunk in read(out).chunks:
            schema.validate({name: value for name, value in chunk.items() if value is not None})
        checked += 1
    assert checked > 200
