"""What clients send: OpenAI's requests, parsed once from the bytes, unknown fields kept.

Only what the gateway itself needs is typed; everything else is the upstream's business and
survives untouched. Field names, types and ranges are those of OpenAI's OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.members import dumped, with_members

Endpoint = Literal["chat.completions", "completions", "embeddings", "images.generations"]

TokenCount = Annotated[int, Field(ge=0, le=100_000_000)]
StopSequences = str | list[str] | None


class Media(NamedTuple):
    """What the core fetched from an address that a request names."""

    mime: str
    data: bytes


NO_MEDIA: Mapping[str, Media] = MappingProxyType({})

LARGE_BODY = 256 * 1024
"""Bodies above this size, in bytes, are not parsed a second time, and not written anew if possible:
whatever looks at all of their bytes keeps everybody else waiting."""


class StreamOptions(BaseModel):
    """`stream_options`: only `include_usage` concerns the gateway."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = None


class ApiRequest(BaseModel):
    """A request of a customer. `body` holds the bytes it was parsed from.

    `output_cap`, when the core sets it, is the most output tokens, over all choices, that the
    customer's money covers; an exchange must not ask its upstream for more.
    """

    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)
    endpoint: ClassVar[Endpoint]
    streams: ClassVar[bool] = True
    """False for an endpoint that has no stream, whatever a client asks for."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    # Slots, because pydantic's private attributes cost as much as the parsing of a short request.
    __slots__ = ("_media", "body", "output_cap", "streamed")
    if TYPE_CHECKING:
        _media: Mapping[str, Media]

        @property
        def body(self) -> bytes:
            """The bytes the client sent."""

        @property
        def output_cap(self) -> int | None:
            """The most output tokens to ask the upstream for, where money is short."""

        @property
        def streamed(self) -> bool:
            """True when the client asked for server-sent events, and the endpoint has them."""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Return the request that these bytes hold; raises InvalidRequest naming the field."""
        try:
            request: Self = cls.__pydantic_validator__.validate_json(body)
        except ValidationError as error:
            raise _explained(error) from None
        object.__setattr__(request, "body", body)
        object.__setattr__(request, "output_cap", None)
        object.__setattr__(request, "streamed", cls.streams and bool(request.stream))
        request._check()
        return request

    def _check(self) -> None:
        """Raise InvalidRequest for rules between fields; cheaper than a validator of pydantic."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest(
                "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
            )

    @property
    def wants_usage(self) -> bool:
        """True when the client asked for the usage chunk of a stream."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def cap_output(self, tokens: int) -> None:
        """Bound the output to what the customer's money covers."""
        object.__setattr__(self, "output_cap", tokens)

    @property
    def media(self) -> Mapping[str, Media]:
        """What is at the addresses that the provider said it needs; see `Provider.needs`."""
        return getattr(self, "_media", NO_MEDIA)

    def attach(self, media: Mapping[str, Media]) -> None:
        """Add what was fetched; the core does this before it asks for the exchange."""
        object.__setattr__(self, "_media", media)

    def fields(self) -> dict[str, Any]:
        """Return the body as a dictionary of its own, explicit top-level nulls left out.

        Of a large body the values are those of this request: put others in their place, and change
        nothing inside of them. Raises InvalidRequest where the bytes of a smaller one are JSON to
        no strict parser (NaN, infinite numbers).
        """
        if len(self.body) > LARGE_BODY:
            return self._as_parsed()
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
        return {name: value for name, value in document.items() if value is not None}

    def _as_parsed(self) -> dict[str, Any]:
        values = {**self.__dict__, **(self.__pydantic_extra__ or {})}
        return {
            name: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
            for name, value in values.items()
            if value is not None
        }

    def body_with(self, changes: Mapping[str, Any]) -> bytes:
        """Return the body with other values of top-level fields, left out where that is None.

        Explicit nulls are left out, too. In a large body every other value keeps its bytes, where
        that is less work than to write it anew. Raises InvalidRequest as `fields` does.
        """
        if len(self.body) > LARGE_BODY:
            changed = with_members(self.body, changes)
            if changed is not None:
                return changed
        fields = {**self.fields(), **changes}
        return dumped({name: value for name, value in fields.items() if value is not None})

    def output_limit(self) -> int | None:
        """Return the most output tokens the client asked for, over all choices; None: no limit."""
        return None

    def choices(self) -> int:
        """Return how many answers the client asked for."""
        return 1


