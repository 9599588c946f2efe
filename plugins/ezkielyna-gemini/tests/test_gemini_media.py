"""Embeddings and images, for shapes that no recording has."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from ezkielyna import (
    EmbeddingRequest,
    ImageRequest,
    InvalidRequest,
    Unsupported,
    UpstreamError,
    Usage,
)
from ezkielyna_gemini import GeminiProvider
from gemini_words import Json, document, text

PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="secret"))


def embedding(answer: Json, **fields: Any) -> Json:
    body = {"model": "m", "input": "hi"} | fields
    made = PROVIDER.exchange(EmbeddingRequest.parse(orjson.dumps(body)), "gemini-embedding-001")
    made.price = lambda usage: 5
    found: Json = orjson.loads(made.answer(200, {}, orjson.dumps(answer)))
    assert made.usage is not None
    return found | {"buckets": made.usage}


def test_embeddings_in_base64_are_of_unit_length() -> None:
    """Line 20: the official SDKs ask for base64 unless told otherwise."""
    found = embedding({"embeddings": [{"values": [3.0, 4.0]}]}, encoding_format="base64")
    packed = base64.b64decode(found["data"][0]["embedding"])
    assert struct.unpack("<2f", packed) == pytest.approx((0.6, 0.8))
    floats = embedding({"embeddings": [{"values": [3, 4]}]}, encoding_format=None)
    assert floats["data"][0]["embedding"] == pytest.approx([0.6, 0.8])
    zero = embedding({"embedding": {"values": [0.0]}})
    assert zero["data"][0]["embedding"] == [0.0]


def test_embeddings_are_counted_by_google_or_else_estimated() -> None:
    counted = embedding({"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 4}})
    assert counted["usage"] == {"prompt_tokens": 4, "total_tokens": 4, "cost": 5e-9}
    assert counted["buckets"] == Usage(input=4)
    guessed = embedding({"embeddings": [{"values": [1]}]}, input="hello")
    assert guessed["buckets"] == Usage(input=2, source="estimated")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([1, 2], Unsupported),
        ([[1], [2]], Unsupported),
        (["a"] * 101, Unsupported),
        ("", InvalidRequest),
        ([], InvalidRequest),
        (["a", ""], InvalidRequest),
    ],
)
def test_what_cannot_be_embedded(given: Any, error: type[InvalidRequest]) -> None:
    request = EmbeddingRequest.parse(orjson.dumps({"model": "m", "input": given}))
    with pytest.raises(error) as refused:
        PROVIDER.exchange(request, "m")
    assert refused.value.param == "input"


@pytest.mark.parametrize("answer", [{}, {"embeddings": []}, {"embeddings": [{"values": ["x"]}]}])
def test_embeddings_that_are_none(answer: Json) -> None:
    with pytest.raises(UpstreamError):
        embedding(answer)


def drawing(model: str, **fields: Any) -> Any:
    body = {"model": "m", "prompt": "a cat"} | fields
    return PROVIDER.exchange(ImageRequest.parse(orjson.dumps(body)), model)


def test_imagen() -> None:
    made = drawing("imagen-4.0-generate-001", n=2, size="1792x1024", quality="hd", user="u")
    assert made.request.url.endswith("/models/imagen-4.0-generate-001:predict")
    assert orjson.loads(made.request.body) == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 2, "aspectRatio": "16:9", "sampleImageSize": "2K"},
    }
    assert made.dropped == ("quality",)


def test_a_gemini_image_model() -> None:
    """Line 21: `response_format` is not handed on."""
    made = drawing("gemini-2.5-flash-image", size="1024x1536", response_format="url")
    assert orjson.loads(made.request.body) == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "3:4"},
        },
    }
    draft = {"inlineData": {"data": "draft"}, "thought": True}
    image = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    made.price = lambda usage: 7
    answer = orjson.loads(made.answer(200, {}, orjson.dumps(document(draft, image))))
    assert answer["data"] == [{"b64_json": "QUJD"}]
    assert answer["usage"] == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
        "cost": 7e-9,
    }
    assert made.usage == Usage(input=10, output=5, images=1)


def test_filtered_images() -> None:
    for body in ({"predictions": []}, {}, document(text("no"), reason="IMAGE_SAFETY")):
        with pytest.raises(UpstreamError) as refused:
            drawing("imagen-4").answer(200, {}, orjson.dumps(body))
        assert refused.value.status == 400
        assert not refused.value.retryable


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("imagen-4", {"n": 5}, "n"),
        ("gemini-2.5-flash-image", {"n": 2}, "n"),
        ("imagen-4", {"stream": True}, "stream"),
        ("imagen-4", {"size": "big"}, "size"),
        ("imagen-4", {"size": "0x5"}, "size"),
        ("imagen-4", {"response_format": "gif"}, "response_format"),
    ],
)
def test_images_that_cannot_be_drawn(model: str, fields: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        drawing(model, **fields)
    assert refused.value.param == param
