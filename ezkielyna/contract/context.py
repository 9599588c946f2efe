"""What is known about one request, and what a plugin may see of the gateway around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ezkielyna.contract.money import Nano, Price
from ezkielyna.contract.requests import ApiRequest, Endpoint

if TYPE_CHECKING:
    from ezkielyna.contract.provider import Provider


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the catalogue: a public name, the provider behind it, and its price.

    `vocabulary` names the tokens that are counted where the upstream sends no usage; it is empty
    where sizes must do.
    """

    name: str
    provider: str
    upstream_model: str
    price: Price
    context: int
    max_output: int
    owned_by: str
    display_name: str
    created: int = 0
    vocabulary: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may do. Limits are per minute (`tpd`: per day); 0 means no limit."""

    name: str
    rpm: int = 0
    tpm: int = 0
    tpd: int = 0
    concurrency: int = 0
    models: tuple[str, ...] = ("*",)
    billing: str = "per-token"
    limiter: str = "memory"

    def allows(self, model: str) -> bool:
        """True when a name or a prefix pattern such as `gpt-4o*` covers the model."""
        return covers(self.models, model)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays, as a process last saw it. Money is not here: the ledger has it."""

    id: str
    email: str
    plan: str
    suspended: bool = False
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as a process last saw it; never the key itself, nor its hash.

    `models` is empty when the key may use all that the plan allows. `expires_at` is in Unix
    seconds, 0 for never; `limit` is the most it may spend, None for no limit.
    """

    id: str
    account: str
    name: str
    models: tuple[str, ...] = ()
    expires_at: float = 0.0
    revoked: bool = False
    limit: Nano | None = None


def covers(patterns: tuple[str, ...], model: str) -> bool:
    """True when one of the names or `prefix*` patterns matches the model."""
    return any(
        model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
        for pattern in patterns
    )


@dataclass(slots=True)
class RequestContext:
    """One request from its admission to its end; the only thing that travels between rooms.

    `input_estimate` is the likely number of input tokens, `input_bound` is at least the real
    number. `output_bound` is the most output tokens the answer can have. `started_at` is in Unix
    seconds. `notes` is for plugins: keys are `plugin-name.word`.
    """

    request_id: str
    endpoint: Endpoint
    request: ApiRequest
    account: Account
    key: Key
    plan: Plan
    model: Model
    started_at: float
    input_estimate: int = 0
    input_bound: int = 0
    output_bound: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Gateway(Protocol):
    """What `startup`, `shutdown` and `register_routes` see: names and objects, frozen at start."""

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Every configured provider by its configured name."""

    @property
    def models(self) -> Mapping[str, Model]:
        """The catalogue by public name."""

    @property
    def data(self) -> Path:
        """The folder in which the gateway, and a plugin under its own name, may keep files."""
