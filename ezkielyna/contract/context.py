"""What is known about one request, and what a plugin may see of the gateway around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.limits import NO_LIMITS, Limits, Override
from ezkielyna.contract.money import NO_BILL, Bill, Nano, Price
from ezkielyna.contract.requests import ApiRequest, Endpoint
from ezkielyna.contract.usage import Usage

if TYPE_CHECKING:
    from ezkielyna.contract.provider import Provider

Watcher = Callable[[bytes], None]
"""Is shown whole events of one stream, in order, right after they were handed to the client."""

Route = tuple[str, type] | tuple[str, type, dict[str, Any]]
"""A Tornado rule: pattern, handler class, and arguments for its `initialize`."""

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token of RFC 9110 section 5.6.2."""

HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
RESERVED_HEADERS = frozenset(
    {"content-type", "content-length", "transfer-encoding", "connection", "x-request-id"}
)
"""Headers of an answer that belong to the gateway."""


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
    """What an account may do. `rpm`, `tpm`, `tpd` and `concurrency` are its limits, as `Limits`.

    `key` limits each key, and `model` each model that a name or prefix pattern covers, by account.
    """

    name: str
    rpm: int = 0
    tpm: int = 0
    tpd: int = 0
    concurrency: int = 0
    models: tuple[str, ...] = ("*",)
    billing: str = "per-token"
    limiter: str = "memory"
    key: Limits = NO_LIMITS
    model: tuple[tuple[str, Limits], ...] = ()
    scoped: bool = field(init=False, repr=False, compare=False)
    """Whether more than an account is limited."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scoped", bool(self.key or self.model))

    def allows(self, model: str) -> bool:
        """True when a name or a prefix pattern such as `gpt-4o*` covers the model."""
        return "*" in self.models or covers(self.models, model)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays, as a process last saw it. Money is not here: the ledger has it.

    `limits` override the plan's for this account.
    """

    id: str
    email: str
    plan: str
    suspended: bool = False
    verified: bool = True
    limits: Override | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as a process last saw it; never the key itself, nor its hash.

    `models` is empty when the key may use all that the plan allows. `expires_at` is in Unix
    seconds, 0 for never; `limit` is the most it may spend, None for no limit; `limits` override the
    plan's for a key.
    """

    id: str
    account: str
    name: str
    models: tuple[str, ...] = ()
    expires_at: float = 0.0
    revoked: bool = False
    limit: Nano | None = None
    limits: Override | None = None


def covers(patterns: tuple[str, ...], model: str) -> bool:
    """True when one of the names or `prefix*` patterns matches the model."""
    return any(
        model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
        for pattern in patterns
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A plain answer that a plugin gives in the upstream's place, as `ctx.answer`.

    `body` is the JSON object that the client gets; the core writes its `usage.cost` anew. `usage`
    is billed by the account's policy; None bills nothing.
    """

    body: bytes
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended, for `after_request`. Times are in Unix seconds.

    `outcome` is `ok`, `client_gone`, `money_ended`, `upstream_failed`, `upstream_timeout`,
    `refused` (wrong, or not allowed now) or `failed` (a fault of ours); `status` is the answer's,
    499 where the client left. `error` is the stable word of the error that the client was told.
    `usage` is what was billed, None where nothing was. `body` is a plain answer of status 200.
    """

    outcome: str
    status: int
    ended_at: float
    error: str = ""
    usage: Usage | None = None
    bill: Bill = NO_BILL
    first_byte_at: float | None = None
    body: bytes | None = None


@dataclass(slots=True)
class RequestContext:
    """One request from its admission to its end; the only thing that travels between rooms.

    `input_estimate` is the likely number of input tokens, `input_bound` is at least the real
    number. `output_bound` is the most output tokens the answer can have. `started_at` is in Unix
    seconds. `notes` is for plugins: keys are `plugin-name.word`. `answer` may be set by
    `before_request`; `ended` is there in `after_request`. `received` and `added` are what
    `header` and `add_header` read and write, where a plugin looks at requests.
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
    answer: Answer | None = None
    ended: Ended | None = None
    received: Mapping[str, str] | None = None
    added: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """Return a header of the customer's request; never one that holds a credential."""
        return self.received.get(name.lower()) if self.received is not None else None

    def add_header(self, name: str, text: str) -> None:
        """Send this header with the answer; only in `before_request`.

        Raises ValueError for what is no header, and for the headers that are the gateway's own.
        """
        if not HEADER_NAME.fullmatch(name) or not HEADER_TEXT.fullmatch(text):
            raise ValueError(f"{name!r}: {text!r} is no header")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{name} belongs to the gateway")
        self.added += ((name, text),)

    def change(self, fields: Mapping[str, Any]) -> None:
        """Send these fields on instead of the request's; only in `before_request`.

        Raises ValueError where they are no such request, or are for another model, or streamed
        where the customer's request is plain: who pays for what was decided before.
        """
        try:
            request = type(self.request).parse(orjson.dumps(fields))
        except (TypeError, InvalidRequest) as error:
            raise ValueError(f"the changed request is not valid: {error}") from error
        if (request.model, request.streamed) != (self.request.model, self.request.streamed):
            raise ValueError("a plugin may change neither the model nor whether it is streamed")
        self.request = request


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
