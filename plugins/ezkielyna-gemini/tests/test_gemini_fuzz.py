"""Whatever a client sends or an upstream answers: an error of ours or a valid translation.

300 of each a run; `EZKIELYNA_SOAK=1` makes them 10,000.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import orjson
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ezkielyna import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
    InvalidRequest,
    UpstreamError,
)
from ezkielyna.testing.anything import ask_anything
from ezkielyna.testing.gateway import Gateways
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k"))
MODELS = st.sampled_from(["gemini-2.5-flash", "gemini-3-pro-preview", "imagen-4", "x"])
EXAMPLES = 10_000 if os.environ.get("EZKIELYNA_SOAK") else 300
QUIET = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

words = st.text(max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


def or_anything(strategy: Any) -> Any:
    """Mostly the right thing, sometimes anything."""
    return st.one_of(strategy, strategy, strategy, strategy, strategy, strategy, anything)


def some(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional={k: or_anything(v) for k, v in fields.items()})


ids = st.sampled_from(["a", "b", "c__gemg", "d__gemi_bQUJD", "__gemg_t!"])
names = st.sampled_from(["f", "g", "1x", ""])
urls = st.sampled_from(["data:image/png;base64,QUJD", "data:,", "https://x.org/a", ""])
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": or_anything(words)}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": or_anything(some(url=urls) | urls)}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("input_audio"),
            "input_audio": some(data=words, format=st.sampled_from(["wav", "mp3", "ogg"])),
        }
    ),
    st.fixed_dictionaries({"type": st.just("file"), "file": some(file_data=urls, file_id=urls)}),
    some(type=words),
)
content = st.one_of(words, st.none(), st.lists(or_anything(parts), max_size=3))
arguments = st.sampled_from(["", "{}", '{"a":1}', "[", "[]"])
function = some(name=names, arguments=arguments)
calls = st.lists(
    st.fixed_dictionaries(
        {"id": ids, "type": st.just("function"), "function": function}, optional={"x": anything}
    ),
    max_size=2,
)
turn = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": or_anything(content)}),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer"]), "content": or_anything(words)}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": or_anything(words)},
        optional={
            "tool_calls": or_anything(calls),
            "function_call": or_anything(function),
            "extra_content": anything,
            "refusal": anything,
        },
    ),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["tool", "function"]), "content": or_anything(content)},
        optional={"tool_call_id": or_anything(ids), "name": or_anything(names)},
    ),
)


@st.composite
def loops(draw: Any) -> list[Json]:
    """A well-formed tool loop, so that the good path is walked too."""
    made: list[Json] = [{"role": "user", "content": draw(words)}]
    for _ in range(draw(st.integers(0, 2))):
        chosen = draw(st.lists(ids, unique=True, min_size=1, max_size=3))
        function = {"name": "f", "arguments": draw(st.sampled_from(["", '{"a":1}']))}
        made.append(
            {
                "role": "assistant",
                "content": draw(words),
                "tool_calls": [{"id": i, "type": "function", "function": function} for i in chosen],
            }
        )
        made += [
            {"role": "tool", "tool_call_id": i, "content": draw(words)}
            for i in draw(st.permutations(chosen))
        ]
    return made


schema = st.sampled_from([{}, {"type": "object"}, {"type": "object", "properties": {"a": {}}}])
tool = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["function", "function", "custom"]),
        "function": some(name=names, description=words, parameters=schema, strict=st.booleans()),
    },
    optional={"custom": some(name=names)},
)
chats = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": loops() | st.lists(turn, min_size=1, max_size=4)},
    optional={
        name: or_anything(strategy)
        for name, strategy in {
            "n": st.integers(1, 10),
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "seed": st.integers(-(2**63), 2**63 - 1),
            "top_k": st.integers(-1, 5),
            "stop": words | st.lists(words, max_size=6),
            "max_tokens": st.integers(0, 100),
            "presence_penalty": st.floats(-2, 2),
            "logprobs": st.booleans(),
            "top_logprobs": st.integers(0, 20),
            "response_format": some(
                type=st.sampled_from(["text", "json_object", "json_schema"]),
                json_schema=some(schema=schema),
            ),
            "reasoning_effort": st.sampled_from(["none", "low", "high", "x"]),
            "modalities": st.lists(st.sampled_from(["text", "image", "audio"]), max_size=2),
            "tools": st.lists(tool, max_size=2),
            "functions": st.lists(some(name=names), max_size=2),
            "tool_choice": st.sampled_from(
                ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]
            ),
            "parallel_tool_calls": st.booleans(),
            "service_tier": words,
            "google": some(top_k=st.integers(1, 5), safetySettings=st.just([])),
            "extra_body": some(google=some(topK=st.integers(1, 5))),
            "whatever": anything,
        }.items()
    },
)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def check_part(part: Json) -> None:
    (kind,) = part.keys() - {"thoughtSignature"}
    value = part[kind]
    assert is_text(part.get("thoughtSignature", "x"))
    if kind == "text":
        assert is_text(value)
    elif kind == "inlineData":
        assert is_text(value["mimeType"])
        assert isinstance(value["data"], str)
    elif kind == "fileData":
        assert is_text(value["fileUri"])
    elif kind == "functionCall":
        assert isinstance(value["name"], str)
        assert isinstance(value["args"], dict)
        assert value.keys() <= {"name", "args", "id"}
    else:
        assert kind == "functionResponse"
        assert isinstance(value["response"], dict)
        assert value.keys() <= {"name", "response", "id", "parts"}


def check_contents(contents: list[Json]) -> None:
    assert contents
    last, waiting = None, 0
    for content in contents:
        assert content["role"] in ("user", "model")
        assert content["role"] != last
        assert content["parts"]
        last = content["role"]
        answered = sum("functionResponse" in part for part in content["parts"])
        assert answered == waiting
        waiting = sum("functionCall" in part for part in content["parts"])
        for part in content["parts"]:
            check_part(part)
    assert waiting == 0


def check_config(config: Json) -> None:
    for name, low, high in (
        ("candidateCount", 2, 8), ("maxOutputTokens", 1, 10**8), ("temperature", 0, 2),
        ("topP", 0, 1), ("seed", 0, 2**31 - 1), ("logprobs", 1, 20), ("presencePenalty", -2, 2),
    ):  # fmt: skip
        assert low <= config.get(name, low) <= high
    stops = config.get("stopSequences", ["x"])
    assert 1 <= len(stops) <= 5
    assert all(map(is_text, stops))
    assert ("responseJsonSchema" not in config) or "responseMimeType" in config


def check(body: Json) -> None:
    known = {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig"}
    assert body.keys() <= known | {"safetySettings", "cachedContent", "serviceTier"}
    check_contents(body["contents"])
    check_config(body["generationConfig"])
    if "systemInstruction" in body:
        assert all(is_text(part["text"]) for part in body["systemInstruction"]["parts"])
    for declared in body.get("tools", [{"functionDeclarations": []}])[0]["functionDeclarations"]:
        assert is_text(declared["name"])
        assert isinstance(declared.get("parametersJsonSchema", {}), dict)
    if "toolConfig" in body:
        config = body["toolConfig"]["functionCallingConfig"]
        assert "tools" in body
        assert ("allowedFunctionNames" not in config) or config["mode"] in ("ANY", "VALIDATED")


@QUIET
@given(body=chats, model=MODELS)
def test_a_chat_is_refused_or_valid(body: Json, model: str) -> None:
    try:
        made = PROVIDER.exchange(ChatRequest.parse(orjson.dumps(body)), model)
    except InvalidRequest as refused:
        event(f"refused: {refused.param and refused.param.split('[')[0]}")
    else:
        event("valid")
        check(orjson.loads(made.request.body))


async def test_every_chat_through_the_gateway_is_refused_or_valid(gateways: Gateways) -> None:
    answer = {
        "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    }
    await ask_anything(gateways, "gemini", orjson.dumps(answer), check)


@QUIET
@given(
    kind=st.sampled_from([CompletionRequest, EmbeddingRequest, ImageRequest]),
    body=some(prompt=words, input=words | st.lists(words), n=st.integers(1, 9), size=words),
    model=MODELS,
)
def test_other_requests_are_refused_or_valid(kind: Any, body: Any, model: str) -> None:
    document = {"model": "m"} | (body if isinstance(body, dict) else {})
    with contextlib.suppress(InvalidRequest):
        made = PROVIDER.exchange(kind.parse(orjson.dumps(document)), model)
        sent = orjson.loads(made.request.body)
        if kind is CompletionRequest:
            check(sent)


KEYS = st.sampled_from([
    "candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "id",
    "index", "finishReason", "promptFeedback", "blockReason", "usageMetadata",
    "promptTokenCount", "inlineData", "data", "error", "responseId", "createTime",
    "logprobsResult", "chosenCandidates", "token", "embeddings", "values", "predictions",
    "bytesBase64Encoded", "thoughtSignature", "status", "code", "details",
])  # fmt: skip
answers = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**64 - 1) | words,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            KEYS,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
part = some(
    text=words, thought=st.booleans(), thoughtSignature=words,
    functionCall=some(name=names, args=st.dictionaries(words, words, max_size=1), id=words),
    inlineData=some(mimeType=words, data=words),
)  # fmt: skip
whole = some(
    candidates=st.lists(
        or_anything(
            some(
                index=st.integers(0, 2),
                content=some(parts=st.lists(or_anything(part), max_size=3)),
                finishReason=st.sampled_from(["STOP", "SAFETY", "OTHER", "MAX_TOKENS"]),
            )
        ),
        max_size=2,
    ),
    usageMetadata=some(
        promptTokenCount=st.integers(0, 2**64 - 1), candidatesTokenCount=st.integers(0, 2**64 - 1)
    ),
    promptFeedback=some(blockReason=words),
    responseId=words,
)


@QUIET
@given(documents=st.lists(answers | whole, min_size=1, max_size=3))
def test_an_answer_is_translated_or_an_error_of_the_upstream(documents: list[Any]) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    plain = PROVIDER.exchange(ChatRequest.parse(orjson.dumps(request)), "gemini-2.5-flash")
    with contextlib.suppress(UpstreamError):
        assert orjson.loads(plain.answer(200, {}, orjson.dumps(documents[0])))["choices"]
    request["stream"] = True
    streamed = PROVIDER.exchange(ChatRequest.parse(orjson.dumps(request)), "gemini-2.5-flash")
    with contextlib.suppress(UpstreamError):
        for document in documents:
            streamed.feed(b"data: " + orjson.dumps(document) + b"\n\n")
        assert streamed.close().endswith(b"data: [DONE]\n\n")
    assert streamed.usage is None or streamed.usage.plausible
    assert isinstance(plain.failure(400, {}, orjson.dumps(documents[0])), UpstreamError)
    for body, kind in (({"input": "x"}, EmbeddingRequest), ({"prompt": "x"}, ImageRequest)):
        other = PROVIDER.exchange(kind.parse(orjson.dumps({"model": "m"} | body)), "imagen")
        with contextlib.suppress(UpstreamError):
            other.answer(200, {}, orjson.dumps(documents[0]))
