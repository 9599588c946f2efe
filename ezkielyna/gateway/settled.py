"""The end of every request: its outcome, what it consumed, and one settlement."""

from __future__ import annotations

import asyncio
from typing import Self

from ezkielyna.contract.errors import GatewayError, UpstreamError, UpstreamTimeout
from ezkielyna.contract.provider import Exchange
from ezkielyna.contract.usage import Usage
from ezkielyna.gateway.admission import Admitted
from ezkielyna.gateway.charge import Charge
from ezkielyna.gateway.idempotency import Claim
from ezkielyna.gateway.relay import ClientGone, MoneyEnded
from ezkielyna.ledger.record import Outcome

OK: tuple[Outcome, int] = "ok", 200


class Settled:
    """Settles the charge exactly once, whatever ends the request; `async with` it.

    A client that left is the end of its stream and no error; money that ended becomes the error
    that the client is told in-band. `exchange` is the last one tried; `usage` is what to bill
    where that is known before the end.
    """

    __slots__ = ("_admitted", "_charge", "exchange", "usage")

    def __init__(self, charge: Charge, admitted: Admitted) -> None:
        self._charge = charge
        self._admitted = admitted
        self.exchange: Exchange | None = None
        self.usage: Usage | None = None

    async def __aenter__(self) -> Self:
        return self

    async def keep(self, claim: Claim, answer: bytes) -> None:
        """Keep a plain answer together with its charge, before it is charged.

        What cannot be kept is not charged: whoever retries gets this answer for this charge, or
        another answer for another one.
        """
        usage = self.usage
        self.usage = self.exchange = None
        await claim.keep(answer, None if usage is None else self._charge.end(usage))
        self.usage = usage

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        outcome, status = OK if error is None else ending(error)
        try:
            if self.usage is None and self.exchange is not None:
                await self._measure(self.exchange, outcome, error)
        finally:
            self._charge.settle(outcome, status, self.usage)
            self._admitted.usage = self.usage
        if isinstance(error, MoneyEnded):
            raise self._charge.ended() from None
        return isinstance(error, ClientGone)

    async def _measure(
        self, exchange: Exchange, outcome: Outcome, error: BaseException | None
    ) -> None:
        """Find out what to bill; whoever stops waiting for the count has the estimate."""
        self.usage = self._charge.reported(exchange)
        if self.usage is not None:
            return
        delivered = exchange.delivered()
        self.usage = self._charge.estimated(delivered, outcome)
        if self.usage is not None and not isinstance(error, asyncio.CancelledError):
            self.usage = await self._charge.counted(delivered) or self.usage


def ending(error: BaseException) -> tuple[Outcome, int]:
    """Return what an error makes of a request."""
    match error:
        case ClientGone():
            return "client_gone", 499
        case MoneyEnded():
            return "money_ended", 402
        case UpstreamTimeout():
            return "upstream_timeout", error.status
        case GatewayError(status=400):
            return "refused", 400
        case UpstreamError():
            return "upstream_failed", error.status
        case GatewayError():
            return "failed", error.status
        case asyncio.CancelledError():  # the server stops, and the client is told so
            return "failed", 503
        case _:
            return "failed", 500
