"""Tools, sampling, formats and the rest of a request that is no message; and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, InvalidRequest, Unsupported
from ezkielyna.testing.asking import USER, called, result, tool
from ezkielyna_gemini import GeminiProvider
from gemini_words import Json, contents, exchange, sent


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
    provider = GeminiProvider("lab", GeminiProvider.Settings(api_key="secret"))
    asked = orjson.loads(provider.exchange(request, "gemini-2.5-flash").request.body)
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
    efforts = {"gemini-3": {"low": "LOW"}, "gemini-3-x": {"low": "MEDIUM"}}
    settings = {"efforts": efforts, "show_thoughts": False}
    config = sent("gemini-3-x-preview", settings, reasoning_effort="low")["generationConfig"]
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
    offered = {"google_tools": ("googleSearch",)}
    google = {"tools": [{"google_search": {}}]}
    assert sent(None, offered, google=google)["tools"] == [{"googleSearch": {}}]
    declared = {"functionDeclarations": [{"name": "f"}]}
    both = sent("g", offered, google=google, tools=[tool()])["tools"]
    assert both == [declared, {"googleSearch": {}}]
    with pytest.raises(InvalidRequest, match="expected one of: googleSearch"):
        sent("g", offered, google={"tools": [{"codeExecution": {}}]})


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


def test_a_legacy_completion_is_a_chat_of_one_message() -> None:
    body = sent(prompt=["Once"], n=2, stop=["x"], echo=False)
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
        sent(**{"prompt": "Once", field: value})
    assert refused.value.param == field
