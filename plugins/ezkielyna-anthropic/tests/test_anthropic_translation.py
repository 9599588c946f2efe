"""Single rules for requests, and the points where other gateways got them wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from anthropic_words import CALL, LOOP, RESULT, TOOL, Json, exchange, sent
from ezkielyna import ChatRequest
from ezkielyna.testing.asking import USER
from ezkielyna_anthropic import AnthropicProvider


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
            USER,
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


def test_small_parameters() -> None:
    body = sent(user="u", service_tier="default", stop="END", stream=True, top_k=5)
    assert body["metadata"] == {"user_id": "u"}
    assert body["service_tier"] == "standard_only"
    assert body["stop_sequences"] == ["END"]
    assert (body["stream"], body["top_k"]) == (True, 5)
    json_only = sent(response_format={"type": "json_object"})["system"]
    assert "JSON" in json_only[-1]["text"]


def test_a_later_system_message_is_hoisted_unless_configured() -> None:
    messages = [USER, {"role": "system", "content": "Now in Spanish."}, USER]
    body = sent(messages=messages)
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert body["system"][0]["text"] == "Now in Spanish."
    kept = sent(messages=messages, settings={"system_in_place": True})
    assert [turn["role"] for turn in kept["messages"]] == ["user", "system", "user"]


def test_a_prefill_loses_its_last_blanks() -> None:
    turns = sent(messages=[USER, {"role": "assistant", "content": "So: \n"}])["messages"]
    assert turns[-1]["content"] == [{"type": "text", "text": "So:"}]


def test_a_first_assistant_message_gets_a_user_before_it() -> None:
    turns = sent(messages=[{"role": "assistant", "content": "Hello!"}, USER])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


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
        orjson.dumps({"model": "m", "messages": [USER], "reasoning_effort": "high"})
    )
    request.cap_output(1500)
    provider = AnthropicProvider("lab", AnthropicProvider.Settings())
    body = orjson.loads(provider.exchange(request, "claude-haiku-4-5").request.body)
    assert body["max_tokens"] == 1500
    assert "thinking" not in body
