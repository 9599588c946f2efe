"""Every row of the error table, before the stream and inside it, on both listeners."""

import asyncio
import re
from typing import Any

import httpx2
import orjson
import pytest

from ezkielyna.testing.dialect import JSON, chat_answer, chunk
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.scripted import ScriptedUpstream, Turn, answering, streaming
from ezkielyna.testing.scripts import stalling

ANSWER = chat_answer()
CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}]}
ROLE = chunk({"role": "assistant", "content": "Hi"})


@pytest.fixture(params=["llhttp", "tornado"])
def wire(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"server": {"wire": request.param}}


def check(
    response: httpx2.Response, status: int, word: str, param: str | None = None
) -> dict[str, Any]:
    """Assert the one error shape and return the error."""
    assert response.status_code == status, response.text
    document = response.json()
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == word
    assert error["code"] == status
    assert error["param"] == param
    assert error["message"][-1] in ".?!"
    assert re.fullmatch(r"req_[0-9a-f]{27}", response.headers["x-request-id"])
    assert response.headers["content-type"].startswith("application/json")
    return error


async def post(gateway: RunningGateway, body: Any = CHAT, **options: Any) -> httpx2.Response:
    headers = {**gateway.headers, **options.pop("headers", {})}
    path = options.pop("path", "/chat/completions")
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    async with httpx2.AsyncClient() as client:
        return await client.post(
            gateway.api + path,
            content=content,
            headers={"Content-Type": "application/json", **headers},
            timeout=20,
            **options,
        )


async def test_the_answer_when_nothing_is_wrong(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, ANSWER)) as upstream,
        gateways(upstream.url, tables=wire) as gateway,
    ):
        response = await post(gateway)
        assert response.status_code == 200, response.text
        document = response.json()
        assert document["usage"].pop("cost") == pytest.approx(8 * 2.5e-6 + 2 * 10e-6)
        assert document == orjson.loads(ANSWER)
        assert upstream.requests[0].headers["authorization"] == "Bearer upstream-key"
        assert upstream.requests[0].target == "/v1/chat/completions"
        assert orjson.loads(upstream.requests[0].body) == CHAT


@pytest.mark.parametrize(
    "authorization",
    [None, "Basic YTpi", "Bearer sk-foreign", "Bearer ez-" + "0" * 46],
    ids=["missing", "basic", "foreign", "wrong checksum"],
)
async def test_401_without_a_good_key(
    gateways: Gateways, wire: dict[str, Any], authorization: str | None
) -> None:
    async with gateways(tables=wire) as gateway, httpx2.AsyncClient() as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        response = await client.post(f"{gateway.api}/chat/completions", json=CHAT, headers=headers)
        check(response, 401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_the_key_is_taken_from_x_api_key_too(gateways: Gateways) -> None:
    async with gateways() as gateway, httpx2.AsyncClient() as client:
        response = await client.get(f"{gateway.api}/models", headers={"x-api-key": gateway.key})
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{not json", None),
        (b"[]", None),
        (b"\xff\xfe", None),
        ({}, "model"),
        ({"model": "gpt-lab"}, "messages"),
        ({"model": "gpt-lab", "messages": []}, "messages"),
        ({"model": "gpt-lab", "messages": [{"content": "x"}]}, "messages[0].role"),
        ({"model": "gpt-lab", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"model": "gpt-lab", "messages": [{"role": "assistant", "tool_calls": {}}]},
            "messages[0].tool_calls",
        ),
        ({"model": 7, "messages": [{"role": "user"}]}, "model"),
        ({**CHAT, "temperature": 3}, "temperature"),
        ({**CHAT, "stream": "yes"}, "stream"),
        ({**CHAT, "stream_options": {"include_usage": True}}, "stream_options"),
        ({**CHAT, "max_tokens": -1}, "max_tokens"),
        ({**CHAT, "n": 0}, "n"),
    ],
)
async def test_400_names_the_parameter(gateways: Gateways, body: Any, param: str | None) -> None:
    async with gateways() as gateway:
        check(await post(gateway, body), 400, "invalid_request", param)


async def test_402_without_money(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire, credit="0") as gateway:
        response = await post(gateway)
        check(response, 402, "insufficient_balance")
        assert "retry-after" not in response.headers


