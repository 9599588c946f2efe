"""Bad keys by client address: ever more slowly, and never to the harm of a good key."""

from __future__ import annotations

import pytest

from ezkielyna.contract.errors import InvalidApiKey, RateLimited
from ezkielyna.gateway.suspects import LOOK_UP_S, LOOK_UPS_AHEAD_S, Suspects
from ezkielyna.storage.keyformat import generate
from ezkielyna.storage.keys import Keys
from ezkielyna.testing.gateway import SECRET, Gateways
from ezkielyna.testing.lab import Answer, Line
from ezkielyna.throttle import BAD_KEYS
from ezkielyna.wire.client_address import ClientAddresses

GUESSER, OTHER = "198.51.100.7", "198.51.100.8"
FREE = BAD_KEYS.free


async def models(line: Line, key: str, forwarded: str = GUESSER) -> Answer:
    return await line.get("/v1/models", key, X_Forwarded_For=forwarded)


@pytest.mark.parametrize("wire", ["llhttp", "tornado"])
async def test_guesses_become_429_and_good_keys_go_on(gateways: Gateways, wire: str) -> None:
    async with (
        gateways(tables={"server": {"wire": wire}}) as gateway,
        await Line.open(gateway.url) as line,
    ):
        assert (await models(line, gateway.key)).status == 200
        for _ in range(FREE + 1):
            answer = await models(line, generate())
            assert (answer.status, answer.error) == (401, "invalid_api_key")
        for key in (generate(), "garbage"):
            answer = await models(line, key)
            assert (answer.status, answer.error) == (429, "rate_limited")
            assert answer.headers["retry-after"] == "1"
            assert int(answer.headers["retry-after-ms"]) == 1000
        assert (await models(line, gateway.key)).status == 200
        _, fresh = await Keys(gateway.database, SECRET).create(gateway.account, name="fresh")
        assert (await models(line, fresh)).status == 200
        assert (await models(line, generate(), OTHER)).status == 401


async def test_one_bad_key_again_and_again_is_one_guess(gateways: Gateways) -> None:
    async with gateways() as gateway, await Line.open(gateway.url) as line:
        await Keys(gateway.database, SECRET).revoke(gateway.key_id)
        for _ in range(3 * FREE):
            assert (await models(line, gateway.key)).status == 401
            assert (await models(line, "sk-of-another-shop")).status == 401
        assert (await models(line, generate())).status == 401


async def test_who_is_not_trusted_speaks_for_himself(gateways: Gateways) -> None:
    tables = {"server": {"trusted_proxies": ["192.0.2.1"]}}
    async with gateways(tables=tables) as gateway, await Line.open(gateway.url) as line:
        for number in range(FREE + 1):
            assert (await models(line, generate(), f"198.51.100.{number}")).status == 401
        assert (await models(line, generate(), OTHER)).status == 429


class Visitor:
    peer = GUESSER
    forwarded = None


def test_look_ups_for_an_address_that_waits_are_few() -> None:
    now = 0.0
    suspects = Suspects(ClientAddresses(()), clock=lambda: now)
    visitor = Visitor()
    for _ in range(1000):
        suspects.may_look_up(visitor)
    error = InvalidApiKey("bad")
    guess = 0
    while now < 7:  # the last wait is several seconds long
        answer = suspects.answer(error, b"%d" % guess, visitor)
        guess += answer is error
        now += answer.retry_after_s or 0.0
    for _ in range(FREE):
        answer = suspects.answer(error, b"last %d" % guess, visitor)
        guess += 1
    assert isinstance(answer, RateLimited)

    def looked_up(attempts: int) -> int:
        done = 0
        for _ in range(attempts):
            try:
                suspects.may_look_up(visitor)
                done += 1
            except RateLimited as error:
                assert error.retry_after_s == 1.0  # noqa: PT017 - both ways are answers
        return done

    ahead = round(LOOK_UPS_AHEAD_S / LOOK_UP_S)
    assert looked_up(1000) in (ahead, ahead + 1)
    now += 1.0
    assert looked_up(1000) in (ahead - 1, ahead, ahead + 1)


def test_without_an_address_nothing_is_counted() -> None:
    suspects = Suspects()
    error = InvalidApiKey("bad")
    for number in range(100):
        assert suspects.answer(error, b"%d" % number, None) is error
        suspects.may_look_up(None)
