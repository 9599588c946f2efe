"""Provider and exchange: the translation between OpenAI's dialect and an upstream's.

Both are pure. They open no socket, await nothing and read no clock, so they are tested by feeding
them recorded bytes, cut anywhere. The core owns connections, time limits, retries, back-pressure
and cancellation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.contract.money import Nano
from ezkielyna.contract.requests import ApiRequest
from ezkielyna.contract.usage import Usage

Headers = Mapping[str, str]
"""Response headers of an upstream; names are lower case."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class TimeLimits(BaseModel):
    """How long the core waits for an upstream, phase by phase, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_s: Seconds = Field(5.0, description="to open a connection, TLS included")
    first_byte_s: Seconds = Field(300.0, description="from the sent request to the answer's head")
    idle_s: Seconds = Field(120.0, description="between two reads of an answer")
    total_s: Seconds = Field(1800.0, description="from the start to the end of an attempt")


class ProviderSettings(BaseModel):
    """What every provider can be configured with; a kind adds fields by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field("", description="what precedes the endpoint's path")
    api_key: SecretStr = Field(SecretStr(""), description="the operator's key at this upstream")
    headers: dict[str, str] = Field(default_factory=dict, description="sent with every request")
    time_limits: TimeLimits = Field(TimeLimits(), description="how long to wait for the upstream")

    @field_validator("base_url")
    @classmethod
    def _an_http_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")


class UpstreamRequest(NamedTuple):
    """One HTTP request to an upstream; `url` is absolute. The core adds Host and lengths."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Delivered(NamedTuple):
    """What a stream handed on before it was cut: visible text, reasoning, and tool arguments."""

    text: str = ""
    reasoning: str = ""
    tools: str = ""

    @property
    def empty(self) -> bool:
        """True when nothing was delivered, so that nothing is charged."""
        return not (self.text or self.reasoning or self.tools)


class Exchange(ABC):
    """One request to one upstream and the translation of its answer. Used once.

    The core calls either `answer` (plain), or `feed` any number of times and then `close`
    (streamed, status 200), or `failure` (any other status). The body of `request` is let go once
    the first events were handed on. `usage` is what the upstream reported
    so far, in disjoint buckets; None until it did. `price` is set by the core before the first
    call: where the answer shows usage to the client, the exchange writes `cost` beside it. So is
    `created`, the Unix time of the request, for upstreams that send no time of their own.
    `dropped` names the parameters that this upstream has no place for and that shape the answer;
    the client is told in the header `x-ezkielyna-dropped`.
    """

    request: UpstreamRequest
    dropped: tuple[str, ...] = ()
    created: int = 0
    usage: Usage | None = None
    price: Callable[[Usage], Nano] | None = None

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Return whole OpenAI events for the next bytes of a streamed answer; may be empty.

        Any split of the input gives the same output. Raises UpstreamError where the stream itself
        reports an error; what `feed` returned before stays delivered.
        """

    @abstractmethod
    def close(self) -> bytes:
        """Return what is still owed after the upstream's end: usage chunk, `[DONE]`.

        Raises UpstreamError if the stream ended too early.
        """

    @abstractmethod
    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the OpenAI-shaped body for a plain answer of status 200.

        Raises UpstreamError where a 200 hides an error or is no answer at all.
        """

    @abstractmethod
    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that an answer with another status stands for; never raises."""

    @abstractmethod
    def delivered(self) -> Delivered:
        """Return what `feed` has handed on so far, for billing a stream that was cut."""

    def tidy(self) -> None:  # noqa: B027 - most exchanges keep nothing
        """Give back memory that is not needed; called about once a second while a stream runs."""

    @abstractmethod
    def progress(self) -> int:
        """Return about how many output tokens `feed` has handed on; cheap, never falls."""


class Provider(ABC):
    """Translates for one kind of upstream. Pure: no I/O, no clock, no state between exchanges."""

    kind: ClassVar[str]
    """The word that `[providers.NAME] kind = …` selects."""

    class Settings(ProviderSettings):
        """The settings of this kind; `extra="forbid"` names a misspelt key at start-up."""

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self.name = name
        self.settings = settings

    def needs(self, request: ApiRequest) -> Mapping[str, str]:
        """Return the addresses of images whose bytes the exchange must have, each with its place.

        A place is what errors name: `messages[0].content[1].image_url.url`. The core fetches them,
        guarded, and `request.media` has them when it asks for the exchange; they are not there
        where the operator switched that off. Not called where a class does not define it.
        """
        return {}

    @abstractmethod
    def exchange(self, request: ApiRequest, model: str) -> Exchange:
        """Return the exchange for this request to the upstream's `model`.

        Raises Unsupported for what this kind of upstream cannot do.
        """
