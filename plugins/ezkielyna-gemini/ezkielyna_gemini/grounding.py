"""Where an answer comes from: Gemini's grounding and citations as OpenAI's annotations."""

from __future__ import annotations

from ezkielyna.dialect import Json, count, mapping, objects, url_citation, word


def notes_of(candidate: Json, text: str) -> list[Json]:
    """Return a `url_citation` for every page that supports a piece of the text.

    Google counts bytes of UTF-8, OpenAI characters.
    """
    grounds = mapping(candidate.get("groundingMetadata"))
    pages = [mapping(chunk.get("web")) for chunk in objects(grounds.get("groundingChunks"))]
    encoded = text.encode()
    found = []
    for support in objects(grounds.get("groundingSupports")):
        indices = support.get("groundingChunkIndices")
        for at in indices if isinstance(indices, list) else []:
            page = pages[at] if type(at) is int and 0 <= at < len(pages) else {}
            found.append(_note(page, mapping(support.get("segment")), encoded))
    sources = mapping(candidate.get("citationMetadata"))
    for source in objects(sources.get("citationSources") or sources.get("citations")):
        found.append(_note(source, source, encoded))
    return [note for note in found if note is not None]


def _note(page: Json, segment: Json, encoded: bytes) -> Json | None:
    url = word(page.get("uri"))
    if url is None:
        return None
    start, end = (
        len(encoded[: count(segment.get(name))].decode(errors="ignore"))
        for name in ("startIndex", "endIndex")
    )
    return url_citation(url, word(page.get("title")) or "", start, end)
