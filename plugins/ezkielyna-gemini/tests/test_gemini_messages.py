"""What of a chat reaches Gemini: messages, tools, settings; what is dropped, what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, CompletionRequest, InvalidRequest, Unsupported
from ezkielyna_gemini import GeminiProvider
from ezkielyna_gemini.signatures import DUMMY, carrier, opened

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="secret"))


def exchange(model: str = "gemini-2.5-flash", **fields: Any) -> Any:
    body = {"model": "m", "messages": [USER]} | fields
    return PROVIDER.exchange(ChatRequest.parse(orjson.dumps(body)), model)


def sent(model: str = "gemini-2.5-flash", **fields: Any) -> Json:
    document: Json = orjson.loads(exchange(model, **fields).request.body)
    return document


def contents(*messages: Json, model: str = "gemini-2.5-flash") -> list[Json]:
    found: list[Json] = sent(model, messages=list(messages))["contents"]
    return found


def called(*ids: str, name: str = "f", arguments: str = '{"a":1}', **more: Any) -> Json:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": each, "type": "function", "function": function} | more for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(identifier: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def tool(name: str = "f", **more: Any) -> Json:
    return {"type": "function", "function": {"name": name, **more}}


def test_address_and_key() -> None:
    request = exchange("models/gemini-2.5-pro").request
    base = "https://generativelanguage.googleapis.com/v1beta"
    assert request.url == f"{base}/models/gemini-2.5-pro:generateContent"
    assert request.headers["x-goog-api-key"] == "secret"
    assert "secret" not in request.url
    assert exchange(stream=True).request.url.endswith(":streamGenerateContent?alt=sse")


def test_system_and_developer_texts_become_the_system_instruction() -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        ]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]


def test_a_request_with_only_system_text_gets_a_user_content() -> None:
    assert contents({"role": "system", "content": "a"})[0]["role"] == "user"


def test_neighbours_of_one_role_are_merged_and_empty_texts_left_out() -> None:
    found = contents(USER, {"role": "user", "content": ""}, USER)
    assert found == [{"role": "user", "parts": [{"text": "hi"}, {"text": "hi"}]}]
    empty = {"type": "text", "text": ""}
    assert contents({"role": "user", "content": [empty, {"type": "text", "text": "x"}]}) == [
        {"role": "user", "parts": [{"text": "x"}]}
    ]


def test_media() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://www.youtube.com/watch?v=1"}},
    ]
    assert contents({"role": "user", "content": parts})[0]["parts"] == [
        {"inlineData": {"mimeType": "image/jpeg", "data": "QUJD"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
    ]


def test_another_address_is_refused_with_what_to_do() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    with pytest.raises(Unsupported, match="data URL") as refused:
        contents({"role": "user", "content": [part]})
    assert refused.value.param == "messages[0].content[0].image_url.url"


def test_all_results_of_a_turn_are_one_content_in_the_order_of_the_calls() -> None:
    """Section 9, line 17."""
    found = contents(
        USER, called("a", "b"), result("b", '{"x":1}'), result("a", "plain"), {**USER, "name": "n"}
    )
    assert [content["role"] for content in found] == ["user", "model", "user"]
    assert found[2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "plain"}}},
        {"functionResponse": {"name": "f", "response": {"x": 1}}},
        {"text": "hi"},
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Section 9, line 7."""
    found = contents(USER, called("a", arguments=""), result("a"))
    assert found[1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]


