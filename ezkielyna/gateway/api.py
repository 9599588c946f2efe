"""The API's paths and what answers them; the free endpoints are answered here."""

from __future__ import annotations

from functools import partial

import orjson

from ezkielyna.contract.context import Plan
from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.requests import Endpoint
from ezkielyna.gateway.admission import Admission
from ezkielyna.gateway.authentication import Authentication, Identity
from ezkielyna.gateway.call import Call, Handler
from ezkielyna.gateway.catalogue import Catalogue
from ezkielyna.gateway.pipeline import Pipeline
from ezkielyna.gateway.reports import Reports

PATHS: dict[str, Endpoint] = {
    "/chat/completions": "chat.completions",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/images/generations": "images.generations",
}

MODEL_PREFIX = "/models/"


class Api:
    """The route table of the API."""

    def __init__(
        self,
        pipeline: Pipeline,
        authentication: Authentication,
        admission: Admission,
        catalogue: Catalogue,
        reports: Reports,
        *,
        max_body: int,
    ) -> None:
        self._authentication = authentication
        self._admission = admission
        self._catalogue = catalogue
        self._reports = reports
        self.max_body = max_body
        self._routes: dict[str, dict[str, Handler]] = {
            path: {"POST": partial(pipeline.serve, endpoint)} for path, endpoint in PATHS.items()
        }
        self._routes["/models"] = {"GET": self._models}
        self._routes["/key"] = {"GET": self._key}
        self._routes["/usage"] = {"GET": self._usage}
        self._model_routes: dict[str, Handler] = {"GET": self._model}

    def find(self, path: str) -> dict[str, Handler] | None:
        """Return the handlers by method for a path below the prefix; None when unknown."""
        handlers = self._routes.get(path)
        if handlers is None and path.startswith(MODEL_PREFIX) and path != MODEL_PREFIX:
            return self._model_routes
        return handlers

    async def _models(self, call: Call) -> None:
        """List what this key may use."""
        identity, plan = await self._identify(call)
        limit, after = _limit(call.argument("limit")), call.argument("after_id")
        document = self._catalogue.listing(plan, identity.key, limit=limit, after=after)
        call.reply.answer(orjson.dumps(document))

    async def _model(self, call: Call) -> None:
        """Show one model; its name may contain slashes."""
        identity, plan = await self._identify(call)
        name = call.head.path.removeprefix(MODEL_PREFIX)
        call.reply.answer(orjson.dumps(self._catalogue.document(name, plan, identity.key)))

    async def _key(self, call: Call) -> None:
        """Show this key and its account's money."""
        await self._reports.key(call, *await self._identify(call))

    async def _usage(self, call: Call) -> None:
        """Show what the account used."""
        identity, _ = await self._identify(call)
        await self._reports.usage(call, identity)

    async def _identify(self, call: Call) -> tuple[Identity, Plan]:
        identity = await self._authentication.identify(call.head.credential, call)
        plan = self._admission.plan(identity.account)
        call.reply.add_lines(self._admission.standing_of(identity).lines())
        return identity, plan


def _limit(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1000:
        raise InvalidRequest("'limit' must be a whole number from 1 to 1000.", param="limit")
    return int(value)
