"""Content parts of an OpenAI message as parts of a Gemini content."""

from __future__ import annotations

from typing import Any

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna_gemini.fields import expect

Part = dict[str, Any]

_READ_BY_GOOGLE = (
    "https://generativelanguage.googleapis.com/",
    "https://www.youtube.com/",
    "https://youtube.com/",
    "https://youtu.be/",
)
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3"}


def parts_of(content: Any, param: str) -> list[Part]:
    """Return the parts of a message's content; empty texts are left out, as Gemini refuses them.

    Raises InvalidRequest or Unsupported naming the part.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"text": content}]
    found: list[Part] = []
    for position, item in enumerate(expect(content, list, param)):
        at = f"{param}[{position}]"
        part = _part(expect(item, dict, at), at)
        if part.get("text") != "":
            found.append(part)
    return found


def texts_of(content: Any, param: str) -> list[Part]:
    """Return the parts of a content that may only hold text, as system messages do."""
    found = parts_of(content, param)
    if any("text" not in part for part in found):
        raise InvalidRequest(f"'{param}' may only hold text.", param=param)
    return found


def _part(item: dict[str, Any], at: str) -> Part:
    kind = item.get("type")
    if kind in ("text", "refusal"):
        return {"text": expect(item.get(kind), str, f"{at}.{kind}")}
    if kind == "image_url":
        image = item.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        return from_url(expect(url, str, f"{at}.image_url.url"), f"{at}.image_url.url")
    if kind == "input_audio":
        return _audio(expect(item.get("input_audio"), dict, f"{at}.input_audio"), at)
    if kind == "file":
        return _file(expect(item.get("file"), dict, f"{at}.file"), f"{at}.file")
    raise Unsupported("Gemini has no content part of this type.", param=f"{at}.type")


def from_url(url: str, param: str) -> Part:
    """Return the part for a data URL, or for an address that Google itself reads.

    Any other address is refused: this translator fetches nothing, and Google would guess.
    """
    if url.startswith(_READ_BY_GOOGLE):
        return {"fileData": {"fileUri": url}}
    head, comma, data = url.partition(",")
    mime, *options = head.removeprefix("data:").split(";")
    if not url.startswith("data:"):
        raise Unsupported(
            "Gemini does not fetch this address; send the content as a data URL.", param=param
        )
    if not comma or "base64" not in options or not data or "/" not in mime:
        raise InvalidRequest("A data URL looks like 'data:image/png;base64,…'.", param=param)
    mime = "image/jpeg" if mime == "image/jpg" else mime
    return {"inlineData": {"mimeType": mime, "data": data}}


def _audio(audio: dict[str, Any], at: str) -> Part:
    form = expect(audio.get("format"), str, f"{at}.input_audio.format")
    if form not in _AUDIO:
        raise InvalidRequest("Audio is 'wav' or 'mp3'.", param=f"{at}.input_audio.format")
    data = expect(audio.get("data"), str, f"{at}.input_audio.data")
    return {"inlineData": {"mimeType": _AUDIO[form], "data": data}}


def _file(file: dict[str, Any], at: str) -> Part:
    for name in ("file_data", "file_id"):
        if file.get(name) is not None:
            return from_url(expect(file[name], str, f"{at}.{name}"), f"{at}.{name}")
    raise InvalidRequest("A file needs 'file_data', a data URL.", param=at)
