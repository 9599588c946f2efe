"""Which upstreams a request is tried at, in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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


@contextmanager
def noted(record: UsageRecord, model: Model) -> Iterator[None]:
    """Append an attempt to the record, with its times and how it ended."""
    started = time.time()
    status, error = 200, ""
    try:
        yield
    except GatewayError as failure:
        status, error = failure.status, failure.type
        raise
    except BaseException as failure:
        status, error = 0, type(failure).__name__
        raise
    finally:
        record.attempts.append(
            Attempt(model.provider, model.upstream_model, started, time.time(), status, error)
        )
