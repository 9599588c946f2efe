"""Which upstreams a request is tried at, in which order."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ezkielyna.contract.context import Model
from ezkielyna.contract.errors import GatewayError, InvalidRequest
from ezkielyna.contract.provider import Provider
from ezkielyna.contract.requests import ApiRequest
from ezkielyna.ledger.record import Attempt, UsageRecord
from ezkielyna.wire.fetcher import Fetcher, FetchRefused

MOST_IMAGES = 16


class Routing:
    """Gives the providers to try for a model, in order.

    Retries happen in this one layer and only before the first byte: layers multiply them.
    """

    def __init__(self, providers: Mapping[str, Provider], fetcher: Fetcher | None = None) -> None:
        self._providers = providers
        self._routes = {name: ((True, provider),) for name, provider in providers.items()}
        self._fetcher = fetcher
        self.needy = frozenset(
            name
            for name, provider in providers.items()
            if fetcher is not None and type(provider).needs is not Provider.needs
        )
        """The providers that may need more than the request, where it may be fetched."""

    async def provide(self, model: Model, request: ApiRequest) -> None:
        """Fetch what the model's provider needs; raises InvalidRequest where it cannot be had."""
        needed = self._providers[model.provider].needs(request)
        if not needed or self._fetcher is None:
            return
        if len(needed) > MOST_IMAGES:
            param = list(needed.values())[MOST_IMAGES]
            raise InvalidRequest(
                f"This model takes up to {MOST_IMAGES} images by address a request; send others "
                "as data URLs.",
                param=param,
            )
        try:
            request.attach(await self._fetcher.fetch(needed))
        except FetchRefused as refused:
            raise InvalidRequest(
                f"The image at this address cannot be fetched: {refused.reason}. Send its content "
                "as a data URL.",
                param=needed[refused.url],
            ) from None

    def routes(self, model: Model) -> tuple[tuple[bool, Provider], ...]:
        """Return the provider of each route, and whether it is the last one."""
        return self._routes[model.provider]


def note(
    record: UsageRecord, model: Model, started_at: float, error: BaseException | None = None
) -> None:
    """Append an attempt that ends now to the record, with its times and how it ended."""
    status, word = 200, ""
    if isinstance(error, GatewayError):
        status, word = error.status, error.type
    elif error is not None:
        status, word = 0, type(error).__name__
    record.attempts.append(
        Attempt(model.provider, model.upstream_model, started_at, time.time(), status, word)
    )
