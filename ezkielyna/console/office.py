"""What only operators' pages look into: the plugins, the upstreams, and how settlement goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ezkielyna.contract.billing import BillingPolicy
from ezkielyna.contract.provider import Provider
from ezkielyna.plugins import Registries

if TYPE_CHECKING:
    from ezkielyna.gateway.probe import Probe


@dataclass(frozen=True)
class Office:
    """The rooms behind operators' pages.

    `policies` are by the name that plans use. `backlog` says how many requests that ended in this
    process are not in the database yet. `probe` makes one tiny call through a provider, by its
    configured name; its answer is None where no model of the provider is sold by the token.
    """

    registries: Registries
    providers: Mapping[str, Provider]
    policies: Mapping[str, BillingPolicy]
    backlog: Callable[[], int]
    probe: Callable[[str], Awaitable[Probe | None]]
