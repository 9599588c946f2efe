"""Every setting of the configuration file, with its type, default and description."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
)

from ezkielyna.contract.context import Plan
from ezkielyna.contract.limits import Limits
from ezkielyna.contract.money import Nano, Price, nano
from ezkielyna.contract.usage import Bucket


def _amount(value: Any) -> Any:
    """Return nano-dollars for an amount of USD as TOML or a variable gives it."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be an amount of USD, such as 2.50")  # noqa: TRY004 - pydantic's
    amount = nano(value)
    if amount < 0:
        raise ValueError("must not be negative")
    return amount


def _whole_day(value: Any) -> Any:
    """Refuse a date with a time of day, which is a `date` to Python."""
    if isinstance(value, datetime):
        raise ValueError("must be a day, such as 2026-11-01")  # noqa: TRY004 - pydantic's
    return value


def _network(value: str) -> str:
    """Return an address or a network as it was written; refuse anything else."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be addresses or networks, such as 10.0.0.0/8") from None
    return value


def _mail_url(value: str) -> str:
    """Return a way for mail to leave as it was written; refuse anything else."""
    if value == "console:" or (value.startswith("file:") and len(value) > len("file:")):
        return value
    parts = urlsplit(value)
    if parts.scheme in ("smtp", "smtps") and parts.hostname:
        return value
    raise ValueError("must be console: or file:FOLDER or smtp://USER:PASSWORD@HOST:587")


Usd = Annotated[Nano, BeforeValidator(_amount)]
"""An amount of USD in the file, exact nano-dollars (per million tokens, or a piece) here."""


def _path_word(value: str) -> str:
    """Refuse a name that cannot stand in an address as it is."""
    if not value.isascii() or not value.replace("-", "").replace("_", "").isalnum():
        raise ValueError("its name is part of an address: use letters, digits, - and _ only")
    return value


def _contact(value: str) -> str:
    """Refuse what a page cannot make a link of."""
    if value and not value.startswith("https://") and "@" not in value:
        raise ValueError("must be an e-mail address or begin with https://")
    return value


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what no account can have."""
    for value in values:
        if "@" not in value:
            raise ValueError(f"{value!r} is no e-mail address")
    return values


