"""Whatever a client sends: a refusal that names the field, or a request Anthropic could take.

300 requests a run; `EZKIELYNA_SOAK=1` makes them 10,000.
"""

from __future__ import annotations

import os
import re
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezkielyna import ChatRequest, CompletionRequest, InvalidRequest
from ezkielyna.testing.anything import ask_anything
from ezkielyna.testing.gateway import Gateways
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
PROVIDER = AnthropicProvider("lab", AnthropicProvider.Settings(api_key="k"))
EXAMPLES = 10_000 if os.environ.get("EZKIELYNA_SOAK") else 300
MODELS = [
    "claude-opus-5",
    "claude-fable-5",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-haiku-4-5",
    "claude-sonnet-4-20250514",
    "claude-3-opus-20240229",
    "some-other-name",
]
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")

scalars = (
    st.none() | st.booleans() | st.integers(-3, 100_000) | st.floats(0, 3) | st.text(max_size=5)
)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
texts = st.sampled_from(["", " ", "hi", "Grüße\u2028", "a\nb ", "{}"])
ids = st.sampled_from(["call_1", "call_2", "toolu_9", "functions.f:0", "", "x_ezt1_AAAA", "é"])
names = st.sampled_from(["f", "g", "json_schema_output", "bad name", ""])
schemas = st.sampled_from(
    [
        None,
        {},
        {"type": "object"},
        {"type": "string"},
        {"anyOf": []},
        {"properties": {"a": {"type": "object"}}},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {"a": {"$ref": "#/$defs/A"}},
        },
        {"type": "object", "$defs": {"A": {"$ref": "#/$defs/A"}}, "additionalProperties": False},
    ]
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


image = st.sampled_from(["https://x.test/a.png", "data:image/png;base64,AAAA", "data:,", "ftp://x"])
files = st.sampled_from(["data:application/pdf;base64,AAAA", "data:text/plain;base64,YQ==", "?"])
part = (
    st.fixed_dictionaries({"type": st.just("text"), "text": texts})
    | st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": image})}
    )
    | st.fixed_dictionaries(
        {"type": st.just("file"), "file": some(file_data=files, filename=texts, file_id=texts)}
    )
    | st.fixed_dictionaries({"type": st.sampled_from(["input_audio", "x", "refusal"])})
    | junk
)
content = texts | st.lists(part, max_size=3) | st.none() | junk
call = st.fixed_dictionaries(
    {
        "id": ids,
        "type": st.sampled_from(["function", "function", "custom"]),
        "function": st.fixed_dictionaries(
            {"name": names, "arguments": st.sampled_from(["", "{}", '{"a":1}', "[1]", "{", None])}
        ),
    },
    optional={"custom": some(name=names, input=texts)},
)
thought = some(
    type=st.sampled_from(["thinking", "redacted_thinking", "x"]), thinking=texts, signature=texts
)
loose = st.fixed_dictionaries(
    {
        "role": st.sampled_from(
            ["system", "developer", "user", "assistant", "tool", "function", "bot"]
        )
    },
    optional={
        "content": content,
        "tool_calls": st.lists(call, max_size=2) | junk,
        "tool_call_id": ids,
        "name": names,
        "function_call": some(name=names, arguments=st.just("{}")),
        "thinking_blocks": st.lists(thought, max_size=2) | junk,
        "refusal": texts,
        "cache_control": st.just({"type": "ephemeral"}) | junk,
    },
)


@st.composite
def loops(draw: st.DrawFn) -> list[Json]:
    """A tool loop as it should be, so that not every request with calls is refused."""
    own = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    calls = [
        {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in own
    ]
    first = {"role": "assistant", "content": draw(texts), "tool_calls": calls}
    results = [{"role": "tool", "tool_call_id": id_, "content": draw(texts)} for id_ in own]
    return [first, *draw(st.permutations(results))]


messages = st.lists(loose.map(lambda one: [one]) | loops(), min_size=1, max_size=4).map(
    lambda groups: [message for group in groups for message in group]
)
tool = (
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": names, "parameters": schemas}, optional={"strict": st.booleans()}
            ),
        }
    )
    | st.fixed_dictionaries({"type": st.just("custom"), "custom": some(name=names, format=junk)})
    | junk.filter(lambda value: isinstance(value, dict))
)
choices = (
    st.sampled_from(["auto", "none", "required", "x"])
    | st.fixed_dictionaries({"type": st.just("function"), "function": some(name=names)})
    | st.just(
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        }
    )
    | junk
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": messages},
    optional={
        "max_tokens": st.sampled_from([None, 0, 1, 1024, 1025, 2000, 64_000]),
        "max_completion_tokens": st.sampled_from([None, 0, 1, 5000]),
        "temperature": st.sampled_from([None, 0, 0.5, 1, 1.5, 2]),
        "top_p": st.sampled_from([None, 0.1, 1]),
        "top_k": junk,
        "stop": st.sampled_from([None, "x", "", " ", ["a", "\n"], []]),
        "n": st.sampled_from([None, 1, 2]),
        "tools": st.lists(tool, max_size=3),
        "tool_choice": choices,
        "functions": st.lists(some(name=names, parameters=schemas), max_size=2) | junk,
        "function_call": choices,
        "parallel_tool_calls": st.booleans() | junk,
        "response_format": st.sampled_from(
            [
                {"type": "text"},
                {"type": "json_object"},
                {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
                {"type": "json_schema", "json_schema": {"name": "a"}},
                {"type": "grammar"},
            ]
        )
        | junk,
        "reasoning_effort": st.sampled_from([None, "none", "minimal", "low", "high", "max", "x"]),
        "thinking": st.sampled_from(
            [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}, {"type": "disabled"}]
        )
        | junk,
        "stream": st.booleans(),
        "logprobs": junk,
        "seed": junk,
        "user": junk,
        "metadata": junk,
        "service_tier": junk,
        "modalities": junk,
        "unheard_of": junk,
    },
)
FIELDS = {
    *{"model", "messages", "max_tokens", "system", "tools", "tool_choice", "thinking", "stream"},
    *{"temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"},
    *{"output_config", "cache_control"},
}


