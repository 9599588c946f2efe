"""Embeddings by `batchEmbedContents`."""

from __future__ import annotations

from typing import Any

from ezkielyna import EmbeddingRequest
from ezkielyna.dialect import EmbeddingExchange, Json, count, mapping, objects, texts_of
from ezkielyna_gemini import errors
from ezkielyna_gemini.models import path

MOST_INPUTS = 100


def body(request: EmbeddingRequest, model: str) -> Json:
    """Return the body of the batch; Google wants the model in each of its requests."""
    each: Json = {"model": path(model)}
    if request.dimensions is not None:
        each["outputDimensionality"] = request.dimensions
    inputs = texts_of(request, MOST_INPUTS)
    return {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in inputs]}


class GeminiEmbeddings(EmbeddingExchange):
    """One batch of embeddings. Most models of Google's do not count tokens."""

    explained = staticmethod(errors.explained)

    def vectors(self, document: Json) -> tuple[list[Any], int]:
        """Return the vectors and the tokens of the prompt."""
        found = objects(document.get("embeddings")) or [mapping(document.get("embedding"))]
        counted = count(mapping(document.get("usageMetadata")).get("promptTokenCount"))
        return [item.get("values") for item in found], counted
