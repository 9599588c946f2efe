"""Which upstreams a request is tried at, in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from ezkielyna.contract.context import Model
from ezkielyna.contract.errors import GatewayError
from ezkielyna.contract.provider import Exchange, Provider
from ezkielyna.contract.requests import ApiRequest
from ezkielyna.ledger.record import Attempt, UsageRecord


class Routing:
    """Gives the exchanges to try for a model, in order.

    Retries happen in this one layer and only before the first byte: layers multiply them.
    """

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    def exchanges(
        self, model: Model, request: ApiRequest
    ) -> Iterator[tuple[bool, Provider, Exchange]]:
        """Yield a fresh exchange for each route, and whether it is the last one.

        Raises Unsupported for what the route's upstream cannot do.
        """
        provider = self._providers[model.provider]
        yield True, provider, provider.exchange(request, model.upstream_model)


class Noted:
    """Appends an attempt to the record, with its times and how it ended."""

    __slots__ = ("_model", "_record", "_started")

    def __init__(self, record: UsageRecord, model: Model) -> None:
        self._record = record
        self._model = model
        self._started = time.time()

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        status, word = 200, ""
        if isinstance(error, GatewayError):
            status, word = error.status, error.type
        elif error is not None:
            status, word = 0, type(error).__name__
        model = self._model
        self._record.attempts.append(
            Attempt(model.provider, model.upstream_model, self._started, time.time(), status, word)
        )
