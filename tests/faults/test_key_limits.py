"""A key's limit survives restarts, and the processes of one gateway keep it together."""

import asyncio

import orjson

from ezkielyna.contract.money import nano
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.dialect import JSON
from ezkielyna.testing.lab import SECRET, Lab, post
from ezkielyna.testing.scripted import ScriptedUpstream, answering

IMAGE = {"model": "image-lab", "prompt": "A house", "n": 1}
IMAGES = "/v1/images/generations"
PICTURE = orjson.dumps({"created": 1_700_000_000, "data": [{"url": "http://127.0.0.1/1.png"}]})


async def limited(lab: Lab, limit: str) -> str:
    payer = await lab.account("5")
    keys = Keys(lab.database, SECRET.encode())
    _, key = await keys.create(payer.account, name="limited", limit=nano(limit))
    return key


async def test_it_outlives_a_restart(lab: Lab) -> None:
    key = await limited(lab, "0.12")
    statuses = []
    async with ScriptedUpstream(answering(200, JSON, PICTURE)) as upstream:
        for _ in range(2):
            async with lab.serving(upstream.url) as gateway:
                for _ in range(2):
                    statuses.append((await post(gateway.url, key, IMAGE, IMAGES)).status)
    assert statuses == [200, 200, 200, 402]
    await lab.verify()


async def test_workers_know_of_each_other_within_seconds(lab: Lab) -> None:
    key = await limited(lab, "0.40")
    statuses = []
    async with (
        ScriptedUpstream(answering(200, JSON, PICTURE)) as upstream,
        lab.serving(upstream.url, workers=2) as gateway,
    ):
        for _ in range(40):
            statuses.append((await post(gateway.url, key, IMAGE, IMAGES)).status)
        assert 10 <= statuses.count(200) <= 20, "each worker alone keeps it exactly"
        await asyncio.sleep(5)
        late = {(await post(gateway.url, key, IMAGE, IMAGES)).status for _ in range(20)}
    assert late == {402}
    await lab.verify()
