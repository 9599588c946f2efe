"""Who guesses passwords, signs up or asks for mails again and again waits ever longer: over HTTP.

The clock is the test's, so nobody waits for real; the arithmetic is tested in `test_throttle.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from types import ModuleType

import pytest

from ezkielyna.console import application
from ezkielyna.console.evenly import evenly
from ezkielyna.console.handlers import reset, signup
from ezkielyna.storage.credentials import Credentials
from ezkielyna.storage.passwords import hashed
from ezkielyna.testing.gateway import Gateways, RunningGateway
from ezkielyna.testing.visitor import Answer, Visitor
from ezkielyna.throttle import SIGN_INS, SIGN_UPS, Attempts, Patience, Rules

PASSWORD = "correct horse battery"
PROXY = {"server": {"trusted_proxies": ["127.0.0.1"]}}
WAITS = [1, 2, 4]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of whoever counts attempts; it stands until the test moves it."""
    clock = Clock()
    monkeypatch.setattr(application, "Attempts", partial(Attempts, clock=clock))
    return clock


class Stranger:
    """Sends a form again and again, each time without cookies and, where told so, through a proxy
    that names another address.
    """

    def __init__(self, gateway: RunningGateway, path: str, *, roaming: bool = False) -> None:
        self._url = gateway.url
        self._path = path
        self._addresses = (f"198.51.100.{n}" for n in count()) if roaming else None

    async def send(self, email: str, password: str = "wrong one", **headers: str) -> Answer:
        visitor = Visitor(self._url)
        if self._addresses:
            headers["X_Forwarded_For"] = next(self._addresses)
        fields = {"email": email, "password": password}
        return await visitor.post(self._path, fields, page=self._path, **headers)


def emails() -> Iterator[str]:
    return (f"somebody{number}@example.com" for number in count())


async def slowed_down(attempt: Callable[[], Awaitable[Answer]], clock: Clock) -> int:
    """Go on until three attempts had to wait; return how many were free.

    Each wait is twice the one before, and Retry-After is neither too short nor too long.
    """
    free, waits = 0, list[int]()
    while (answer := await attempt()).status != 429:
        free += 1
        assert free < 50, "nobody is slowed down"
    while len(waits) < len(WAITS):
        assert answer.status == 429
        assert "Try again in" in answer.text
        waits.append(int(answer.headers["retry-after"]))
        clock.now += waits[-1] - 1
        assert (await attempt()).headers["retry-after"] == "1", "it need not wait so long"
        clock.now += 1
        assert (await attempt()).status != 429, "it is told to come too early"
        answer = await attempt()
    assert waits == WAITS
    return free


async def test_guesses_at_an_account_wait_wherever_they_come_from(
    gateways: Gateways, clock: Clock
) -> None:
    async with gateways(tables=PROXY) as gateway:
        await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
        stranger = Stranger(gateway, "/login", roaming=True)
        for email in (gateway.email, "nobody@example.com"):
            free = await slowed_down(partial(stranger.send, email), clock)
            assert free == SIGN_INS.account.free + 1
        assert (await stranger.send(gateway.email, PASSWORD)).status == 429
        assert (await stranger.send("ann@example.com")).status == 422, "she was not guessed at"


async def test_guesses_from_an_address_wait_whatever_they_guess_at(
    gateways: Gateways, clock: Clock
) -> None:
    async with gateways(tables=PROXY) as gateway:
        await Credentials(gateway.database).set_password(gateway.account, await hashed(PASSWORD))
        stranger, names = Stranger(gateway, "/login"), emails()
        free = await slowed_down(lambda: stranger.send(next(names)), clock)
        assert free == SIGN_INS.address.free + 1
        assert (await stranger.send(gateway.email, PASSWORD)).status == 429
        elsewhere = await stranger.send(gateway.email, PASSWORD, X_Forwarded_For="192.0.2.9")
        assert elsewhere.status == 303, "others are let in"


@pytest.mark.usefixtures("clock")
async def test_who_is_no_trusted_proxy_cannot_name_other_addresses(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Rules(address=Patience(2, 30.0), account=SIGN_INS.account)
    monkeypatch.setattr(application, "SIGN_INS", rules)
    async with gateways(tables={"server": {"trusted_proxies": ["192.0.2.1"]}}) as gateway:
        stranger, names = Stranger(gateway, "/login", roaming=True), emails()
        found = [(await stranger.send(next(names))).status for _ in range(4)]
        assert found == [422, 422, 422, 429]


@pytest.mark.parametrize("handler", [signup, reset], ids=["sign-ups", "letters"])
@pytest.mark.parametrize("several", [False, True], ids=["of an account", "from an address"])
async def test_sign_ups_and_letters_wait_too(
    gateways: Gateways,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    handler: ModuleType,
    *,
    several: bool,
) -> None:
    monkeypatch.setattr(handler, "evenly", partial(evenly, 0.0))
    path = f"/{handler.__name__.rpartition('.')[2]}"
    patience = SIGN_UPS.address if several else SIGN_UPS.account
    async with gateways(tables=PROXY) as gateway:
        stranger, names = Stranger(gateway, path, roaming=not several), emails()
        email = partial(next, names) if several else lambda: "ann@example.com"
        free = await slowed_down(lambda: stranger.send(email(), PASSWORD), clock)
        assert free == patience.free + 1
