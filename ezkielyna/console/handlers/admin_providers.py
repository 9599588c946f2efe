"""Operators: the upstreams, how they do, and one tiny call to see for oneself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tornado.web import HTTPError

from ezkielyna.console.charts.usage import milliseconds
from ezkielyna.console.handlers.admin import OperatorPage
from ezkielyna.console.topic import Topic
from ezkielyna.contract.provider import Provider
from ezkielyna.ledger.periods import HOUR
from ezkielyna.ledger.series import latency
from ezkielyna.storage.totals import Recent, recent
from ezkielyna.storage.trail import note
from ezkielyna.storage.usage import Sums

if TYPE_CHECKING:
    from ezkielyna.gateway.probe import Probe

FAULTS = frozenset({"upstream_failed", "upstream_timeout"})
"""Outcomes that are a provider's fault; what it refuses as wrong is the customer's."""

MANY = 0.5
"""The share of failures from which on a provider is not just shaky."""


@dataclass(slots=True)
class Health:
    """How a provider did in the last hour or two, over all processes."""

    sums: Sums = field(default_factory=Sums)
    faults: int = 0

    def add(self, found: Recent) -> None:
        """Add what requests for one of its models came to."""
        self.sums.add(found.sums)
        if found.outcome in FAULTS:
            self.faults += found.sums.requests

    @property
    def state(self) -> tuple[str, str]:
        """What a badge says, and its kind."""
        if not self.sums.requests:
            return "no requests lately", "plain"
        if not self.faults:
            return "well", "good"
        failing = self.faults >= MANY * self.sums.requests
        return ("failing", "bad") if failing else ("some requests fail", "note")

    @property
    def first_byte(self) -> str:
        """The mean time to the first byte; nothing where there was none."""
        found = latency(self.sums)
        return "" if found is None else milliseconds(found)


class Providers(OperatorPage):
    """Every configured provider."""

    async def get(self) -> None:
        """Show them."""
        await self._show(None)

    async def post(self) -> None:
        """Make a tiny call through one of them, and show how it went."""
        name = self.text("provider")
        if name not in self.console.office.providers:
            raise HTTPError(404)
        await note(
            self.console.database,
            self.account.id,
            "provider-tested",
            by=self.signature,
            about=name,
        )
        found = await self.console.office.probe(name)
        if found is None:
            self.errors["provider"] = (
                f"No model of {name} is sold by the token, so there is none to try; "
                "add one to [models]."
            )
            self.set_status(422)
        await self._show(found)

    async def _show(self, tried: Probe | None) -> None:
        office, models = self.console.office, self.console.models
        since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
        owners = {name: model.provider for name, model in models.items()}
        self.render(
            "admin-providers.html",
            title="Providers",
            providers=office.providers.values(),
            plugins=office.registries.offered_by,
            sold=Counter(owners.values()),
            health=health(await recent(self.console.database, since), owners),
            since=since,
            tried=tried,
        )


def health(found: Iterable[Recent], owners: Mapping[str, str]) -> dict[str, Health]:
    """Return how providers did by name; `owners` says which one serves a model."""
    by_provider: dict[str, Health] = {}
    for one in found:
        provider = owners.get(one.model)
        if provider is not None:
            by_provider.setdefault(provider, Health()).add(one)
    return by_provider


def address(provider: Provider) -> str:
    """Return a provider's base URL without a name and password that it may hold."""
    base = provider.settings.base_url
    parts = urlsplit(base)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


TOPIC = Topic(
    routes=((r"/admin/providers", Providers),),
    names={"provider_address": address, "no_health": Health()},
)
