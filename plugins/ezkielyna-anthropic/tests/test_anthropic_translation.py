"""Single rules of the translation, and the points where other gateways got it wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
    InvalidRequest,
    Unsupported,
)
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
USER = [{"role": "user", "content": "hi"}]
AUDIO = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
LOOP = [*USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]


def exchange(model: str = "claude-opus-4-6", settings: Json | None = None, **fields: Any) -> Any:
    provider = AnthropicProvider("lab", AnthropicProvider.Settings(api_key="k", **(settings or {})))
    kind: type[ApiRequest] = CompletionRequest if "prompt" in fields else ChatRequest
    body = {"model": "m", **({} if "prompt" in fields else {"messages": USER}), **fields}
    return provider.exchange(kind.parse(orjson.dumps(body)), model)


def sent(model: str = "claude-opus-4-6", **fields: Any) -> Json:
    body: Json = orjson.loads(exchange(model, **fields).request.body)
    return body


def message(*content: Json, stop: str = "end_turn", **usage: int) -> bytes:
    told = {"input_tokens": 10, "output_tokens": 5, **usage}
    document = {"id": "msg_1", "type": "message", "model": "claude-x", "content": content}
    return orjson.dumps({**document, "stop_reason": stop, "usage": told})


def streamed(*blocks: tuple[Json, list[Json]], stop: str = "end_turn", **extra: Any) -> bytes:
    start = {"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 10, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, **extra}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def text(said: str) -> tuple[Json, list[Json]]:
    return {"type": "text", "text": ""}, [{"type": "text_delta", "text": said}]


def call(name: str, *fragments: str, id_: str = "toolu_1") -> tuple[Json, list[Json]]:
    block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    return block, [{"type": "input_json_delta", "partial_json": f} for f in ("", *fragments)]


def deltas(output: bytes) -> list[Json]:
    events = [line[6:] for line in output.split(b"\n\n") if line not in (b"", b"data: [DONE]")]
    return [c for event in events for c in orjson.loads(event)["choices"]]


def arguments(output: bytes) -> list[tuple[int, str]]:
    pieces: dict[int, str] = {}
    for choice in deltas(output):
        for piece in choice["delta"].get("tool_calls", []):
            pieces[piece["index"]] = pieces.get(piece["index"], "") + piece["function"]["arguments"]
    return list(pieces.items())


# Where others got it wrong: numbers are those of the published list of faults.


def test_1_the_usage_chunk_has_no_choices_and_every_other_has_a_null() -> None:
    x = exchange(stream=True, stream_options={"include_usage": True})
    out = x.feed(streamed(text("hi"))) + x.close()
    chunks = [orjson.loads(line[6:]) for line in out.split(b"\n\n")[:-2]]
    assert [chunk["usage"] is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert [chunk["choices"] == [] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_4_one_finish_and_only_at_the_end() -> None:
    x = exchange(stream=True)
    finishes = [choice["finish_reason"] for choice in deltas(x.feed(streamed(text("hi"))))]
    assert [finish for finish in finishes if finish] == ["stop"]
    assert finishes[-1] == "stop"


def test_6_the_index_of_a_call_counts_calls_not_blocks() -> None:
    x = exchange(stream=True)
    calls = [call("f", '{"a":', "1}"), text("between"), call("f", "{}", id_="toolu_2")]
    out = x.feed(streamed(text("first"), *calls, stop="tool_use"))
    assert arguments(out) == [(0, '{"a":1}'), (1, "{}")]
    assert deltas(out)[-1]["finish_reason"] == "tool_calls"


def test_7_a_call_without_arguments_has_an_empty_object() -> None:
    x = exchange(stream=True)
    assert arguments(x.feed(streamed(call("f"), stop="tool_use"))) == [(0, "{}")]


def test_7_arguments_that_came_at_once_are_not_lost() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    x = exchange(stream=True)
    assert arguments(x.feed(streamed((block, []), stop="tool_use"))) == [(0, '{"a":1}')]


def test_a_message_start_that_comes_twice_counts_once() -> None:
    body = streamed(text("hi"))
    first = body.split(b"\n\n")[0] + b"\n\n"
    assert exchange(stream=True).feed(first + body) == exchange(stream=True).feed(body)


def test_8_cache_tokens_are_counted_once_streamed_or_not() -> None:
    numbers = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 30}
    plain = exchange()
    usage = orjson.loads(plain.answer(200, {}, message(**numbers)))["usage"]
    assert usage["prompt_tokens"] == 140
    assert usage["prompt_tokens_details"]["cached_tokens"] == 100
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 30
    assert (plain.usage.input, plain.usage.cached_input, plain.usage.cache_write) == (10, 100, 30)
    again = exchange(stream=True, stream_options={"include_usage": True})
    body = streamed(text("x")).replace(
        b'"input_tokens":10', b'"input_tokens":10,' + orjson.dumps(numbers)[1:-1]
    )
    assert orjson.loads(again.feed(body).split(b"\n\n")[-3][6:])["usage"] == usage


def test_12_json_by_a_tool_is_text_and_leaves_real_tools_alone() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    old = "claude-3-5-sonnet-20241022"
    alone = exchange(old, response_format=wanted)
    body = orjson.loads(alone.request.body)
    assert body["tool_choice"] == {"type": "tool", "name": "json_schema_output"}
    use = {"type": "tool_use", "id": "t", "name": "json_schema_output", "input": {"a": 1}}
    (choice,) = orjson.loads(alone.answer(200, {}, message(use, stop="tool_use")))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":1}', "stop")
    assert "tool_calls" not in choice["message"]
    mixed = exchange(old, response_format=wanted, tools=[TOOL], stream=True)
    assert orjson.loads(mixed.request.body)["tool_choice"] == {"type": "any"}
    out = mixed.feed(streamed(call("f", "{}"), stop="tool_use"))
    assert arguments(out) == [(0, "{}")]
    assert deltas(out)[-1]["finish_reason"] == "tool_calls"
    spoken = exchange(old, response_format=wanted, tools=[TOOL], stream=True)
    out = spoken.feed(streamed(call("json_schema_output", '{"a"', ":2}"), stop="tool_use"))
    assert "".join(c["delta"].get("content", "") for c in deltas(out)) == '{"a":2}'
    assert deltas(out)[-1]["finish_reason"] == "stop"


def test_12_a_tool_that_the_client_forces_is_not_replaced_by_the_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    forced = {"tools": [TOOL], "tool_choice": "required", "response_format": wanted}
    body = sent("claude-3-5-sonnet-20241022", **forced)
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == {"type": "any"}


def test_12_newer_models_have_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    form = sent(response_format=wanted)["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["additionalProperties"] is False
    assert form["schema"]["properties"]["a"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-6", 128_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("anthropic/claude-3-5-haiku-latest", 8_192),
        ("a-model-from-the-future", 32_000),
    ],
)
def test_15_the_default_of_max_tokens_is_the_models_own(model: str, expected: int) -> None:
    assert sent(model)["max_tokens"] == expected
    assert sent(model, max_tokens=7)["max_tokens"] == 7
    assert sent(model, max_tokens=7, max_completion_tokens=9)["max_tokens"] == 9


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_16_tool_choice_and_parallel_calls(asked: Json, expected: Json | None) -> None:
    body = sent(tools=[TOOL], **asked)
    assert body.get("tool_choice") == expected
    assert [tool["name"] for tool in body["tools"]] == ["f"]


def test_16_allowed_tools_filter_the_list() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    only = {"type": "function", "function": {"name": "g"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [only]}}
    body = sent(tools=[TOOL, other], tool_choice=allowed)
    assert [tool["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == {"type": "any"}
    third = {"type": "function", "function": {"name": "h"}}
    body = sent(tools=[TOOL, other, third], tool_choice=allowed, messages=LOOP)
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]  # the history calls f


def test_17_all_results_of_a_turn_are_one_message_before_the_users_words() -> None:
    two = {**CALL, "id": "call.2"}
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    turns = sent(
        tools=[TOOL],
        messages=[
            *USER,
            {"role": "assistant", "content": "So:", "tool_calls": [CALL, two]},
            {"role": "tool", "tool_call_id": "call.2", "content": [image]},
            RESULT,
            {"role": "user", "content": "and?"},
        ],
    )["messages"]
    assert [block["type"] for block in turns[1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block.get("id") for block in turns[1]["content"]] == [None, "call_1", "call_2"]
    second, first, said = turns[2]["content"]
    assert (second["tool_use_id"], first["tool_use_id"]) == ("call_2", "call_1")
    assert second["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    ]
    assert said == {"type": "text", "text": "and?"}


def test_17_an_id_that_comes_twice_is_told_apart() -> None:
    turns = sent(tools=[TOOL], messages=[*LOOP, *LOOP[1:]])["messages"]
    used = [turns[1]["content"][0]["id"], turns[3]["content"][0]["id"]]
    answered = [turns[2]["content"][0]["tool_use_id"], turns[4]["content"][0]["tool_use_id"]]
    assert used == answered == ["call_1", "call_1_2"]


def test_18_blank_text_is_left_out() -> None:
    blank = [{"type": "text", "text": " \n"}, {"type": "text", "text": "hi"}]
    turns = sent(
        messages=[{"role": "user", "content": blank}, {"role": "assistant", "content": ""}]
    )
    assert turns["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


@pytest.mark.parametrize("content", ["", " ", None, []])
def test_18_an_empty_conversation_gets_a_placeholder(content: Any) -> None:
    only = sent(messages=[{"role": "user", "content": content}])["messages"]
    assert [turn["role"] for turn in only] == ["user"]
    assert only[0]["content"][0]["text"].strip()
    system = sent(messages=[{"role": "system", "content": "Be brief."}])
    assert system["system"] == [{"type": "text", "text": "Be brief."}]
    assert [turn["role"] for turn in system["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("model", "asked", "expected", "dropped"),
    [
        ("claude-opus-4-6", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ("top_p",)),
        ("claude-sonnet-4-0", {"temperature": 0.5, "top_p": 0.9}, None, ()),
        ("claude-opus-4-6", {"top_p": 0.9}, {"top_p": 0.9}, ()),
        ("claude-opus-4-6", {"temperature": 1.7}, {"temperature": 1}, ("temperature",)),
        ("claude-opus-4-8", {"temperature": 0.5, "top_p": 0.9}, {}, ("temperature", "top_p")),
        ("claude-opus-4-8", {"temperature": 1}, {}, ()),
        (
            "claude-haiku-4-5",
            {"temperature": 0.2, "reasoning_effort": "low"},
            {},
            ("temperature",),
        ),
    ],
)
def test_22_sampling_is_what_the_model_takes(
    model: str, asked: Json, expected: Json | None, dropped: tuple[str, ...]
) -> None:
    x = exchange(model, **asked)
    body = orjson.loads(x.request.body)
    kept = {name: body[name] for name in ("temperature", "top_p") if name in body}
    assert kept == (asked if expected is None else expected)
    assert x.dropped == dropped


# The rest of the rules.


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "stop"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons(stop: str, finish: str) -> None:
    answer = orjson.loads(exchange().answer(200, {}, message(stop=stop)))["choices"][0]
    assert (answer["finish_reason"], answer["message"]["content"]) == (finish, "")
    out = exchange(stream=True).feed(streamed(stop=stop))
    assert deltas(out)[-1]["finish_reason"] == finish
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "explanation": "Not this."}
    out = deltas(exchange(stream=True).feed(streamed(stop="refusal", stop_details=details)))
    assert [choice["delta"].get("refusal") for choice in out] == [None, "Not this.", None]


def test_blocks_of_the_upstreams_own_tools_are_ignored() -> None:
    own = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    answer = exchange().answer(
        200, {}, message(own, found, {"type": "new"}, {"type": "text", "text": "A"})
    )
    assert orjson.loads(answer)["choices"][0]["message"]["content"] == "A"
    fragments = [{"type": "input_json_delta", "partial_json": '{"q"'}, {"type": "new_delta"}]
    out = exchange(stream=True).feed(streamed((own, fragments), (found, []), text("A")))
    assert [choice["delta"].get("content") for choice in deltas(out)] == ["", "A", None]


def test_deprecated_functions_are_answered_in_their_own_way() -> None:
    fields = {"functions": [{"name": "f"}], "function_call": {"name": "f"}}
    x = exchange(**fields)
    choice = orjson.loads(x.request.body)["tool_choice"]
    assert choice == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    (choice,) = orjson.loads(x.answer(200, {}, message(use, stop="tool_use")))["choices"]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"
    out = deltas(exchange(stream=True, **fields).feed(streamed(call("f", "{}"), stop="tool_use")))
    assert [c["delta"]["function_call"] for c in out if "function_call" in c["delta"]] == [
        {"name": "f", "arguments": ""},
        {"arguments": "{}"},
    ]
    assert out[-1]["finish_reason"] == "function_call"
    history = [
        *USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "42"},
    ]
    turns = sent(functions=[{"name": "f"}], messages=history)["messages"]
    assert turns[2]["content"][0]["tool_use_id"] == turns[1]["content"][0]["id"]


def test_custom_tools_are_wrapped_and_unwrapped() -> None:
    tool = {"type": "custom", "custom": {"name": "shell", "description": "Runs."}}
    x = exchange(tools=[tool])
    (spec,) = orjson.loads(x.request.body)["tools"]
    assert spec["input_schema"]["required"] == ["input"]
    use = {"type": "tool_use", "id": "t", "name": "shell", "input": {"input": "ls -l"}}
    (made,) = orjson.loads(x.answer(200, {}, message(use)))["choices"][0]["message"]["tool_calls"]
    assert made == {"id": "t", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    y = exchange(tools=[tool], stream=True)
    out = deltas(y.feed(streamed(call("shell", '{"inp', 'ut":"ls \\n-l"}'), stop="tool_use")))
    told = [c["delta"]["tool_calls"][0]["custom"] for c in out if "tool_calls" in c["delta"]]
    assert "".join(piece["input"] for piece in told) == "ls \n-l"
    assert y.delivered().tools == "shellls \n-l"
    history = {"role": "assistant", "content": None, "tool_calls": [made]}
    result = {"role": "tool", "tool_call_id": "t", "content": "ok"}
    turns = sent(tools=[tool], messages=[*USER, history, result])["messages"]
    assert turns[1]["content"][0]["input"] == {"input": "ls -l"}


def test_history_with_calls_has_its_tools_declared() -> None:
    body = sent(messages=LOOP)
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {}}, False),
        (
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"type": "string"}},
            },
            True,
        ),
        (
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}},
            },
            False,
        ),
        (
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"a": {"$ref": "https://x.test/schema"}},
            },
            False,
        ),
    ],
)
def test_strict_is_kept_where_the_schema_qualifies(schema: Json, strict: bool) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    assert sent(tools=[tool])["tools"][0].get("strict", False) is strict
    assert "strict" not in sent("claude-3-opus", tools=[tool])["tools"][0]


def test_files_and_images() -> None:
    def parts_sent(*parts: Json) -> list[Json]:
        blocks: list[Json] = sent(messages=[{"role": "user", "content": parts}])["messages"][0][
            "content"
        ]
        return blocks

    pdf = {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}
    note = {"file_data": "data:text/plain;charset=utf-8;base64,SGk="}
    image = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}}
    document, text_, picture = parts_sent(
        {"type": "file", "file": pdf}, {"type": "file", "file": note}, image
    )
    assert document["title"] == "a.pdf"
    assert document["source"] == {
        "type": "base64",
        "media_type": "application/pdf",
        "data": "JVBE",
    }
    assert text_["source"] == {"type": "text", "media_type": "text/plain", "data": "Hi"}
    assert picture["source"]["media_type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}]},
            "tools[0].custom.format",
        ),
        (
            {"messages": [{"role": "user", "content": [AUDIO]}]},
            "messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].file.file_id",
        ),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "logprobs": 2}, "logprobs"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
    ],
)
def test_what_the_upstream_cannot_do_is_refused_by_name(fields: Json, param: str) -> None:
    with pytest.raises(Unsupported) as raised:
        exchange(**fields)
    assert (raised.value.status, raised.value.param) == (400, param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([*USER, {"role": "assistant", "tool_calls": [CALL]}], "messages[1]"),
        ([*USER, RESULT], "messages[1].tool_call_id"),
        ([*LOOP, RESULT], "messages[3].tool_call_id"),
        ([*LOOP[:2], *USER], "messages[2]"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        (
            [
                *USER,
                {
                    "role": "assistant",
                    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a":'}}],
                },
            ],
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_history_the_upstream_would_refuse_is_refused_by_name(
    messages: list[Json], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        exchange(messages=messages, tools=[TOOL])
    assert raised.value.param == param


def test_three_classes_of_what_has_no_place() -> None:
    silent = {"store": True, "metadata": {"a": "b"}, "verbosity": "low", "prompt_cache_key": "k"}
    told = {"seed": 7, "frequency_penalty": 0.5, "logit_bias": {"1": 2}, "stop": ["x", "\n"]}
    x = exchange(**silent, **told, presence_penalty=0, unheard_of=1)
    assert sorted(x.dropped) == ["frequency_penalty", "logit_bias", "seed", "stop", "unheard_of"]
    assert not {*silent, *told, "unheard_of"} & orjson.loads(x.request.body).keys()


def test_small_parameters() -> None:
    body = sent(user="u", service_tier="default", stop="END", stream=True, top_k=5)
    assert body["metadata"] == {"user_id": "u"}
    assert body["service_tier"] == "standard_only"
    assert body["stop_sequences"] == ["END"]
    assert (body["stream"], body["top_k"]) == (True, 5)
    json_only = sent(response_format={"type": "json_object"})["system"]
    assert "JSON" in json_only[-1]["text"]


def test_a_later_system_message_is_hoisted_unless_configured() -> None:
    messages = [*USER, {"role": "system", "content": "Now in Spanish."}, *USER]
    body = sent(messages=messages)
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert body["system"][0]["text"] == "Now in Spanish."
    kept = sent(messages=messages, settings={"system_in_place": True})
    assert [turn["role"] for turn in kept["messages"]] == ["user", "system", "user"]


def test_a_prefill_loses_its_last_blanks() -> None:
    turns = sent(messages=[*USER, {"role": "assistant", "content": "So: \n"}])["messages"]
    assert turns[-1]["content"] == [{"type": "text", "text": "So:"}]


def test_a_first_assistant_message_gets_a_user_before_it() -> None:
    turns = sent(messages=[{"role": "assistant", "content": "Hello!"}, *USER])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


def test_legacy_completions_go_through_chat() -> None:
    x = exchange(prompt="Say hi", stream=True, stream_options={"include_usage": True})
    body = orjson.loads(x.request.body)
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi"}]}]
    assert body["max_tokens"] == 16
    thinking = {"type": "thinking", "thinking": ""}, [{"type": "thinking_delta", "thinking": "hm"}]
    lines = x.feed(streamed(thinking, text("hi"))).split(b"\n\n")
    chunks = [orjson.loads(line[6:]) for line in lines[:-2]]
    assert [c["choices"][0]["text"] if c["choices"] else None for c in chunks] == ["hi", "", None]
    assert {c["object"] for c in chunks} == {"text_completion"}
    assert chunks[0]["id"] == "cmpl-msg_1"
    plain = exchange(prompt=["Say hi"], max_tokens=3)
    answer = orjson.loads(plain.answer(200, {}, message({"type": "text", "text": "hi"})))
    assert answer["choices"] == [
        {"text": "hi", "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("kind", "body"), [(EmbeddingRequest, {"input": "x"}), (ImageRequest, {"prompt": "x"})]
)
def test_other_endpoints_are_refused(kind: type[ApiRequest], body: Json) -> None:
    provider = AnthropicProvider("lab", AnthropicProvider.Settings())
    with pytest.raises(Unsupported):
        provider.exchange(kind.parse(orjson.dumps({"model": "m", **body})), "claude-opus-4-6")


def test_address_and_headers() -> None:
    x = exchange(settings={"base_url": "http://127.0.0.1:9/v1/", "betas": ("a", "b")})
    assert (x.request.method, x.request.url) == ("POST", "http://127.0.0.1:9/v1/messages")
    assert x.request.headers == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a,b",
        "x-api-key": "k",
    }


def test_the_output_cap_holds_and_leaves_no_room_to_think() -> None:
    request = ChatRequest.parse(
        orjson.dumps({"model": "m", "messages": USER, "reasoning_effort": "high"})
    )
    request.cap_output(1500)
    provider = AnthropicProvider("lab", AnthropicProvider.Settings())
    body = orjson.loads(provider.exchange(request, "claude-haiku-4-5").request.body)
    assert body["max_tokens"] == 1500
    assert "thinking" not in body


def test_the_first_text_does_not_wait() -> None:
    x = exchange(stream=True)
    body = streamed(text("hi"))
    events = body.split(b"\n\n")
    assert b'"role":"assistant"' in x.feed(events[0] + b"\n\n")
    x.feed(events[1] + b"\n\n")
    assert b'{"content":"hi"}' in x.feed(events[2] + b"\n\n")


def test_the_time_of_an_answer_is_what_the_core_says() -> None:
    x, y = exchange(stream=True), exchange()
    x.created = y.created = 1_700_000_000
    assert b'"created":1700000000' in x.feed(streamed(text("hi")))
    assert orjson.loads(y.answer(200, {}, message()))["created"] == 1_700_000_000
