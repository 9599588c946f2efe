"""Embeddings by `batchEmbedContents`."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import orjson

from ezkielyna import (
    EmbeddingRequest,
    Headers,
    InvalidRequest,
    Unsupported,
    UpstreamError,
    Usage,
)
from ezkielyna_gemini.errors import UNREADABLE
from ezkielyna_gemini.exchange import GeminiExchange
from ezkielyna_gemini.fields import count, mapping, objects
from ezkielyna_gemini.models import path
from ezkielyna_gemini.usage import priced

MOST_INPUTS = 100
_BYTES_A_TOKEN = 4


def texts(request: EmbeddingRequest) -> list[str]:
    """Return the inputs; raises InvalidRequest or Unsupported for what is no text."""
    given = [request.input] if isinstance(request.input, str) else request.input
    found = [item for item in given if isinstance(item, str)]
    if len(found) < len(given):
        raise Unsupported("Gemini embeds text, not token ids.", param="input")
    if not found or not all(found):
        raise InvalidRequest("An input is empty.", param="input")
    if len(found) > MOST_INPUTS:
        raise Unsupported(f"Gemini embeds at most {MOST_INPUTS} inputs at once.", param="input")
    return found


def body(request: EmbeddingRequest, model: str) -> dict[str, Any]:
    """Return the body of the batch; Google wants the model in each of its requests."""
    each: dict[str, Any] = {"model": path(model)}
    if request.dimensions is not None:
        each["outputDimensionality"] = request.dimensions
    return {
        "requests": [{**each, "content": {"parts": [{"text": text}]}} for text in texts(request)]
    }


class EmbeddingExchange(GeminiExchange):
    """One batch of embeddings, in the order of the inputs, each of unit length."""

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return OpenAI's list, as floats or as base64 of little-endian float32."""
        assert isinstance(self._asked, EmbeddingRequest)
        document = self._read(body)
        found = objects(document.get("embeddings")) or [mapping(document.get("embedding"))]
        inputs = texts(self._asked)
        if len(found) != len(inputs):
            raise UpstreamError("The upstream sent another number of embeddings.")
        packed = self._asked.encoding_format == "base64"
        data = []
        for index, item in enumerate(found):
            vector = _unit(item.get("values"))
            value = _packed(vector) if packed else vector
            data.append({"object": "embedding", "index": index, "embedding": value})
        self.usage = _usage(mapping(document.get("usageMetadata")), inputs)
        usage = {"prompt_tokens": self.usage.input, "total_tokens": self.usage.input}
        priced(self, usage)
        return orjson.dumps({"object": "list", "data": data, "model": self._model, "usage": usage})


def _usage(metadata: dict[str, Any], inputs: list[str]) -> Usage:
    """Return what Google counted; most of its models do not say, then the size decides."""
    counted = count(metadata.get("promptTokenCount"))
    if counted:
        return Usage(input=counted)
    return Usage(
        input=sum(-(-len(text.encode()) // _BYTES_A_TOKEN) for text in inputs), source="estimated"
    )


def _unit(values: Any) -> list[float]:
    """Return the vector with length 1, as OpenAI's have; shortened ones of Google's do not."""
    try:
        vector = list(map(float, values))
    except (TypeError, ValueError):
        raise UpstreamError(UNREADABLE) from None
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
