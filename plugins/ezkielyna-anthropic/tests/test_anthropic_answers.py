"""Single rules for answers, and the points where other gateways got them wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from anthropic_words import TOOL, Json, exchange, sent
from ezkielyna.testing.asking import USER


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
        USER,
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
    turns = sent(tools=[tool], messages=[USER, history, result])["messages"]
    assert turns[1]["content"][0]["input"] == {"input": "ls -l"}


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