async def test_403_for_a_model_outside_the_plan(gateways: Gateways, wire: dict[str, Any]) -> None:
    tables = {**wire, "plans": {"default": {"models": ["free-*"]}}}
    async with gateways(tables=tables) as gateway:
        check(await post(gateway), 403, "model_not_allowed", "model")


async def test_403_for_an_address_that_is_not_verified(gateways: Gateways) -> None:
    async with gateways(verified=False) as gateway:
        check(await post(gateway), 403, "email_not_verified")


async def test_404_for_models_and_paths(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway, httpx2.AsyncClient() as client:
        unknown = {**CHAT, "model": "gpt-nowhere"}
        error = check(await post(gateway, unknown), 404, "model_not_found", "model")
        assert "`gpt-nowhere` does not exist" in error["message"]
        check(await post(gateway, path="/chat/nothing"), 404, "not_found")
        response = await client.get(f"{gateway.api}/models/a/b%2Fc", headers=gateway.headers)
        assert "`a/b/c`" in check(response, 404, "model_not_found", "model")["message"]


async def test_405_says_what_is_allowed(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway, httpx2.AsyncClient() as client:
        response = await client.get(f"{gateway.api}/chat/completions", headers=gateway.headers)
        check(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "POST, OPTIONS"


async def test_413_for_a_body_that_is_too_large(gateways: Gateways, wire: dict[str, Any]) -> None:
    tables = {"server": {**wire["server"], "max_body": 2048}}
    async with gateways(tables=tables) as gateway:
        large = {**CHAT, "user": "x" * 3000}
        check(await post(gateway, large), 413, "request_too_large")


async def test_413_for_a_body_of_unknown_length(gateways: Gateways, wire: dict[str, Any]) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 1024

    tables = {"server": {**wire["server"], "max_body": 2048}}
    async with gateways(tables=tables) as gateway, httpx2.AsyncClient() as client:
        response = await client.post(
            f"{gateway.api}/chat/completions",
            content=chunks(),
            headers={**gateway.headers, "Content-Type": "application/json"},
        )
        check(response, 413, "request_too_large")


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}], ids=["text", "gzip"]
)
async def test_415_for_anything_but_json(
    gateways: Gateways, wire: dict[str, Any], headers: dict[str, str]
) -> None:
    async with gateways(tables=wire) as gateway:
        check(await post(gateway, headers=headers), 415, "unsupported_media_type")


