"""Content: from OpenAI's parts to Anthropic's blocks."""

from __future__ import annotations

import base64
import re
from typing import Any

from ezkielyna_anthropic.fields import Json, cached, invalid, listed, table, unsupported

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
FILES = frozenset({"application/pdf", "text/plain"})

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.ASCII)


def parts(content: Any, where: str, *, text_only: bool = False) -> list[Json]:
    """Return a message's content as blocks, blank text left out, which Anthropic refuses.

    Raises InvalidRequest and Unsupported naming the part.
    """
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = []
    for at, value in enumerate(listed(content, where)):
        part = table(value, f"{where}[{at}]")
        block = _block(part, f"{where}[{at}]", text_only=text_only)
        if block.get("text", "x").strip():
            blocks.append(cached(block, part))
    return blocks


def _block(part: Json, where: str, *, text_only: bool) -> Json:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        if not isinstance(part.get(kind), str):
            raise invalid(f"{where}.{kind}", "expected a string")
        return {"type": "text", "text": part[kind]}
    if kind == "image_url" and not text_only:
        image = part.get("image_url")
        url = image if isinstance(image, str) else table(image, f"{where}.image_url").get("url")
        return {"type": "image", "source": _source(url, f"{where}.image_url.url", IMAGES)}
    if kind == "file" and not text_only:
        file = table(part.get("file"), f"{where}.file")
        if file.get("file_data") is None:
            raise unsupported(f"{where}.file.file_id", "files that were uploaded before")
        source = _source(file["file_data"], f"{where}.file.file_data", FILES)
        name = file.get("filename")
        titled = {"title": name} if isinstance(name, str) and name.strip() else {}
        return {"type": "document", "source": source, **titled}
    raise unsupported(where, f"content of type {kind!r} here")


def _source(url: Any, where: str, allowed: frozenset[str]) -> Json:
    """Return an address or the data of a data URL, which is not decoded: it may be megabytes."""
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    found = _DATA_URL.match(url) if isinstance(url, str) else None
    if found is None or found.end() == len(url):
        raise invalid(where, "expected an http address or 'data:TYPE;base64,DATA'")
    data, media_type = url[found.end() :], found[1].lower().replace("image/jpg", "image/jpeg")
    if media_type not in allowed:
        raise unsupported(where, f"data of type {media_type}")
    if media_type != "text/plain":
        return {"type": "base64", "media_type": media_type, "data": data}
    try:
        return {"type": "text", "media_type": media_type, "data": base64.b64decode(data).decode()}
    except ValueError:
        raise invalid(where, "expected UTF-8 text in base64") from None
