"""Every pair that was recorded of Gemini, through the whole gateway to the official SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI, BadRequestError

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.player import Player
from ezkielyna.testing.recordings import Recording, folder, recordings
from ezkielyna.testing.said import RATES
from ezkielyna.testing.scripted import ScriptedUpstream
from ezkielyna.testing.tally import TABLE
from ezkielyna.testing.translated import Dialect, replay_all

Json = dict[str, Any]
GENERATIONS = ("generateContent", "streamGenerateContent")
OTHERS = ("batchEmbedContents", "predict")

LEFT_OUT = {
    "gemini/prism/use-cache-with-structured-1.json:0": "creates a cache, generates nothing",
}


def left_out(recording: Recording) -> str:
    """Return why a pair is not replayed; empty for those that are."""
    if recording.endpoint == "models":
        return "a list of models: the gateway answers with its own catalogue"
    return LEFT_OUT.get(recording.id, "")


async def test_the_sdk_has_what_was_recorded(
    gateways: Gateways, dialect: Dialect, record_property: Callable[[str, object], None]
) -> None:
    folder()
    every = recordings(provider="gemini")
    out = {one.id: reason for one in every if (reason := left_out(one))}
    chosen = [one for one in every if one.endpoint in GENERATIONS and one.id not in out]
    tally = await replay_all(gateways, chosen, dialect)
    tally.left_out |= out
    for recording in await embeddings_and_images(gateways, dialect):
        tally.count(recording, request=recording.endpoint == "batchEmbedContents")
    record_property(TABLE, tally.table())
    tally.check(every)


async def embeddings_and_images(gateways: Gateways, dialect: Dialect) -> list[Recording]:
    """Replay the pairs that are no generations."""
    others = [one for one in recordings(provider="gemini") if one.endpoint in OTHERS]
    player = Player()
    models = {"lab-model": {"provider": "lab", "image": "0.04", **RATES}}
    models["lab-model"]["upstream_model"] = "imagen-4.0-generate-001"
    async with (
        ScriptedUpstream(player.script) as upstream,
        gateways(upstream.url, tables={**dialect.tables, "models": models}) as gateway,
        AsyncOpenAI(base_url=gateway.api, api_key=gateway.key, max_retries=0) as sdk,
    ):
        for recording in others:
            player.plain(recording)
            embeds = recording.endpoint == "batchEmbedContents"
            await (embedded if embeds else drawn)(sdk, recording, player)
    return others


async def embedded(sdk: AsyncOpenAI, recording: Recording, player: Player) -> None:
    sent = orjson.loads(recording.request.body or b"{}")["requests"]
    texts = [item["content"]["parts"][0]["text"] for item in sent]
    if recording.status != 200:
        with pytest.raises(BadRequestError):
            await sdk.embeddings.create(model="lab-model", input=texts)
        return
    answer = await sdk.embeddings.create(model="lab-model", input=texts)
    asked = [one["content"]["parts"][0]["text"] for one in player.asked["requests"]]
    assert asked == texts
    upstream = orjson.loads(recording.response.body)["embeddings"]
    for index, (one, theirs) in enumerate(zip(answer.data, upstream, strict=True)):
        assert one.index == index
        length = sum(value**2 for value in theirs["values"]) ** 0.5
        unit = [value / length for value in theirs["values"]]
        assert one.embedding == pytest.approx(unit, abs=1e-6)  # single precision on the way
    assert answer.usage.total_tokens > 0


async def drawn(sdk: AsyncOpenAI, recording: Recording, player: Player) -> None:
    wanted = [
        one["bytesBase64Encoded"]
        for one in orjson.loads(recording.response.body).get("predictions", [])
        if "bytesBase64Encoded" in one
    ]
    if not wanted:
        with pytest.raises(BadRequestError):
            await sdk.images.generate(model="lab-model", prompt="a cat", n=4)
        return
    answer = await sdk.images.generate(model="lab-model", prompt="a cat", n=4)
    assert [one.b64_json for one in answer.data or []] == wanted
    assert answer.usage is not None
    assert (answer.usage.model_extra or {})["cost"] == pytest.approx(0.04 * len(wanted))