PathWord = Annotated[str, AfterValidator(_path_word)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(strict=False)]
Day = Annotated[date, BeforeValidator(_whole_day)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Section(BaseModel):
    """A table of the file: misspelt keys and wrong types are refused, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class SecretFile(Section):
    """A secret that is made at first start when the file is absent."""

    file: Annotated[str, Field(min_length=1, description="path of the file")]


class ServerSettings(Section):
    """`[server]`: where and how the gateway listens."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 for a free one")
    workers: int = Field(1, ge=0, le=512, description="processes; 0 for one a core")
    public_url: str = Field("", description="how clients reach us; http://HOST:PORT when empty")
    drain_s: float = Field(
        600.0, ge=0, le=86_400, description="how long running requests may take after SIGTERM"
    )
    secret: SecretStr | SecretFile | None = Field(
        None,
        description="keys the hashes of API keys and signs cookies; the same on every node; the "
        "file `secret` in the data folder by default, made at first start when absent",
    )
    wire: Literal["llhttp", "tornado"] = Field("llhttp", description="who parses HTTP")
    max_body: int = Field(20 * 2**20, ge=1024, description="largest body of a request, in bytes")
    max_header: int = Field(32 * 2**10, ge=1024, description="largest header section, in bytes")
    max_connections: int = Field(10_000, ge=1, description="open connections of one process")
    max_in_flight: int = Field(10_000, ge=1, description="API requests of one process at once")
    max_memory_mib: Count = Field(
        0,
        description="resident memory of one process, in MiB; 0 for its share of four fifths of the "
        "machine's or control group's",
    )
    header_timeout_s: Seconds = Field(10.0, description="for the head of a request to arrive")
    body_timeout_s: Seconds = Field(60.0, description="for the body of a request to arrive")
    idle_timeout_s: Seconds = Field(75.0, description="between two requests of a connection")
    trusted_proxies: Networks = Field(
        ("127.0.0.1", "::1"),
        description="addresses and networks of proxies before us: what they say in "
        "X-Forwarded-For is believed",
    )
    heartbeat_s: Seconds = Field(15.0, description="upstream silence before a stream's comment")

    @property
    def processes(self) -> int:
        """How many processes serve: `workers`, or one a core."""
        return self.workers or os.cpu_count() or 1

    @property
    def address(self) -> str:
        """How clients reach us, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class StorageSettings(Section):
    """`[storage]`: the database."""

    url: str = Field(
        "embedded:",
        repr=False,
        description="embedded: or mongodb://… (a replica set; one node is enough)",
    )
    database: Annotated[str, Field(min_length=1)] = Field(
        "ezkielyna", description="name of the database"
    )
    driver: Literal["motor", "pymongo"] = Field(
        "motor", description="motor, or pymongo for PyMongo's own asyncio client"
    )


class FetchSettings(Section):
    """`[fetch]`: images that a request names, for upstreams that want their bytes."""

    enabled: bool = Field(True, description="whether they are fetched; else such requests get 400")
    allow: Networks = Field(
        (), description="addresses or networks that are fetched from, beside public ones"
    )


class RedisSettings(Section):
    """`[redis]`: for limits that many machines share."""

    url: str = Field("", repr=False, description="redis://… or empty for none")


class AccountSettings(Section):
    """`[accounts]`: how accounts come to be."""

    signup: bool = Field(True, description="whether strangers may create an account")
    signup_credit: Usd = Field(500_000_000, description="credit of a new account, in USD")
    plan: str = Field("default", description="plan of a new account")
    require_verified_email: bool = Field(
        True, description="whether keys work only after the e-mail address is verified"
    )
    refund_policy: str = Field(
        "Credit does not expire. What you have not used is refunded on request.",
        description="said beside the amount before a customer pays",
    )
    operators: Annotated[Names, AfterValidator(_addresses)] = Field(
        (), description="e-mail addresses of accounts that may open /admin, once verified"
    )
    contact: Annotated[str, AfterValidator(_contact)] = Field(
        "", description="how customers reach you: an e-mail address or an https:// address"
    )


class MailSettings(Section):
    """`[mail]`: how messages leave."""

    url: Annotated[str, AfterValidator(_mail_url)] = Field(
        "console:",
        repr=False,
        description="console: or file:FOLDER (one .eml a message) or smtp://USER:PASSWORD@HOST:587 "
        "(TLS by STARTTLS; smtps:// for TLS from the first byte)",
    )
    sender: str = Field("Ezkielyna <no-reply@localhost>", description="the From of every message")


class LimitSettings(Section):
    """`[plans.NAME.key]` and `[plans.NAME.model."MODEL"]`; 0 means no limit."""

    rpm: Count = Field(0, description="requests a minute")
    tpm: Count = Field(0, description="tokens a minute")
    tpd: Count = Field(0, description="tokens a day")
    concurrency: Count = Field(0, description="requests at once")

    @property
    def limits(self) -> Limits:
        """The limits as requests carry them."""
        return Limits(**self.model_dump())


class PlanSettings(Section):
    """`[plans.NAME]`: what an account may do; 0 means no limit."""

    rpm: Count = Field(60, description="requests a minute")
    tpm: Count = Field(200_000, description="tokens a minute")
    tpd: Count = Field(0, description="tokens a day")
    concurrency: Count = Field(20, description="requests at once")
    models: Names = Field(("*",), description="names, or prefix patterns such as gpt-4o*")
    billing: str = Field(
        "per-token", description="name of a [billing.…] table, or kind of billing policy"
    )
    limiter: str = Field("memory", description="kind of rate limiter")
    key: LimitSettings = Field(LimitSettings(), description="limits of each key")
    model: dict[str, LimitSettings] = Field(
        default_factory=dict,
        description="limits of each model in an account, by name or prefix pattern; the closest "
        "one holds",
    )

    def plan(self, name: str) -> Plan:
        """Return the plan that a request carries."""
        flat = self.model_dump(exclude={"key", "model"})
        models = tuple((pattern, one.limits) for pattern, one in self.model.items())
        return Plan(name=name, **flat, key=self.key.limits, model=models)


DEFAULT_PAYMENTS: Mapping[str, dict[str, Any]] = {"voucher": {"kind": "voucher"}}
"""Tables of `[payments]` that are there unless the file has its own of that name."""

RATE_KEYS: Mapping[str, Bucket] = {
    "input": "input",
    "cached_input": "cached_input",
    "cache_write": "cache_write",
    "output": "output",
    "audio_in": "audio_in",
    "audio_out": "audio_out",
    "image": "images",
}
"""The price keys of a model, and the bucket of usage each one prices."""


class RateSettings(Section):
    """Rates as the file has them, by the keys of `RATE_KEYS`."""

    input: Usd | None = Field(None, description="USD per million input tokens")
    cached_input: Usd | None = Field(None, description="read from a cache; as input when absent")
    cache_write: Usd | None = Field(None, description="written to a cache; as input when absent")
    output: Usd | None = Field(None, description="USD per million output tokens, reasoning too")
    audio_in: Usd | None = Field(None, description="audio tokens in; as input when absent")
    audio_out: Usd | None = Field(None, description="audio tokens out; as output when absent")
    image: Usd | None = Field(None, description="USD per image, where sold by the piece")

    @property
    def price(self) -> Price:
        """The price; `load` refuses a model without one."""
        rates = {
            bucket: rate
            for key, bucket in RATE_KEYS.items()
            if (rate := getattr(self, key)) is not None
        }
        assert rates
        return Price.of(rates)


class ModelSettings(RateSettings):
    """`[models."NAME"]`: a public model, the provider behind it, and its price."""

    provider: str = Field(description="name of a [providers.…] table")
    upstream_model: str = Field(
        "", description="its name at the upstream; the public name if empty"
    )
    cost: RateSettings | None = Field(
        None,
        description="what the upstream charges you, with the keys of the price; operators see the "
        "margin, nobody is billed by it",
    )
    priced_on: Day | None = Field(None, description="the day on which this was the list price")
    context: Count = Field(0, description="tokens that go in and come out together; 0: unknown")
    max_output: Count = Field(0, description="most output tokens of one answer; 0: unknown")
    vocabulary: Literal["", "cl100k_base", "o200k_base"] = Field(
        "", description="counts tokens where the upstream sends no usage; sizes do when empty"
    )
    owned_by: str = Field("", description="who made it; the provider's name when empty")
    display_name: str = Field("", description="its name for people; the public name when empty")
    created: Day | None = Field(None, description="the day it appeared, shown by /models")

    @property
    def created_at(self) -> int:
        """`created` in Unix seconds, 0 when unknown."""
        if self.created is None:
            return 0
        return int(datetime.combine(self.created, time(), UTC).timestamp())


class Settings(Section):
    """The whole configuration. Built by `load`, which knows where every value came from."""

    plugins: Names = Field((), description="entry-point names of plugins to load, in order")
    plugin: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="settings of plugins, a table for each by its entry-point name",
    )
    server: ServerSettings = Field(ServerSettings(), description="where and how to listen")
    storage: StorageSettings = Field(StorageSettings(), description="the database")
    fetch: FetchSettings = Field(FetchSettings(), description="images that a request names")
    redis: RedisSettings = Field(RedisSettings(), description="for limits many machines share")
    providers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="upstreams by a name of your own; `kind` is what a plugin offers, the other "
        "keys are that kind's",
    )
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="public models")
    billing: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="billing policies by a name of your own; `kind` is what a plugin offers, the "
        "other keys are that kind's",
    )
    payments: dict[PathWord, dict[str, Any]] = Field(
        default_factory=lambda: dict(DEFAULT_PAYMENTS),
        repr=False,
        description="payment methods by a name of your own, which is part of the address that the "
        "provider notifies; `kind` is what a plugin offers, the other keys are that kind's",
    )
    plans: dict[str, PlanSettings] = Field(
        default_factory=lambda: {"default": PlanSettings()}, description="what accounts may do"
    )
    accounts: AccountSettings = Field(AccountSettings(), description="how accounts come to be")
    mail: MailSettings = Field(MailSettings(), description="how messages leave")

    _origins: dict[tuple[str, ...], str] = PrivateAttr(default_factory=dict)
    _secrets: set[tuple[str, ...]] = PrivateAttr(default_factory=set)

    def origin(self, *path: str) -> str:
        """Return the file or variable that set this key, or else the nearest table above it."""
        return origin_of(self._origins, path)

    def secret(self, *path: str) -> bool:
        """True when this value, or a part of it, is a secret out of the environment or a file."""
        return any(place[: len(path)] == path for place in self._secrets)


def origin_of(origins: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> str:
    """Return where a key, or else the nearest table above it, was last written."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return "defaults"
