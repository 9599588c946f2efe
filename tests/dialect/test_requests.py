"""What a client asked for, read once; every fault is a 400 that names the field."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, CompletionRequest, InvalidRequest, Unsupported
from ezkielyna.dialect import (
    MOST_CHARACTERS,
    Abilities,
    Chat,
    closed,
    compilable,
    image_size,
    nearest_ratio,
    object_schema,
    with_cargo,
    without_cargo,
)

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
NAMES = re.compile(r"\w{1,8}")
TOOL = {"type": "function", "function": {"name": "f"}}


def chat(can: Abilities | None = None, **fields: Any) -> Chat:
    body = orjson.dumps({"model": "m", "messages": [USER], **fields})
    return Chat(ChatRequest.parse(body), can or Abilities(frozenset(), NAMES))


def called(*ids: str, **call: Any) -> Json:
    function = {"name": "f", "arguments": '{"a":1}'}
    calls = [{"id": one, "type": "function", "function": function, **call} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answered(identifier: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def test_calls_have_their_results_in_both_orders() -> None:
    note = {"role": "system", "content": "Be brief."}
    turns = chat(messages=[USER, called("a", "b"), answered("b"), note, answered("a"), USER]).turns
    assert [turn.role for turn in turns] == ["user", "assistant", "system", "user"]
    assert [call.id for call in turns[1].calls] == ["a", "b"]
    assert [call.id for call in turns[1].results] == ["b", "a"]
    assert turns[1].calls[0].arguments == {"a": 1}
    assert turns[1].calls[0].result[0].text == "ok"
    assert turns[2].text == "Be brief."


def test_the_deprecated_functions_are_calls_without_an_id() -> None:
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    result = {"role": "function", "name": "f", "content": "42"}
    read = chat(
        messages=[USER, old, result], functions=[{"name": "f"}], function_call={"name": "f"}
    )
    (call,) = read.turns[1].calls
    assert (call.id, call.name, call.arguments, call.result[0].text) == ("", "f", {}, "42")
    assert (read.tools.legacy, read.tools.single, read.tools.only) == (True, True, ("f",))


def test_custom_tools() -> None:
    tool = {"type": "custom", "custom": {"name": "sh"}}
    call = {"type": "custom", "custom": {"name": "sh", "input": "ls"}, "id": "c"}
    history = {"role": "assistant", "tool_calls": [call]}
    read = chat(messages=[USER, history, answered("c")], tools=[tool])
    assert read.tools.custom == {"sh"}
    assert read.turns[1].calls[0].arguments == {"input": "ls"}


def test_parts() -> None:
    content = [
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "data:image/JPG;base64,QUJD"}},
        {"type": "image_url", "image_url": "https://example.org/a.png"},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,QUJD"}},
        {"type": "file", "file": {"file_id": "file-1", "filename": " a "}},
    ]
    parts = chat(messages=[{"role": "user", "content": content}]).turns[0].parts
    assert [(part.kind, part.mime, part.data) for part in parts] == [
        ("image", "image/jpeg", "QUJD"),
        ("image", "", ""),
        ("audio", "audio/mp3", "QUJD"),
        ("file", "text/plain", "QUJD"),
        ("file", "", ""),
    ]
    assert parts[1].url == "https://example.org/a.png"
    assert parts[3].decoded() == "ABC"
    assert (parts[4].id, parts[4].name) == ("file-1", "a")
    assert parts[0].where == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [USER, called("a")]}, "messages[1]"),
        ({"messages": [USER, called("a", "b"), answered("a"), USER]}, "messages[3]"),
        ({"messages": [USER, answered("a")]}, "messages[1].tool_call_id"),
        (
            {"messages": [USER, called("a"), answered("a"), answered("a")]},
            "messages[3].tool_call_id",
        ),
        (
            {"messages": [USER, called("a", function={"name": "f", "arguments": "["})]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "g"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_is_wrong_is_named(fields: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**fields).most_tokens()
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"prediction": {}}, "prediction"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages[0].content[0]",
        ),
    ],
)
def test_what_no_translation_can_do_is_refused(fields: Json, param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        chat(**fields)
    assert refused.value.param == param


def test_three_classes_of_parameters() -> None:
    read = chat(user="u", store=True, logprobs=False, seed=7, logit_bias={}, x_new=1, **{"a b": 1})
    assert tuple(read.dropped) == ("seed", "x_new")
    assert read.owner() == "u"
    able = Abilities(frozenset({"logprobs", "seed"}), NAMES, choices=2, stops=1)
    read = chat(able, logprobs=True, top_logprobs=3, seed=7, n=2, stop=["", "x"])
    assert (read.dropped, read.log_probabilities(), read.stops) == ({}, 3, ["x"])
    with pytest.raises(Unsupported, match="more than 1 stop"):
        chat(able, stop=["x", "y"])


def test_the_limit_is_of_one_answer_and_within_the_money() -> None:
    able = Abilities(frozenset(), NAMES, choices=4)
    read = chat(able, max_tokens=10, max_completion_tokens=20, n=2)
    assert (read.most_tokens(), chat().most_tokens(), chat().most_tokens(7)) == (20, None, 7)
    read.request.cap_output(30)
    assert read.most_tokens() == 15


def test_extensions_in_either_spelling() -> None:
    kinds = {"topK": int, "safetySettings": list}
    given = {"top_k": 3, "safetySettings": []}
    assert chat().extensions(given, kinds, "own") == {"topK": 3, "safetySettings": []}
    for wrong in ({"top_k": "3"}, {"other": 1}):
        with pytest.raises(InvalidRequest) as refused:
            chat().extensions(wrong, kinds, "own")
        assert refused.value.param == f"own.{next(iter(wrong))}"


def test_a_legacy_completion_is_a_chat_of_one_message() -> None:
    request = CompletionRequest.parse(b'{"model":"m","prompt":["Once"],"echo":false,"tools":[]}')
    read = Chat(request, Abilities(frozenset(), NAMES))
    assert (read.turns[0].text, read.most_tokens()) == ("Once", 16)


@pytest.mark.parametrize("cargo", ["QUJD", "QUI=", "QQ==", "a-b_c", "é", "=", "x" * 100])
def test_cargo_survives_in_an_id(cargo: str) -> None:
    loaded = with_cargo("call_1", "__m_", cargo)
    assert re.fullmatch(r"[\w-]+", loaded, re.ASCII)
    assert without_cargo(loaded, "__m_") == ("call_1", cargo)


def test_cargo_that_is_absent_too_much_or_forged() -> None:
    assert with_cargo("call_1", "__m_", "") == "call_1"
    assert with_cargo("call_1", "__m_", "x" * MOST_CHARACTERS) == "call_1"
    for forged in ("call_1", "call_1__m_", "call_1__m_zQUJD", "call_1__m_b!", "call_1__m_t_w"):
        assert without_cargo(forged, "__m_") == ("call_1", None)
    assert without_cargo("call_1__m_b" + "A" * MOST_CHARACTERS, "__m_")[1] is None


def test_schemas() -> None:
    inner = {"type": "object", "properties": {}}
    assert closed({"a": [inner]}) == {"a": [{**inner, "additionalProperties": False}]}
    strict = {"type": "object", "additionalProperties": False}
    assert compilable({**strict, "$defs": {"A": {}}, "properties": {"a": {"$ref": "#/$defs/A"}}})
    assert not compilable(inner)
    assert not compilable({**strict, "properties": {"a": {"$ref": "https://example.org"}}})
    assert not compilable({**strict, "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}})
    assert object_schema({}, "p") == {"type": "object", "properties": {}}
    with pytest.raises(InvalidRequest, match="plain object"):
        object_schema({"anyOf": []}, "p")


def test_sizes_of_images() -> None:
    assert image_size("1024x1536") == (1024, 1536)
    assert image_size("auto") is None
    assert nearest_ratio(1024, 1536, ("1:1", "3:4", "16:9")) == "3:4"
    for wrong in ("big", "0x5", "1x", "5x99999", 7, "1x2x3"):
        with pytest.raises(InvalidRequest):
            image_size(wrong)
