"""What only operators' pages look into: the plugins, the upstreams, and how settlement goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, metadata
from typing import TYPE_CHECKING, Any

from ezkielyna.console.shown import Shown, shown
from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.provider import Provider
from ezkielyna.plugins import DEFAULTS, Registries, installed

if TYPE_CHECKING:
    from ezkielyna.gateway.probe import Probe


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin on this machine; `enabled` when the configuration names it."""

    name: str
    distribution: str
    version: str
    summary: str
    enabled: bool

    @classmethod
    def of(cls, name: str, points: Sequence[EntryPoint], *, enabled: bool) -> Installed:
        """Return what its distribution says of it; the defaults are our own."""
        point = points[0] if points else None
        distribution = point.dist.name if point is not None and point.dist else "ezkielyna"
        about = metadata(distribution)
        return cls(name, distribution, about["Version"], about["Summary"] or "", enabled)


@dataclass(frozen=True)
class Office:
    """The rooms behind operators' pages.

    `policies` are by the name that plans use. `backlog` says how many requests that ended in this
    process are not in the database yet. `probe` makes one tiny call through a provider, by its
    configured name; its answer is None where no model of the provider is sold by the token.
    `plugins` are the names of those that run.
    """

    registries: Registries
    providers: Mapping[str, Provider]
    policies: Mapping[str, BillingPolicy]
    backlog: Callable[[], int]
    probe: Callable[[str], Awaitable[Probe | None]]
    plugins: Sequence[str]

    @cached_property
    def installed(self) -> Sequence[Installed]:
        """Our own defaults, the plugins that run, in their order, then all others by name."""
        points = installed()
        names = dict.fromkeys((DEFAULTS, *self.plugins, *points))
        return [
            Installed.of(name, points.get(name, []), enabled=name in (DEFAULTS, *self.plugins))
            for name in names
        ]

    def kinds(self, plugin: str) -> Mapping[str, Sequence[Shown]]:
        """Return what tables of the kinds that a plugin offers may hold; like kinds as one.

        Keyed by what such tables begin with, such as `[providers.…] kind = "lab"`.
        """
        alike: dict[tuple[Any, ...], list[str]] = {}
        for section, kind, class_ in self._offered(plugin):
            alike.setdefault((section, *shown(class_.Settings)), []).append(f'"{kind}"')
        return {
            f"[{section}.…] kind = {' or '.join(kinds)}": lines
            for (section, *lines), kinds in alike.items()
            if lines
        }

    def _offered(self, plugin: str) -> Iterator[tuple[str, str, Any]]:
        shelves: Sequence[tuple[str, Mapping[str, type]]] = (
            ("providers", self.registries.providers),
            ("billing", self.registries.billing),
            ("payments", self.registries.payments),
        )
        for section, shelf in shelves:
            for kind, class_ in shelf.items():
                if self.registries.offered_by[class_] == plugin:
                    yield section, kind, class_