_CONTENT: Final = (str, list, NoneType)
_TOOL_CALLS: Final = (list, NoneType)
"""What every upstream demands of these fields; the rest of a message is the upstream's to judge."""


class ChatRequest(ApiRequest):
    """POST /chat/completions."""

    endpoint = "chat.completions"

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    stop: StopSequences = None
    tools: list[dict[str, Any]] | None = None

    def _check(self) -> None:
        super()._check()
        for message in self.messages:
            if not (
                isinstance(message.get("role"), str)
                and isinstance(message.get("content"), _CONTENT)
                and isinstance(message.get("tool_calls"), _TOOL_CALLS)
            ):
                raise _faulty(self.messages, message)

    def output_limit(self) -> int | None:
        """Return `max_completion_tokens`, else the deprecated `max_tokens`, times `n`."""
        limit = self.max_completion_tokens
        if limit is None:
            limit = self.max_tokens
        return None if limit is None else limit * (self.n or 1)

    def choices(self) -> int:
        """Return `n`."""
        return self.n or 1


def _faulty(messages: list[dict[str, Any]], message: dict[str, Any]) -> InvalidRequest:
    """Return the error for a message that no upstream would take."""
    place = f"messages[{next(i for i, one in enumerate(messages) if one is message)}]"
    if not isinstance(message.get("role"), str):
        return InvalidRequest(
            "Every message needs a 'role' such as 'user' or 'assistant'.", param=f"{place}.role"
        )
    name, expected = "tool_calls", "a list"
    if not isinstance(message.get("content"), _CONTENT):
        name, expected = "content", "text or a list of parts"
    param = f"{place}.{name}"
    return InvalidRequest(f"Invalid value for '{param}': expected {expected}.", param=param)


class CompletionRequest(ApiRequest):
    """POST /completions, the legacy endpoint."""

    endpoint = "completions"

    prompt: str | list[str] | list[int] | list[list[int]] | None = None
    max_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    stop: StopSequences = None

    def output_limit(self) -> int | None:
        """Return `max_tokens` (16 when absent, as OpenAI documents) for every choice."""
        limit = 16 if self.max_tokens is None else self.max_tokens
        return limit * self.choices()

    def choices(self) -> int:
        """Return the answers that are generated: prompts times the larger of `n` and `best_of`."""
        return _prompts(self.prompt) * max(self.n or 1, self.best_of or 1)


class EmbeddingRequest(ApiRequest):
    """POST /embeddings."""

    endpoint = "embeddings"
    streams = False

    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None

    def output_limit(self) -> int | None:
        """Return 0: embeddings have no output tokens."""
        return 0


class ImageRequest(ApiRequest):
    """POST /images/generations."""

    endpoint = "images.generations"

    prompt: Annotated[str, Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=10)] | None = None

    def choices(self) -> int:
        """Return `n`, the number of images."""
        return self.n or 1


REQUESTS: dict[Endpoint, type[ApiRequest]] = {
    request.endpoint: request
    for request in (ChatRequest, CompletionRequest, EmbeddingRequest, ImageRequest)
}


def _prompts(prompt: str | list[str] | list[int] | list[list[int]] | None) -> int:
    """Return how many prompts there are: a list of token ids is one, as is a string."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _explained(error: ValidationError) -> InvalidRequest:
    """Return pydantic's first fault as a sentence with OpenAI's spelling of the field's path."""
    fault = error.errors(include_url=False, include_input=False)[0]
    kind, message = fault["type"], fault["msg"]
    param = _path(fault["loc"])
    if kind == "json_invalid":
        return InvalidRequest(
            f"The body is not valid JSON: {message.removeprefix('Invalid JSON: ')}."
        )
    if kind == "model_type":
        return InvalidRequest("The body must be a JSON object.")
    if kind == "missing":
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param)
    return InvalidRequest(f"Invalid value for '{param}': {message}.", param=param)


def _path(location: tuple[int | str, ...]) -> str | None:
    """Return `messages[0].role` for ("messages", 0, "role"); union branches are left out."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and step not in _UNION_BRANCHES:
            path += f".{step}" if path else step
    return path or None


_UNION_BRANCHES = frozenset({"str", "int", "list"})
