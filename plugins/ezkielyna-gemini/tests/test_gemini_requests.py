"""Recorded requests to Gemini, turned into OpenAI's by hand, must come out as they were sent."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from ezkielyna import ChatRequest
from ezkielyna.testing.recordings import Recording, folder, recordings
from ezkielyna.testing.translated import Dialect, NoCounterpart
from ezkielyna_gemini import GeminiProvider

TOOLS = ("codeExecution", "googleSearch", "urlContext")
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k", google_tools=TOOLS))


def pairs() -> list[Recording]:
    return [
        one
        for one in recordings(provider="gemini")
        if one.endpoint in ("generateContent", "streamGenerateContent")
        and one.format not in ("chunks-txt", "sse", "response-json")
    ]


def compared(recording: Recording, dialect: Dialect) -> None:
    request = ChatRequest.parse(orjson.dumps(dialect.asked(recording)))
    wanted = dialect.normal(orjson.loads(recording.request.body or b""))
    exchange = PROVIDER.exchange(request, recording.model or "gemini-2.5-flash")
    assert dialect.normal(orjson.loads(exchange.request.body)) == wanted
    method = ":streamGenerateContent?alt=sse" if request.streamed else ":generateContent"
    assert exchange.request.url.endswith(method)


@pytest.mark.parametrize("recording", pairs(), ids=lambda one: one.id)
def test_a_request_comes_out_as_it_was_sent(recording: Recording, dialect: Dialect) -> None:
    try:
        compared(recording, dialect)
    except NoCounterpart as reason:
        pytest.skip(str(reason))


def test_a_table_of_pairs(dialect: Dialect) -> None:
    folder()
    table: Counter[str] = Counter()
    out: dict[str, str] = {}
    for recording in pairs():
        try:
            compared(recording, dialect)
        except NoCounterpart as reason:
            out[recording.id] = str(reason)
        else:
            features = {word for word in recording.covers if not word.startswith(("out:", "fin:"))}
            table.update(features | {"every pair"})
    for feature, count in table.most_common():
        print(f"{count:5} {feature}")
    for reason, count in Counter(out.values()).items():
        print(f"left out: {count} with {reason}")
    assert len(out) / len(pairs()) < 0.02
