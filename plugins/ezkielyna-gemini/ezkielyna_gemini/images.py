"""Images: Imagen by `predict`, Gemini's image models by `generateContent`."""

from __future__ import annotations

from ezkielyna import ImageRequest, Usage
from ezkielyna.dialect import (
    ImageExchange,
    Json,
    image_size,
    invalid,
    mapping,
    nearest_ratio,
    objects,
    unsupported,
    word,
)
from ezkielyna_gemini import errors
from ezkielyna_gemini.usage import spent, usage_of

MOST_IMAGES = 4
_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
_LARGE = 1536
_READ = frozenset({"model", "prompt", "n", "size", "response_format", "stream", "user"})


def translated(request: ImageRequest, model: str) -> tuple[str, Json, tuple[str, ...]]:
    """Return the method, the body, and the names of the fields that Google is not told.

    Raises InvalidRequest or Unsupported naming the field.
    """
    fields = request.fields()
    if fields.get("response_format", "b64_json") not in ("b64_json", "url"):
        raise invalid("response_format", "expected 'b64_json'")
    lost = tuple(sorted(name for name in fields.keys() - _READ if name.isidentifier()))
    size = image_size(fields.get("size"))
    ratio = {"aspectRatio": nearest_ratio(*size, _RATIOS)} if size else {}
    if "imagen" in model:
        if request.choices() > MOST_IMAGES:
            raise unsupported("n", f"more than {MOST_IMAGES} images at once")
        parameters: Json = {"sampleCount": request.choices(), **ratio}
        if size:
            parameters["sampleImageSize"] = "2K" if max(size) > _LARGE else "1K"
        body = {"instances": [{"prompt": request.prompt}], "parameters": parameters}
        return "predict", body, lost
    if request.choices() > 1:
        raise unsupported("n", "more than one image at once")
    config: Json = {"responseModalities": ["IMAGE"]}
    if ratio:
        config["imageConfig"] = ratio
    content = {"role": "user", "parts": [{"text": request.prompt}]}
    return "generateContent", {"contents": [content], "generationConfig": config}, lost


class GeminiImages(ImageExchange):
    """One request for images."""

    explained = staticmethod(errors.explained)

    def drawn(self, document: Json) -> tuple[list[str], Usage, int]:
        """Return the images; Imagen counts no tokens."""
        drawn = _drawn(document)
        metadata = mapping(document.get("usageMetadata"))
        usage = usage_of(metadata, len(drawn)) if metadata else Usage(images=len(drawn))
        return drawn, usage, spent(metadata, "promptTokensDetails", "IMAGE")


def _drawn(document: Json) -> list[str]:
    """Return the images: Imagen's without the filtered ones, which are missing or have only a
    reason; Gemini's without the drafts among its thoughts.
    """
    found = [item.get("bytesBase64Encoded") for item in objects(document.get("predictions"))]
    for candidate in objects(document.get("candidates")):
        for part in objects(mapping(candidate.get("content")).get("parts")):
            if not part.get("thought"):
                found.append(mapping(part.get("inlineData")).get("data"))
    return [image for image in map(word, found) if image]
