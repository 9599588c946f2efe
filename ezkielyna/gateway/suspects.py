"""Client addresses that send bad API keys: answered ever more slowly, and looked up for rarely.

A bad key that is sent again is no new guess and counts once: a client with a key that was revoked
keeps its 401. A good key that is cached never comes here. One that is not is looked up at once
for most clients, and a few times a second for an address that has to wait, which it may share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ezkielyna.contract.errors import GatewayError, InvalidApiKey, RateLimited
from ezkielyna.throttle import BAD_KEYS, MOST_SUBJECTS, Recent, Throttle, network, too_many
from ezkielyna.wire.client_address import ClientAddresses

LOOK_UP_S = 0.1
"""Between two look-ups of keys for an address that has to wait, on average."""

LOOK_UPS_AHEAD_S = 1.0
"""How far look-ups may run ahead of that pace."""


class Client(Protocol):
    """Where a request came from."""

    @property
    def peer(self) -> str:
        """The address of the other end of the connection."""

    @property
    def forwarded(self) -> str | None:
        """The header `X-Forwarded-For`."""


class Suspects:
    """Counts different bad keys by client address, in this process."""

    def __init__(
        self,
        addresses: ClientAddresses | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses or ClientAddresses(())
        self._clock = clock
        self._throttle = Throttle(BAD_KEYS, clock)
        self._told: Recent[bool] = Recent(MOST_SUBJECTS)
        self._look_ups: Recent[float] = Recent(MOST_SUBJECTS)

    def answer(self, error: InvalidApiKey, digest: bytes, client: Client | None) -> GatewayError:
        """Return what a client with a bad key is told: that it is bad, or to wait."""
        if client is None:
            return error
        place = self._place(client)
        guess = f"{place} {digest.hex()}"
        if self._told.get(guess):
            return error
        wait_s = self._throttle.wait_s(place)
        if wait_s:
            return too_many(wait_s)
        self._throttle.count(place)
        self._told.put(guess, True)
        return error

    def may_look_up(self, client: Client | None) -> None:
        """Raise RateLimited where an address with bad keys has too many keys looked up."""
        if client is None:
            return
        place = self._place(client)
        if not self._throttle.wait_s(place):
            return
        now = self._clock()
        due = max(now, self._look_ups.get(place) or 0.0)
        if due - now > LOOK_UPS_AHEAD_S:
            raise RateLimited(
                "Too many bad API keys came from your address. Try again in a second.",
                retry_after_s=1.0,
            )
        self._look_ups.put(place, due + LOOK_UP_S)

    def _place(self, client: Client) -> str:
        return network(self._addresses.of(client.peer, client.forwarded))
