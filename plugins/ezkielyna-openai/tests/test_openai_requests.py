"""What is sent to the upstream: the client's bytes, and nothing else than has to change."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from ezkielyna import ChatRequest
from ezkielyna.contract.requests import LARGE_BODY
from ezkielyna.testing.large import MOST_SIZES, sizes_held
from ezkielyna_openai import PRESETS, OpenAIExchange, OpenAIProvider, register_providers

ODD = (
    b'{ "model":"m","messages":[{"role":"user","content":null}], '
    b'"temperature":1.0E-1,"new":{"x":-0.0}}'
)


def sent(exchange: Any) -> dict[str, Any]:
    document = orjson.loads(exchange.request.body)
    assert isinstance(document, dict)
    return document


def test_bytes_pass_untouched(make: Any) -> None:
    assert make(ODD).request.body == ODD


def test_a_stream_is_asked_for_usage_and_stays_untouched_otherwise(make: Any) -> None:
    raw = ODD.replace(b'"new"', b'"stream":true,"new"')
    body = make(raw).request.body
    assert body == b'{"stream_options":{"include_usage":true},' + raw[1:]
    asked = raw.replace(b'"new"', b'"stream_options":{"include_usage":true},"new"')
    assert make(asked).request.body == asked
    declined = raw.replace(b'"new"', b'"stream_options":{"include_usage":false,"y":1},"new"')
    assert sent(make(declined))["stream_options"] == {"include_usage": True, "y": 1}


def test_the_upstreams_name_of_the_model(make: Any) -> None:
    body = sent(make(ODD, model="other"))
    assert body == {**orjson.loads(ODD), "model": "other"}


def test_a_large_image_is_copied_twice() -> None:
    provider = OpenAIProvider("x", OpenAIProvider.Settings(base_url="http://127.0.0.1:1/v1"))
    assert sizes_held(provider) <= MOST_SIZES


@pytest.mark.parametrize("size", [1, LARGE_BODY])
def test_large_bodies_are_changed_as_small_ones(size: int, make: Any) -> None:
    messages = [{"role": "user", "content": 'The "model":' + "x" * size}]
    asked = {"messages": messages, "stream": True, "stream_options": {"own": 1}, "user": "u"}
    asked |= {"max_completion_tokens": 70, "seed": None, "model": "m"}
    body = sent(make(asked, model="other", preset="mistral", cap=9))
    assert body == {"messages": messages, "stream": True, "model": "other", "max_tokens": 9}
    body = sent(make(asked, preset="vllm"))
    options = {"own": 1, "include_usage": True}
    del asked["seed"]
    assert body == {**asked, "stream_options": options}
    del asked["stream_options"]
    body = sent(make(asked))
    assert body == {**asked, "stream_options": {"include_usage": True}}


def test_explicit_nulls_are_dropped(make: Any) -> None:
    body = {"temperature": None, "stop": None, "mystery": None, "kept": {"inner": None}}
    found = sent(make(body))
    assert not {"temperature", "stop", "mystery"} & found.keys()
    assert found["kept"] == {"inner": None}


@pytest.mark.parametrize(
    ("fields", "cap", "expected"),
    [
        ({}, 100, {"max_completion_tokens": 100}),
        ({"max_tokens": 500}, 100, {"max_tokens": 100}),
        ({"max_tokens": 50}, 100, {"max_tokens": 50}),
        ({"max_completion_tokens": 500}, 100, {"max_completion_tokens": 100}),
        ({"n": 4}, 100, {"n": 4, "max_completion_tokens": 25}),
        ({"n": 4}, 2, {"n": 4, "max_completion_tokens": 1}),
    ],
)
def test_the_output_cap(
    fields: dict[str, Any], cap: int, expected: dict[str, Any], make: Any
) -> None:
    body = sent(make(fields, cap=cap))
    del body["model"], body["messages"]
    assert body == expected


def test_the_output_cap_in_other_dialects(make: Any) -> None:
    assert sent(make({}, cap=9, preset="together"))["max_tokens"] == 9
    assert sent(make({}, cap=9, max_tokens_field="limit"))["limit"] == 9
    assert sent(make({}, endpoint="completions", cap=9))["max_tokens"] == 9
    assert "max_tokens" not in sent(make({}, endpoint="embeddings", cap=9))
    renamed = sent(make({"max_completion_tokens": 7}, preset="mistral"))
    assert renamed["max_tokens"] == 7
    assert "max_completion_tokens" not in renamed


def test_fields_that_a_server_does_not_take(make: Any) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "user": "u", "seed": 1}
    body = sent(make(asked, preset="mistral"))
    assert not {"stream_options", "user"} & body.keys()
    assert body["seed"] == 1
    assert "seed" not in sent(make(asked, drop_fields=["seed"]))
    assert "stream_options" not in sent(make({"stream": True}, usage_in_stream=False))


def test_images_of_gpt_image_take_no_response_format(make: Any) -> None:
    body = {"response_format": "b64_json", "model": "gpt-image-1"}
    assert "response_format" not in sent(make(body, endpoint="images.generations"))
    body = {"response_format": "url", "model": "dall-e-3"}
    assert sent(make(body, endpoint="images.generations"))["response_format"] == "url"


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("chat.completions", "/chat/completions"),
        ("completions", "/completions"),
        ("embeddings", "/embeddings"),
        ("images.generations", "/images/generations"),
    ],
)
def test_addresses_and_headers(endpoint: str, path: str, make: Any) -> None:
    request = make({}, endpoint=endpoint, api_key="sk-1", headers={"X-Own": "1"}).request
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1" + path)
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-own"] == "1"
    assert "authorization" not in make({}, endpoint=endpoint).request.headers


def test_azures_address_and_key(make: Any) -> None:
    settings = {"preset": "azure", "base_url": "https://me.openai.azure.com/", "api_key": "k"}
    request = make({}, model="my gpt", **settings, api_version="2026-01-01").request
    assert request.url == (
        "https://me.openai.azure.com/openai/deployments/my%20gpt/chat/completions"
        "?api-version=2026-01-01"
    )
    assert request.headers["api-key"] == "k"
    assert "authorization" not in request.headers


def test_an_unknown_preset_or_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be one of azure"):
        OpenAIProvider.Settings(preset="nobody")
    with pytest.raises(ValidationError):
        OpenAIProvider.Settings.model_validate({"pressed": "openai"})


def test_every_preset_but_the_nameless_has_a_kind() -> None:
    kinds = {kind.kind: kind for kind in register_providers()}
    assert kinds.keys() == PRESETS.keys() - {"compatible"}
    for name, kind in kinds.items():
        provider = kind(name, kind.Settings())
        assert isinstance(provider, OpenAIProvider)
        assert provider.preset == PRESETS[name]


def test_a_server_of_which_only_the_address_is_known() -> None:
    provider = OpenAIProvider("x", OpenAIProvider.Settings(base_url="http://127.0.0.1:1/v1"))
    assert provider.preset == PRESETS["compatible"]
    assert provider.url("embeddings", "m") == "http://127.0.0.1:1/v1/embeddings"


def test_a_new_kind_is_ten_lines() -> None:
    class Shouting(OpenAIExchange):
        def answer(self, status: int, headers: Any, body: bytes) -> bytes:
            return super().answer(status, headers, body).upper()

    class ShoutingProvider(OpenAIProvider):
        kind = "shouting"
        preset_name = "vllm"
        exchange_class = Shouting

    provider = ShoutingProvider("s", ShoutingProvider.Settings(base_url="http://x/v1"))
    exchange = provider.exchange(ChatRequest.parse(ODD), "m")
    assert exchange.answer(200, {}, b'{"choices":[]}') == b'{"CHOICES":[]}'
