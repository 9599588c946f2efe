"""The provider and its exchange."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from ezkielyna import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    Delivered,
    Exchange,
    Headers,
    Provider,
    ProviderSettings,
    Unsupported,
    UpstreamError,
    UpstreamRequest,
    Usage,
)
from ezkielyna_anthropic import errors
from ezkielyna_anthropic.answer import Message, Shape, parsed, shown, usage_of
from ezkielyna_anthropic.models import Capabilities, capabilities
from ezkielyna_anthropic.request import MessagesRequest, Wishes, chat_fields
from ezkielyna_anthropic.stream import Stream
from ezkielyna_anthropic.tools import Json, encoded


class AnthropicSettings(Provider.Settings):
    """Settings of kind "anthropic"."""

    base_url: str = Field(
        "https://api.anthropic.com/v1", description="what precedes /messages at the upstream"
    )
    version: str = Field("2023-06-01", description="the header anthropic-version")
    betas: tuple[str, ...] = Field((), description="words for the header anthropic-beta")
    default_max_tokens: int = Field(
        32_000, ge=1, description="max_tokens where neither client nor table names one"
    )
    models: dict[str, Capabilities] = Field(
        default_factory=dict, description="capabilities by model pattern, before the built-in table"
    )
    show_thinking: bool = Field(
        True, description="ask adaptive models for a summary of their thinking"
    )
    carry_thinking: bool = Field(True, description="carry signed thinking in the ids of tool calls")
    system_in_place: bool = Field(
        False, description="leave later system messages where they are; newest models only"
    )


class AnthropicExchange(Exchange):
    """One request to `/messages` and the translation of its answer.

    `dropped` names the parameters that the upstream has no place for and whose loss may be felt.
    `created` is the time of the answer in Unix seconds, which a pure exchange cannot know: it is
    0 unless it is set before the first call.
    """

    def __init__(self, request: UpstreamRequest, shape: Shape, dropped: tuple[str, ...]) -> None:
        self.request = request
        self.dropped = dropped
        self.created = 0
        self._shape = shape
        self._stream: Stream | None = None
        self._reported: Usage | None = None

    @property
    def usage(self) -> Usage | None:  # type: ignore[override]  # computed when it is asked for
        """The upstream's usage; of a cut stream its input, with the output counted."""
        return self._reported if self._stream is None else self._stream.usage()

    def feed(self, data: bytes) -> bytes:
        """Return the chunks that these bytes complete; see Stream.feed."""
        return self._streaming().feed(data)

    def close(self) -> bytes:
        """Return what is still owed; see Stream.close."""
        return self._streaming().close()

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the OpenAI-shaped body; raises UpstreamError where there is no message in it."""
        message = parsed(body)
        try:
            self._reported = usage_of(message.get("usage") or {})
            return Message(self._dated()).answer(message, self._show(self._reported))
        except (KeyError, TypeError, AttributeError):
            raise UpstreamError("The upstream's answer makes no sense.") from None

    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that an answer with another status stands for."""
        return errors.from_answer(status, headers, body)

    def delivered(self) -> Delivered:
        """Return what was handed on so far."""
        return Delivered() if self._stream is None else self._stream.delivered()

    def progress(self) -> int:
        """Return about how many output tokens were handed on."""
        return 0 if self._stream is None else self._stream.progress()

    def _streaming(self) -> Stream:
        if self._stream is None:
            self._stream = Stream(self._dated(), self._show)
        return self._stream

    def _dated(self) -> Shape:
        return replace(self._shape, created=self.created)

    def _show(self, usage: Usage) -> Json | None:
        return shown(usage, self.price)


class AnthropicProvider(Provider):
    """Translates for Anthropic's Messages API."""

    kind = "anthropic"
    Settings = AnthropicSettings

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        assert isinstance(settings, AnthropicSettings), settings
        self._models = settings.models
        self._carry = settings.carry_thinking
        self._wishes = Wishes(
            settings.default_max_tokens, settings.show_thinking, settings.system_in_place
        )
        self._url = f"{settings.base_url}/messages"
        self._headers = {
            "content-type": "application/json",
            "anthropic-version": settings.version,
            **({"anthropic-beta": ",".join(settings.betas)} if settings.betas else {}),
            **({"x-api-key": key} if (key := settings.api_key.get_secret_value()) else {}),
            **settings.headers,
        }

    def exchange(self, request: ApiRequest, model: str) -> AnthropicExchange:
        """Return the exchange for a chat or a legacy completion.

        Raises Unsupported for the other endpoints, and as `MessagesRequest.build` does.
        """
        legacy = isinstance(request, CompletionRequest)
        if not legacy and not isinstance(request, ChatRequest):
            raise Unsupported(
                f"The upstream of this model does not offer {request.endpoint}.", param="model"
            )
        fields = chat_fields(request) if legacy else request.fields()
        wanted = MessagesRequest(fields, model, capabilities(model, self._models), self._wishes)
        body = encoded(wanted.build(request.output_cap))
        shape = Shape(
            legacy=legacy,
            functions=wanted.box.functions,
            custom=wanted.box.custom,
            json=wanted.box.json,
            carry=self._carry,
            wants_usage=request.wants_usage,
        )
        upstream = UpstreamRequest("POST", self._url, self._headers, body)
        return AnthropicExchange(upstream, shape, tuple(wanted.dropped))