@given(bodies, st.sampled_from(MODELS), st.sampled_from([None, 1, 1500]))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_chat_is_refused_by_name_or_well_formed(body: Json, model: str, cap: int | None) -> None:
    try:
        request = ChatRequest.parse(orjson.dumps(body))
        if cap is not None:
            request.cap_output(cap)
        exchange = PROVIDER.exchange(request, model)
    except InvalidRequest:
        return  # a 400; anything else fails the test
    sent = orjson.loads(exchange.request.body)
    check(sent)
    assert cap is None or sent["max_tokens"] <= cap


@given(
    some(
        prompt=texts | st.lists(texts, max_size=2) | st.lists(st.integers(0, 9), max_size=2),
        max_tokens=st.sampled_from([None, 0, 5]),
        n=st.sampled_from([None, 1, 2]),
        best_of=st.sampled_from([None, 1, 2]),
        **dict.fromkeys(("suffix", "echo", "logprobs", "top_p", "tools", "messages", "seed"), junk),
    )
)
@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_completion_is_refused_by_name_or_well_formed(body: Json) -> None:
    try:
        request = CompletionRequest.parse(orjson.dumps({"model": "m", **body}))
        exchange = PROVIDER.exchange(request, "claude-haiku-4-5")
    except InvalidRequest:
        return
    check(orjson.loads(exchange.request.body))


async def test_every_chat_through_the_gateway_is_refused_or_well_formed(
    gateways: Gateways,
) -> None:
    answer = {
        "id": "msg_1", "type": "message", "model": "c", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hi"}],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    await ask_anything(gateways, "anthropic", orjson.dumps(answer), check)


def check(sent: Json) -> None:
    """Assert what Anthropic demands of a request, as far as its documents and errors say."""
    assert sent.keys() <= FIELDS
    assert type(sent["max_tokens"]) is int
    assert sent["max_tokens"] >= 1
    assert sent["messages"][0]["role"] == "user"
    check_turns(sent["messages"])
    for block in sent.get("system", []):
        check_block(block, {"text"})
    tools = [tool["name"] for tool in sent.get("tools", [])]
    assert len(tools) == len(set(tools))
    assert all(NAME.fullmatch(name) for name in tools)
    assert all(tool["input_schema"]["type"] == "object" for tool in sent.get("tools", []))
    choice = sent.get("tool_choice", {"type": "auto"})
    assert choice["type"] in ("auto", "any", "tool", "none")
    assert tools or "tool_choice" not in sent
    assert choice["type"] != "tool" or choice["name"] in tools
    assert all(sequence.strip() for sequence in sent.get("stop_sequences", ["x"]))
    assert 0 <= sent.get("temperature", 0) <= 1
    thinking = sent.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < sent["max_tokens"]
        assert choice["type"] in ("auto", "none")
        assert "temperature" not in sent
        assert sent["messages"][-1]["role"] == "user"


def check_turns(turns: list[Json]) -> None:
    seen: set[str] = set()
    owed: list[str] = []
    for turn in turns:
        assert turn["role"] in ("user", "assistant")
        assert turn["content"]
        blocks = turn["content"]
        if turn["role"] == "user":
            results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
            assert sorted(results) == sorted(owed)
            assert all(b["type"] == "tool_result" for b in blocks[: len(results)])
            owed = []
        else:
            assert not owed
            owed = [block["id"] for block in blocks if block["type"] == "tool_use"]
            assert seen.isdisjoint(owed)
            assert len(set(owed)) == len(owed)
            seen.update(owed)
        for block in blocks:
            check_block(block, USER if turn["role"] == "user" else ASSISTANT)
    assert not owed


USER = {"text", "image", "document", "tool_result"}
ASSISTANT = {"text", "tool_use", "thinking", "redacted_thinking"}


def check_block(block: Json, kinds: set[str]) -> None:
    assert block["type"] in kinds
    match block["type"]:
        case "text":
            assert block["text"].strip()
        case "tool_use":
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"])
            assert NAME.fullmatch(block["name"])
            assert isinstance(block["input"], dict)
        case "thinking":
            assert block["signature"]
            assert isinstance(block["thinking"], str)
        case "tool_result":
            inner = block.get("content", "x")
            assert inner
            for part_ in inner if isinstance(inner, list) else []:
                check_block(part_, {"text", "image", "document"})
