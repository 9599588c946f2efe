"""A thousand requests at once against money for ten: ten succeed, and nothing is left."""

import asyncio
from collections import Counter

import orjson

from ezkielyna.testing.dialect import JSON
from ezkielyna.testing.lab import Lab, Line, Payer
from ezkielyna.testing.scripted import ScriptedUpstream, answering

IMAGE = {"model": "image-lab", "prompt": "A house", "n": 1}
PICTURE = orjson.dumps({"created": 1_700_000_000, "data": [{"url": "http://127.0.0.1/1.png"}]})
PATH = "/v1/images/generations"
REQUESTS = 1000


async def test_exactly_what_is_paid_for_succeeds(lab: Lab) -> None:
    payer = await lab.account("0.40")
    async with (
        ScriptedUpstream(answering(200, JSON, PICTURE)) as upstream,
        lab.serving(upstream.url, workers=4) as gateway,
    ):
        statuses = await _rush(gateway.url, payer)
        assert sum(statuses.values()) == REQUESTS
        assert statuses == {200: 10, 402: 990}
        assert len(upstream.requests) == 10
        documents = await lab.usages(10)
        assert len(documents) == 10
        assert {document["cost"] for document in documents} == {40_000_000}
    assert await lab.balance(payer) == 0
    assert not lab.journals
    await lab.verify()


async def _rush(url: str, payer: Payer) -> Counter[int]:
    lines = await asyncio.gather(*(Line.open(url) for _ in range(REQUESTS)))

    async def send(line: Line) -> int:
        async with line:
            return (await line.post(payer.key, IMAGE, PATH)).status

    async with asyncio.timeout(40):
        return Counter(await asyncio.gather(*map(send, lines)))
