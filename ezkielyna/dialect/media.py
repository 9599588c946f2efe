"""Embeddings and images: their requests read, their answers in OpenAI's words."""

from __future__ import annotations

import base64
import math
import struct
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from ezkielyna.contract.errors import InvalidRequest, UpstreamError
from ezkielyna.contract.money import Nano, usd_json
from ezkielyna.contract.provider import UpstreamRequest
from ezkielyna.contract.requests import EmbeddingRequest
from ezkielyna.contract.usage import Usage
from ezkielyna.dialect.exchange import PlainExchange
from ezkielyna.dialect.reading import Json, invalid, text, unsupported

MOST_PIXELS = 16_384
"""The longest side of an image."""

_BYTES_PER_TOKEN = 4
_BLOCKED = "The upstream's content policy blocked the prompt or every image."


def texts_of(request: EmbeddingRequest, most: int) -> list[str]:
    """Return the inputs of embeddings.

    Raises InvalidRequest for empty ones, Unsupported for token ids and for more than the upstream
    takes at once.
    """
    given = [request.input] if isinstance(request.input, str) else request.input
    texts = [item for item in given if isinstance(item, str)]
    if len(texts) < len(given):
        raise unsupported("input", "token ids; it embeds text")
    if not texts or not all(texts):
        raise InvalidRequest("An input is empty.", param="input")
    if len(texts) > most:
        raise unsupported("input", f"more than {most} inputs at once")
    return texts


class EmbeddingExchange(PlainExchange):
    """One request for embeddings: vectors of unit length, in the order of the inputs.

    They are numbers, or base64 of little-endian float32 where the client asked for that. A subclass
    writes `vectors` and `explained`.
    """

    def __init__(self, request: UpstreamRequest, asked: EmbeddingRequest, model: str) -> None:
        super().__init__(request)
        self._asked = asked
        self._model = model

    @abstractmethod
    def vectors(self, document: Json) -> tuple[list[Any], int]:
        """Return the vectors and how many tokens the upstream counted, 0 where it does not.

        It may raise as `translated` does.
        """

    def translated(self, document: Json) -> bytes:
        """Return OpenAI's list; the size decides where the upstream counts nothing."""
        given = self._asked.input
        inputs = [given] if isinstance(given, str) else [str(item) for item in given]
        vectors, counted = self.vectors(document)
        if len(vectors) != len(inputs):
            raise UpstreamError("The upstream sent another number of embeddings.")
        usage = self.usage = Usage(input=counted) if counted else _estimated(inputs)
        data = []
        for index, values in enumerate(vectors):
            vector = _unit(values)
            shown = _packed(vector) if self._asked.encoding_format == "base64" else vector
            data.append({"object": "embedding", "index": index, "embedding": shown})
        told: Json = {"prompt_tokens": usage.input, "total_tokens": usage.input}
        told |= _cost(usage, self.price)
        return orjson.dumps({"object": "list", "data": data, "model": self._model, "usage": told})


def image_size(size: Any) -> tuple[int, int] | None:
    """Return width and height of a `size` such as `1024x1536`; None where any will do."""
    if size in (None, "auto"):
        return None
    width, _, height = text(size, "size").partition("x")
    if not (width.isdecimal() and height.isdecimal()) or len(width + height) > 10:
        raise invalid("size", "expected one like '1024x1024', or 'auto'")
    sides = int(width), int(height)
    if not 0 < min(sides) <= max(sides) <= MOST_PIXELS:
        raise invalid("size", f"expected sides from 1 to {MOST_PIXELS}")
    return sides


def nearest_ratio(width: int, height: int, ratios: Iterable[str]) -> str:
    """Return the one of some ratios, such as `16:9`, that is next to a size."""
    parts = {ratio: ratio.split(":") for ratio in ratios}
    sizes = {ratio: int(wide) / int(high) for ratio, (wide, high) in parts.items()}
    return min(sizes, key=lambda ratio: abs(sizes[ratio] * height / width - 1))


class ImageExchange(PlainExchange):
    """One request for images, always answered as base64.

    A subclass writes `drawn` and `explained`.
    """

    @abstractmethod
    def drawn(self, document: Json) -> tuple[list[str], Usage, int]:
        """Return the images in base64, the usage, and how many input tokens are those of images.

        No image means that all were filtered. It may raise as `translated` does.
        """

    def translated(self, document: Json) -> bytes:
        """Return OpenAI's list; raises UpstreamError, a 400, where all images were filtered."""
        drawn, usage, pictures = self.drawn(document)
        if not drawn:
            raise UpstreamError.refused(_BLOCKED, param="prompt")
        self.usage = usage
        pictures = min(pictures, usage.input_total)
        told: Json = {
            "input_tokens": usage.input_total,
            "output_tokens": usage.output_total,
            "total_tokens": usage.total,
            "input_tokens_details": {
                "text_tokens": usage.input_total - pictures,
                "image_tokens": pictures,
            },
        }
        told |= _cost(usage, self.price)
        data = [{"b64_json": image} for image in drawn]
        return orjson.dumps({"created": self.created, "data": data, "usage": told})


def _cost(usage: Usage, price: Callable[[Usage], Nano] | None) -> Json:
    return {} if price is None else {"cost": usd_json(price(usage))}


def _estimated(texts: Iterable[str]) -> Usage:
    """Return about what an upstream that does not count tokens was sent."""
    tokens = sum(-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts)
    return Usage(input=tokens, source="estimated")


def _unit(values: Any) -> list[float]:
    """Return the vector with length 1, as OpenAI's have; shortened ones of others do not."""
    vector = list(map(float, values))
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
