"""Images by address: Gemini wants their bytes, the core fetches them, guarded."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, EmbeddingRequest
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import Answer, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering
from ezkielyna_gemini import GeminiProvider

Json = dict[str, Any]
PNG = b"\x89PNG\r\n\x1a\n and so on"
PROVIDER = GeminiProvider("lab", GeminiProvider.Settings(api_key="k"))
ANSWER = orjson.dumps(
    {
        "candidates": [{"content": {"parts": [{"text": "A cat."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 300, "candidatesTokenCount": 3},
    }
)
JSON = {"content-type": "application/json"}


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def chat(*urls: str, **more: Any) -> Json:
    content = [{"type": "text", "text": "What is this?"}, *map(image, urls)]
    return {"model": "gem", "messages": [{"role": "user", "content": content}], **more}


def tables(upstream: str, **fetch: Any) -> Json:
    return {
        "plugins": ["openai", "gemini"],
        "providers": {
            "google": {"kind": "gemini", "base_url": f"{upstream}/v1beta", "api_key": "k"}
        },
        "models": {"gem": {"provider": "google", "input": 1, "output": 1, "context": 100_000}},
        "fetch": fetch,
    }


def test_what_is_needed_is_what_google_does_not_read() -> None:
    body = chat(
        "https://example.org/a.png",
        "https://youtu.be/1",
        "data:image/png;base64,QUJD",
        "http://example.org/b.png",
    )
    assert PROVIDER.needs(ChatRequest.parse(orjson.dumps(body))) == {
        "https://example.org/a.png": "messages[0].content[1].image_url.url",
        "http://example.org/b.png": "messages[0].content[4].image_url.url",
    }


def test_nothing_else_needs_anything() -> None:
    words = orjson.dumps(chat() | {"messages": [{"role": "user", "content": "http://a.b/c.png"}]})
    assert PROVIDER.needs(ChatRequest.parse(words)) == {}
    inputs = orjson.dumps({"model": "gem", "input": "http://a.b/c.png"})
    assert PROVIDER.needs(EmbeddingRequest.parse(inputs)) == {}


async def ask(gateways: Gateways, body: Json, **fetch: Any) -> tuple[Answer, Any]:
    """Ask about an image of a store; return the answer, and what Gemini and the store saw."""
    store = ScriptedUpstream(answering(200, {"content-type": "image/png"}, PNG))
    async with (
        store,
        ScriptedUpstream(answering(200, JSON, ANSWER)) as upstream,
        gateways(tables=tables(upstream.url, **fetch)) as gateway,
    ):
        text = orjson.dumps(body).replace(b"STORE", store.url.encode())
        answer = await post(gateway.url, gateway.key, orjson.loads(text))
        return answer, (upstream.requests, store.requests)


async def test_an_image_by_address_reaches_gemini_as_bytes(gateways: Gateways) -> None:
    body = chat("STORE/cat.png", "data:image/png;base64,QUJD")
    answer, (asked, fetched) = await ask(gateways, body, allow=["127.0.0.1"])
    assert answer.status == 200, answer.body
    assert [request.target for request in fetched] == ["/cat.png"]
    parts = orjson.loads(asked[0].body)["contents"][0]["parts"]
    assert parts[1] == {
        "inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    }
    assert parts[2]["inlineData"]["data"] == "QUJD"


@pytest.mark.parametrize(
    ("fetch", "word"), [({}, "no public server"), ({"enabled": False}, "this address")]
)
async def test_an_address_that_may_not_be_fetched(
    gateways: Gateways, fetch: Json, word: str
) -> None:
    answer, (asked, fetched) = await ask(gateways, chat("STORE/cat.png"), **fetch)
    assert (answer.status, answer.error) == (400, "invalid_request")
    error = answer.document["error"]
    assert error["param"] == "messages[0].content[1].image_url.url"
    assert word in error["message"]
    assert "data URL" in error["message"]
    assert (asked, fetched) == ([], [])


async def test_too_many_addresses(gateways: Gateways) -> None:
    body = chat(*(f"STORE/{number}.png" for number in range(17)))
    answer, (asked, fetched) = await ask(gateways, body, allow=["127.0.0.1"])
    assert (answer.status, asked, fetched) == (400, [], [])
    assert answer.document["error"]["param"] == "messages[0].content[17].image_url.url"