async def test_431_for_large_headers(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway:
        response = await post(gateway, headers={"x-large": "x" * 40_000})
        check(response, 431, "headers_too_large")


async def test_429_says_when_to_come_back(gateways: Gateways, wire: dict[str, Any]) -> None:
    tables = {**wire, "plans": {"default": {"rpm": 30}}}
    async with (
        ScriptedUpstream(answering(200, JSON, ANSWER)) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        # On a busy machine requests come back while these are sent: no number is sure to be enough.
        while (response := await post(gateway)).status_code == 200:
            assert response.headers["x-ratelimit-limit-requests"] == "30"
        check(response, 429, "rate_limited")
        assert int(response.headers["retry-after"]) >= 1
        wait_ms = int(response.headers["retry-after-ms"])
        assert 0 < wait_ms <= 2000
        await asyncio.sleep(wait_ms / 1000)
        assert (await post(gateway)).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("upstream_status", "status", "word"),
    [
        (400, 400, "invalid_request"),
        (401, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (429, 429, "rate_limited"),
        (500, 502, "upstream_error"),
        (503, 503, "overloaded"),
    ],
)
async def test_what_an_upstreams_status_becomes(
    gateways: Gateways, upstream_status: int, status: int, word: str, *, stream: bool
) -> None:
    body = orjson.dumps(
        {"error": {"message": "Too hot.", "type": "x", "param": None, "code": None}}
    )
    script = answering(upstream_status, {**JSON, "retry-after": "7"}, body)
    async with ScriptedUpstream(script) as upstream, gateways(upstream.url) as gateway:
        response = await post(gateway, {**CHAT, "stream": stream})
        error = check(response, status, word)
        assert "upstream-key" not in response.text
        if status == 400:
            assert error["message"] == "Too hot."
        if status == 429:
            assert response.headers["retry-after"] == "7"


async def test_502_when_nobody_listens(gateways: Gateways, wire: dict[str, Any]) -> None:
    async with gateways(tables=wire) as gateway:
        error = check(await post(gateway), 502, "upstream_error")
        assert "127.0.0.1" not in error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_504_when_the_upstream_says_nothing(gateways: Gateways, *, stream: bool) -> None:
    tables = {"providers": {"lab": {"time_limits": {"first_byte_s": 0.2}}}}
    async with (
        ScriptedUpstream(stalling()) as upstream,
        gateways(upstream.url, tables=tables) as gateway,
    ):
        check(await post(gateway, {**CHAT, "stream": stream}), 504, "upstream_timeout")


async def test_errors_inside_a_stream_come_in_band(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    async def cut(turn: Turn) -> None:
        await turn.begin(200, {"content-type": "text/event-stream"})
        await turn.chunk(ROLE)
        await asyncio.sleep(0.05)
        await turn.cut()

    async with ScriptedUpstream(cut) as upstream, gateways(upstream.url, tables=wire) as gateway:
        response = await post(gateway, {**CHAT, "stream": True})
        assert response.status_code == 200
        events = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
        assert orjson.loads(events[0])["choices"][0]["delta"]["content"] == "Hi"
        last = orjson.loads(events[-1])
        assert last["error"]["type"] == "upstream_error"
        assert last["error"]["code"] == 502
        assert "[DONE]" not in response.text


async def test_an_error_as_first_event_is_a_status(gateways: Gateways) -> None:
    event = b'data: {"error":{"message":"The server is overloaded.","type":"server_error"}}\n\n'
    async with ScriptedUpstream(streaming([event])) as upstream, gateways(upstream.url) as gateway:
        response = await post(gateway, {**CHAT, "stream": True})
        assert response.status_code in (502, 503)
        assert response.json()["error"]["code"] == response.status_code


async def test_500_is_masked_and_logged(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ezkielyna.gateway import pipeline

    def broken(_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(pipeline, "bound_tokens", broken)
    async with gateways() as gateway:
        response = await post(gateway)
        error = check(response, 500, "server_error")
        assert "secret" not in response.text
        assert response.headers["x-request-id"] in error["message"]
    assert "a secret detail" in capsys.readouterr().out


async def test_a_preflight_is_answered_before_anything_else(
    gateways: Gateways, wire: dict[str, Any]
) -> None:
    async with gateways(tables=wire) as gateway, httpx2.AsyncClient() as client:
        response = await client.request(
            "OPTIONS",
            f"{gateway.api}/chat/completions",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
            },
        )
        assert response.status_code == 204
        assert response.content == b""
        assert response.headers["access-control-allow-origin"] == "*"
        assert "x-stainless-lang" in response.headers["access-control-allow-headers"]
        assert "POST" in response.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in response.headers


async def test_x_request_id_is_exposed_to_browsers(gateways: Gateways) -> None:
    async with gateways() as gateway:
        response = await post(gateway, {})
        assert "x-request-id" in response.headers["access-control-expose-headers"]
        assert response.headers["access-control-allow-origin"] == "*"


async def test_rate_headers_are_on_every_authenticated_answer(gateways: Gateways) -> None:
    tables = {"plans": {"default": {"rpm": 600, "tpm": 100_000}}}
    async with gateways(tables=tables, credit="0") as gateway, httpx2.AsyncClient() as client:
        answers = [
            await client.get(f"{gateway.api}/models", headers=gateway.headers),
            await post(gateway, {}),
            await post(gateway, {**CHAT, "model": "none"}),
            await post(gateway),
        ]
        assert [answer.status_code for answer in answers] == [200, 400, 404, 402]
        for answer in answers:
            assert answer.headers["x-ratelimit-limit-requests"] == "600"
            assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
            assert re.fullmatch(r"[\dhms.]+", answer.headers["x-ratelimit-reset-requests"])


async def test_a_plain_answer_without_usage_gets_one(gateways: Gateways) -> None:
    document = orjson.loads(chat_answer("word " * 40))
    del document["usage"]
    script = answering(200, JSON, orjson.dumps(document))
    async with ScriptedUpstream(script) as upstream, gateways(upstream.url) as gateway:
        usage = (await post(gateway)).json()["usage"]
        assert usage["prompt_tokens"] > 0
        assert 40 <= usage["completion_tokens"] <= 150
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["cost"] > 0
