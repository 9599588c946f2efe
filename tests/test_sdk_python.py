"""The official OpenAI SDK for Python against the gateway and its simulated models."""

import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from ezkielyna.testing.dialect import JSON, chunk
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming
from ezkielyna.testing.simulated import SIMULATED

MESSAGES: Any = [{"role": "user", "content": "Say something nice."}]


@asynccontextmanager
async def sdk(gateway: RunningGateway, key: str | None = None) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{gateway.url}/api/v1", api_key=key or gateway.key, max_retries=0
    ) as client:
        yield client


async def test_chat_plain(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        answer = await client.chat.completions.create(model="sim-gpt", messages=MESSAGES)
        assert answer.object == "chat.completion"
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        cost = answer.usage.cost  # type: ignore[attr-defined]
        assert cost == pytest.approx(
            answer.usage.prompt_tokens * 1e-6 + answer.usage.completion_tokens * 4e-6
        )


async def test_chat_streamed_without_usage(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        stream = await client.chat.completions.create(
            model="sim-gpt", messages=MESSAGES, stream=True
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert all(chunk.usage is None for chunk in chunks)
        assert all("usage" not in chunk.model_fields_set for chunk in chunks)


async def test_chat_streamed_with_usage(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        stream = await client.chat.completions.create(
            model="sim-gpt", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = [chunk async for chunk in stream]
        assert all(chunk.usage is None for chunk in chunks)
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens > 0
        assert last.usage.cost > 0  # type: ignore[attr-defined]


async def test_chat_by_the_stream_manager(gateways: Gateways) -> None:
    async with (
        gateways(tables=SIMULATED) as gateway,
        sdk(gateway) as client,
        client.chat.completions.stream(model="sim-gpt", messages=MESSAGES) as stream,
    ):
        kinds = [event.type async for event in stream]
        assert "content.delta" in kinds
        assert (await stream.get_final_completion()).choices[0].message.content


async def test_completions(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        answer = await client.completions.create(model="sim-gpt", prompt="Once", max_tokens=12)
        assert answer.object == "text_completion"
        assert answer.choices[0].text
        stream = await client.completions.create(
            model="sim-gpt", prompt="Once", max_tokens=12, stream=True
        )
        assert "".join([chunk.choices[0].text async for chunk in stream])


async def test_embeddings_as_numbers_and_as_base64(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        numbers = await client.embeddings.create(
            model="sim-embedding", input=["one", "two"], encoding_format="float"
        )
        default = await client.embeddings.create(model="sim-embedding", input=["one", "two"])
        assert [item.index for item in numbers.data] == [0, 1]
        for exact, decoded in zip(numbers.data, default.data, strict=True):
            assert decoded.embedding == pytest.approx(exact.embedding, abs=1e-6)
        raw = await client.embeddings.with_raw_response.create(
            model="sim-embedding", input="one", encoding_format="base64"
        )
        text = raw.http_response.json()["data"][0]["embedding"]
        data = base64.b64decode(text)
        assert struct.unpack(f"<{len(data) // 4}f", data) == pytest.approx(
            numbers.data[0].embedding, abs=1e-6
        )


async def test_images(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        answer = await client.images.generate(model="sim-image", prompt="A small square", n=2)
        assert answer.data is not None
        pictures = [base64.b64decode(image.b64_json or "") for image in answer.data]
        assert len(pictures) == 2
        assert all(picture.startswith(b"\x89PNG") for picture in pictures)


async def test_models_listed_and_retrieved(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        models = [model async for model in client.models.list()]
        assert {"sim-gpt", "gpt-lab", "vendor/sim:large"} <= {model.id for model in models}
        assert all(model.object == "model" and model.owned_by for model in models)
        assert (await client.models.retrieve("vendor/sim:large")).id == "vendor/sim:large"


async def test_the_request_id_is_read(gateways: Gateways) -> None:
    async with gateways(tables=SIMULATED) as gateway, sdk(gateway) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="sim-gpt", messages=MESSAGES
        )
        assert raw.request_id is not None
        assert raw.request_id.startswith("req_")
        assert raw.parse()._request_id == raw.request_id


async def test_unknown_fields_survive_both_ways(gateways: Gateways) -> None:
    from ezkielyna.testing.dialect import chat_answer

    script = answering(200, JSON, chat_answer(x_answer={"deep": [1.5, None]}))
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url) as gateway,
        sdk(gateway) as client,
    ):
        answer = await client.chat.completions.create(
            model="gpt-lab", messages=MESSAGES, extra_body={"x_request": {"deep": [1, "ü"]}}
        )
        assert answer.model_extra == {"x_answer": {"deep": [1.5, None]}}
        assert b'"x_request":{"deep":[1,"\xc3\xbc"]}' in upstream.requests[0].body


@pytest.mark.parametrize(
    ("upstream_status", "expected"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_error_classes_of_upstream_errors(
    gateways: Gateways, upstream_status: int, expected: type[openai.APIStatusError]
) -> None:
    script = answering(upstream_status, JSON, b'{"error":{"message":"No.","type":"t"}}')
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url) as gateway,
        sdk(gateway) as client,
    ):
        with pytest.raises(expected) as caught:
            await client.chat.completions.create(model="gpt-lab", messages=MESSAGES)
        assert caught.value.request_id is not None
        assert caught.value.request_id.startswith("req_")


async def test_error_classes_of_our_own(gateways: Gateways) -> None:
    tables = {**SIMULATED, "plans": {"default": {"models": ["sim-*"]}}}
    async with gateways(tables=tables, credit="0") as gateway:
        async with sdk(gateway, key="ez-nothing") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with sdk(gateway) as client:
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="none", messages=MESSAGES)
            assert missing.value.type == "model_not_found"
            with pytest.raises(openai.PermissionDeniedError):
                await client.chat.completions.create(model="gpt-lab", messages=MESSAGES)
            with pytest.raises(openai.APIStatusError) as broke:
                await client.chat.completions.create(model="sim-gpt", messages=MESSAGES)
            assert broke.value.status_code == 402
            with pytest.raises(openai.BadRequestError) as bad:
                await client.chat.completions.create(
                    model="sim-gpt", messages=MESSAGES, temperature=9
                )
            assert bad.value.param == "temperature"


async def test_an_error_inside_a_stream_is_raised(gateways: Gateways) -> None:
    script = streaming([chunk({"role": "assistant", "content": "Hi"})])
    async with (
        ScriptedUpstream(script) as upstream,
        gateways(upstream.url) as gateway,
        sdk(gateway) as client,
    ):
        stream = await client.chat.completions.create(
            model="gpt-lab", messages=MESSAGES, stream=True
        )
        with pytest.raises(openai.APIError, match=r"\w+"):
            async for _ in stream:
                pass
