"""Grounding and citations as OpenAI's annotations; Google counts bytes, OpenAI characters."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k"))
TEXT = "Grüße aus Köln. Bis bald."
KÖLN = len("Grüße aus ".encode()), len("Grüße aus Köln.".encode())
CHUNKS = [
    {"web": {"uri": "https://example.org/a", "title": "A"}},
    {"retrievedContext": {"uri": "gs://b"}},
    {"web": {"uri": "https://example.org/c"}},
]


def grounded(*indices: Any, **segment: int) -> Json:
    support = {"segment": segment, "groundingChunkIndices": list(indices)}
    return {"groundingMetadata": {"groundingChunks": CHUNKS, "groundingSupports": [support]}}


def exchange(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return PROVIDER.exchange(ChatRequest.parse(orjson.dumps(body)), "gemini-2.5-flash")


def candidate(text: str, **more: Any) -> Json:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0, **more}]}


def notes(**more: Any) -> list[Json]:
    body = orjson.dumps(candidate(TEXT, finishReason="STOP", **more))
    (choice,) = orjson.loads(exchange().answer(200, {}, body))["choices"]
    return [note["url_citation"] for note in choice["message"].get("annotations", [])]


def test_every_page_of_a_support_is_cited() -> None:
    first, second = notes(**grounded(0, 1, 2, 9, "x", startIndex=KÖLN[0], endIndex=KÖLN[1]))
    assert TEXT[first["start_index"] : first["end_index"]] == "Köln."
    assert (first["url"], first["title"]) == ("https://example.org/a", "A")
    assert (second["url"], second["title"]) == ("https://example.org/c", "")


def test_a_recitation_is_cited() -> None:
    source = {"startIndex": 0, "endIndex": len("Grüße".encode()), "uri": "https://example.org/d"}
    (note,) = notes(citationMetadata={"citationSources": [source, {"license": "mit"}]})
    assert TEXT[note["start_index"] : note["end_index"]] == "Grüße"


@pytest.mark.parametrize("odd", [None, 7, [], {"groundingSupports": 7}, {"groundingChunks": [7]}])
def test_odd_grounds_are_ignored(odd: Any) -> None:
    assert notes(groundingMetadata=odd) == []


def test_a_stream_cites_before_its_finish() -> None:
    made = exchange(stream=True)
    last = candidate(TEXT[6:], finishReason="STOP", **grounded(0, startIndex=0, endIndex=7))
    documents = (candidate(TEXT[:6]), last)
    out = b"".join(made.feed(b"data: %b\r\n\r\n" % orjson.dumps(one)) for one in documents)
    out += made.close()
    choices = [orjson.loads(line[6:])["choices"][0] for line in out.split(b"\n\n")[:-2]]
    *_, cited, finish = choices
    (note,) = cited["delta"]["annotations"]
    assert TEXT[: note["url_citation"]["end_index"]] == "Grüße"
    assert (finish["delta"], finish["finish_reason"]) == ({}, "stop")


def test_a_quota_of_the_day_is_the_operators_matter() -> None:
    violations = [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}]
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": details}
    failure = exchange().failure(429, {}, orjson.dumps({"error": error}))
    assert (failure.status, failure.retry_after_s) == (502, None)
    assert "quota" in failure.message
