"""Images: Imagen by `predict`, Gemini's image models by `generateContent`."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna import Headers, ImageRequest, InvalidRequest, Unsupported, UpstreamError, Usage
from ezkielyna_gemini.exchange import GeminiExchange
from ezkielyna_gemini.fields import count, expect, mapping, objects
from ezkielyna_gemini.usage import priced, usage_of

MOST_IMAGES = 4
_RATIOS = {"1:1": 1.0, "3:4": 3 / 4, "4:3": 4 / 3, "9:16": 9 / 16, "16:9": 16 / 9}
_LARGE = 1536
_READ = frozenset({"model", "prompt", "n", "size", "response_format", "stream", "user"})
_FORMATS = ("b64_json", "url")
_BLOCKED = "The upstream's content policy blocked the prompt or every image."


def translated(request: ImageRequest, model: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return the method, the body, and the names of the fields that Google is not told.

    Raises InvalidRequest or Unsupported naming the field.
    """
    fields = request.fields()
    wanted = fields.get("response_format", "b64_json")
    if wanted not in _FORMATS:
        raise InvalidRequest("It is 'b64_json'.", param="response_format")
    lost = tuple(sorted(name for name in fields.keys() - _READ if name.isidentifier()))
    ratio, large = _shape(fields.get("size"))
    if "imagen" in model:
        if request.choices() > MOST_IMAGES:
            raise Unsupported(f"Imagen draws at most {MOST_IMAGES} images at once.", param="n")
        parameters: dict[str, Any] = {"sampleCount": request.choices()}
        if ratio:
            parameters |= {"aspectRatio": ratio, "sampleImageSize": "2K" if large else "1K"}
        body = {"instances": [{"prompt": request.prompt}], "parameters": parameters}
        return "predict", body, lost
    if request.choices() > 1:
        raise Unsupported("Gemini draws one image at once.", param="n")
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    if ratio:
        config["imageConfig"] = {"aspectRatio": ratio}
    content = {"role": "user", "parts": [{"text": request.prompt}]}
    return "generateContent", {"contents": [content], "generationConfig": config}, lost


def _shape(size: Any) -> tuple[str | None, bool]:
    """Return the ratio next to a size such as `1024x1536`, and whether the size is large."""
    if size in (None, "auto"):
        return None, False
    width, cross, height = expect(size, str, "size").partition("x")
    try:
        sides = int(width), int(height)
    except ValueError:
        sides = (0, 0)
    if not cross or min(sides) <= 0 or max(sides) > 16_384:
        raise InvalidRequest("A size looks like '1024x1024', or is 'auto'.", param="size")
    proportion = sides[0] / sides[1]
    nearest = min(_RATIOS, key=lambda name: abs(_RATIOS[name] / proportion - 1))
    return nearest, max(sides) > _LARGE


class ImageExchange(GeminiExchange):
    """One request for images, always answered as base64."""

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the images; raises UpstreamError, a 400, where all of them were filtered."""
        document = self._read(body)
        drawn = _predicted(document) + _generated(document)
        if not drawn:
            raise UpstreamError.refused(_BLOCKED, param="prompt")
        metadata = mapping(document.get("usageMetadata"))
        self.usage = usage_of(metadata, len(drawn)) if metadata else Usage(images=len(drawn))
        made: dict[str, Any] = {"created": self.created, "data": drawn}
        if metadata:
            made["usage"] = self._tokens(metadata, self.usage)
        return orjson.dumps(made)

    def _tokens(self, metadata: dict[str, Any], usage: Usage) -> dict[str, Any]:
        """Return the usage of the images endpoint, which has names of its own."""
        details = objects(metadata.get("promptTokensDetails"))
        pictures = sum(
            count(item.get("tokenCount")) for item in details if item.get("modality") == "IMAGE"
        )
        pictures = min(pictures, usage.input_total)
        shown: dict[str, Any] = {
            "input_tokens": usage.input_total,
            "output_tokens": usage.output_total,
            "total_tokens": usage.total,
            "input_tokens_details": {
                "text_tokens": usage.input_total - pictures,
                "image_tokens": pictures,
            },
        }
        priced(self, shown)
        return shown


def _predicted(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return Imagen's images; filtered ones are missing or have only a reason."""
    predictions = objects(document.get("predictions"))
    return [
        {"b64_json": item["bytesBase64Encoded"]}
        for item in predictions
        if isinstance(item.get("bytesBase64Encoded"), str)
    ]


def _generated(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return Gemini's images without the drafts among its thoughts."""
    return [
        {"b64_json": part["inlineData"]["data"]}
        for candidate in objects(document.get("candidates"))
        for part in objects(mapping(candidate.get("content")).get("parts"))
        if not part.get("thought") and isinstance(mapping(part.get("inlineData")).get("data"), str)
    ]