@pytest.mark.parametrize("arguments", ["{", "[]", "1"])
def test_broken_arguments_are_named(arguments: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        contents(USER, called("a", arguments=arguments), result("a"))
    assert refused.value.param == "messages[1].tool_calls[0].function.arguments"


def test_calls_and_results_must_match() -> None:
    with pytest.raises(InvalidRequest, match="has no result"):
        contents(USER, called("a", "b"), result("a"), USER)
    with pytest.raises(InvalidRequest, match="answers no call"):
        contents(USER, called("a"), result("b"))
    with pytest.raises(InvalidRequest, match="answers no call"):
        contents(USER, result("b"))


def test_images_in_results() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    data = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    messages = (USER, called("a"), result("a", [{"type": "text", "text": "see"}, image]))
    third = contents(*messages, model="gemini-3-flash-preview")[2]["parts"]
    assert third[0]["functionResponse"]["parts"] == [data]
    second = contents(*messages)[2]["parts"]
    assert second[1] == data
    assert "parts" not in second[0]["functionResponse"]


def test_ids_go_back_only_where_gemini_gave_them() -> None:
    found = contents(USER, called("abc__gemg", "call_1"), result("abc__gemg"), result("call_1"))
    assert found[1]["parts"][0]["functionCall"]["id"] == "abc"
    assert found[2]["parts"][0]["functionResponse"]["id"] == "abc"
    assert "id" not in found[1]["parts"][1]["functionCall"]
    assert "id" not in found[2]["parts"][1]["functionResponse"]


@pytest.mark.parametrize(
    "signature", ["CuwBAb4+9v/ZI+lr", "QUI=", "QQ==", "signature_REDACTED_1", "a-b_c", "é", "="]
)
@pytest.mark.parametrize("own", [True, False])
def test_a_signature_survives_in_the_id_alone(signature: str, own: bool) -> None:
    """Section 9, line 10."""
    identifier = carrier("call_1", own=own, signature=signature)
    assert identifier.isascii()
    assert identifier.replace("_", "").replace("-", "").isalnum()
    found = contents(USER, called(identifier, "other"), result(identifier), result("other"))
    first, second = found[1]["parts"]
    assert first["thoughtSignature"] == signature
    assert "thoughtSignature" not in second
    assert first["functionCall"].get("id") == ("call_1" if own else None)


def test_ids_of_others_carry_nothing() -> None:
    for identifier in ("call_abc", "", "toolu_01", "functions.f:0", "x__gem", "__gemz_b1"):
        assert opened(identifier).own is None
        assert opened(identifier).signature is None


def test_a_field_of_the_call_wins_over_its_id() -> None:
    extra = {"google": {"thought_signature": "kept"}}
    found = contents(USER, called("a", extra_content=extra), result("a"))
    assert found[1]["parts"][0]["thoughtSignature"] == "kept"


def test_foreign_history_gets_the_documented_dummy_where_signatures_are_checked() -> None:
    messages = (USER, called("a", "b"), result("a"), result("b"), called("c"), result("c"))
    found = contents(*messages, model="gemini-3-pro-preview")
    assert [part.get("thoughtSignature") for part in found[1]["parts"]] == [DUMMY, None]
    assert found[3]["parts"][0]["thoughtSignature"] == DUMMY
    assert "thoughtSignature" not in contents(*messages)[1]["parts"][0]


def test_a_history_does_not_begin_with_a_call() -> None:
    assert contents(called("a"), result("a"))[0] == {"role": "user", "parts": [{"text": " "}]}


def test_thoughts_never_go_back() -> None:
    said = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    assert contents(USER, said, USER)[1]["parts"] == [{"text": "4"}]


def test_schemas_are_real_json_schema() -> None:
    """Section 9, line 13: never in `parameters`, which refuses half of the keywords."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"const": 1}},
        "additionalProperties": False,
    }
    (declared,) = sent(tools=[tool(parameters=schema)])["tools"][0]["functionDeclarations"]
    assert declared == {"name": "f", "parametersJsonSchema": schema}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert sent(response_format=form)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


def test_a_function_without_parameters_has_no_schema() -> None:
    for schema in (None, {}, {"type": "object", "properties": {}, "additionalProperties": False}):
        (declared,) = sent(tools=[tool(parameters=schema)])["tools"][0]["functionDeclarations"]
        assert declared == {"name": "f"}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (tool(), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool()]}},
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ),
    ],
)
def test_tool_choice(choice: Any, config: Json | None) -> None:
    """Section 9, line 16: `none` stays none, and the tools stay for the history."""
    body = sent(tools=[tool(), tool("g")], tool_choice=choice)
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})
    assert len(body["tools"][0]["functionDeclarations"]) == 2


def test_strict_tools_are_validated() -> None:
    body = sent(tools=[tool(strict=True), tool("g", strict=True)])
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert "toolConfig" not in sent(tools=[tool(strict=True), tool("g")])


def test_deprecated_functions() -> None:
    body = sent(
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "ok"},
        ],
        functions=[{"name": "f", "description": "d"}],
        function_call={"name": "f"},
    )
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "description": "d"}]}]
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["f"]
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "f"


def test_sampling() -> None:
    config = sent(
        max_completion_tokens=10, max_tokens=7, temperature=0.5, top_p=0.1, n=2, stop="x",
        presence_penalty=1, frequency_penalty=-1, seed=2**40 + 5, top_k=3,
        logprobs=True, top_logprobs=2,
    )["generationConfig"]  # fmt: skip
    assert config == {
        "maxOutputTokens": 10, "temperature": 0.5, "topP": 0.1, "candidateCount": 2,
        "stopSequences": ["x"], "presencePenalty": 1, "frequencyPenalty": -1, "seed": 5,
        "topK": 3, "responseLogprobs": True, "logprobs": 2,
    }  # fmt: skip


def test_no_limit_is_invented() -> None:
    """Section 9, line 15."""
    assert "maxOutputTokens" not in sent()["generationConfig"]


def test_the_money_bounds_the_output() -> None:
    request = ChatRequest.parse(orjson.dumps({"model": "m", "messages": [USER], "n": 2}))
    request.cap_output(101)
    asked = orjson.loads(PROVIDER.exchange(request, "gemini-2.5-flash").request.body)
    assert asked["generationConfig"]["maxOutputTokens"] == 50


def test_explicit_nulls_are_absent() -> None:
    names = ("stop", "tools", "seed", "response_format", "reasoning_effort", "logprobs", "audio")
    assert sent(**dict.fromkeys(names)) == sent()


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_reasoning_effort(model: str, effort: str, config: Json | None) -> None:
    made = exchange(model, reasoning_effort=effort)
    assert orjson.loads(made.request.body)["generationConfig"].get("thinkingConfig") == config
    assert made.dropped == (() if config else ("reasoning_effort",))


def test_an_operator_can_change_the_table() -> None:
    settings = GeminiProvider.Settings(
        efforts={"gemini-3": {"low": "LOW"}, "gemini-3-x": {"low": "MEDIUM"}}, show_thoughts=False
    )
    body = {"model": "m", "messages": [USER], "reasoning_effort": "low"}
    request = ChatRequest.parse(orjson.dumps(body))
    made = GeminiProvider("lab", settings).exchange(request, "gemini-3-x-preview")
    config = orjson.loads(made.request.body)["generationConfig"]
    assert config == {"thinkingConfig": {"thinkingLevel": "MEDIUM"}}


def test_gemini_s_own_settings() -> None:
    google = {"safety_settings": [{"category": "c", "threshold": "t"}], "topK": 4}
    for fields in ({"google": google}, {"extra_body": {"google": google}}):
        body = sent(**fields)
        assert body["safetySettings"] == google["safety_settings"]
        assert body["generationConfig"] == {"topK": 4}
    with pytest.raises(InvalidRequest) as refused:
        sent(google={"tools": [{"google_search": {}}]})
    assert refused.value.param == "google.tools[0].google_search"


def test_google_s_own_tools_where_the_operator_offers_them() -> None:
    settings = GeminiProvider.Settings(google_tools=("googleSearch",))
    provider = GeminiProvider("lab", settings)
    body: Json = {"model": "m", "messages": [USER], "google": {"tools": [{"google_search": {}}]}}
    made = provider.exchange(ChatRequest.parse(orjson.dumps(body)), "gemini-2.5-flash")
    assert orjson.loads(made.request.body)["tools"] == [{"googleSearch": {}}]
    made = provider.exchange(ChatRequest.parse(orjson.dumps(body | {"tools": [tool()]})), "g")
    declared = {"functionDeclarations": [{"name": "f"}]}
    assert orjson.loads(made.request.body)["tools"] == [declared, {"googleSearch": {}}]
    body["google"] = {"tools": [{"codeExecution": {}}]}
    with pytest.raises(InvalidRequest, match="expected one of: googleSearch"):
        provider.exchange(ChatRequest.parse(orjson.dumps(body)), "g")


def test_images_out_and_the_tier() -> None:
    body = sent(modalities=["text", "image"], service_tier="default")
    assert body["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}
    assert body["serviceTier"] == "standard"


def test_hints_are_dropped_silently_and_the_rest_by_name() -> None:
    hints = {"user": "u", "metadata": {"a": "b"}, "store": True, "verbosity": "low"}
    made = exchange(**hints, logit_bias={"1": 2}, repetition_penalty=1, **{"bad\r\nname": 1})
    assert made.dropped == ("logit_bias", "repetition_penalty")
    assert orjson.loads(made.request.body) == sent()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 9),
        ("audio", {"voice": "x", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {}),
        ("stop", list("abcdef")),
    ],
)
def test_what_gemini_cannot_do_is_refused(field: str, value: Any) -> None:
    with pytest.raises(Unsupported) as refused:
        sent(**{field: value})
    assert refused.value.param == field
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool("1f")]}, "tools[0].function.name"),
        ({"tools": [tool()], "tool_choice": tool("g")}, "tool_choice"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_what_is_wrong_is_named(fields: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(**fields)
    assert refused.value.param == param


def test_arguments_nested_too_deep_are_the_client_s_fault() -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    with pytest.raises(InvalidRequest, match="deep"):
        contents(USER, called("a", arguments=deep), result("a"))


def completion(**fields: Any) -> Json:
    request = CompletionRequest.parse(orjson.dumps({"model": "m", "prompt": "Once"} | fields))
    document: Json = orjson.loads(PROVIDER.exchange(request, "gemini-2.5-flash").request.body)
    return document


def test_a_legacy_completion_is_a_chat_of_one_message() -> None:
    body = completion(prompt=["Once"], n=2, stop=["x"], echo=False)
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Once"}]}]
    assert body["generationConfig"] == {
        "candidateCount": 2, "maxOutputTokens": 16, "stopSequences": ["x"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ["a", "b"]),
        ("prompt", [1, 2]),
        ("suffix", "x"),
        ("echo", True),
        ("logprobs", 0),
        ("best_of", 2),
    ],
)
def test_what_a_legacy_completion_cannot_have(field: str, value: Any) -> None:
    with pytest.raises(Unsupported) as refused:
        completion(**{field: value})
    assert refused.value.param == field
