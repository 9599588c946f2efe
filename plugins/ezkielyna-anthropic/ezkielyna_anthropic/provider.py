"""The provider: settings, and from each request its exchange."""

from __future__ import annotations

from pydantic import Field

from ezkielyna import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    Provider,
    ProviderSettings,
    UpstreamRequest,
)
from ezkielyna_anthropic.exchange import AnthropicExchange
from ezkielyna_anthropic.fields import encoded, unsupported
from ezkielyna_anthropic.models import capabilities
from ezkielyna_anthropic.request import MessagesRequest, chat_fields
from ezkielyna_anthropic.shape import Shape


class AnthropicSettings(Provider.Settings):
    """Settings of kind "anthropic"."""

    base_url: str = Field("https://api.anthropic.com/v1", description="what precedes /messages")
    version: str = Field("2023-06-01", description="the header anthropic-version")
    betas: tuple[str, ...] = Field((), description="words for the header anthropic-beta")
    default_max_tokens: int = Field(
        32_000, ge=1, description="max_tokens where neither client nor table names one"
    )
    show_thinking: bool = Field(True, description="ask adaptive models to summarise their thinking")
    carry_thinking: bool = Field(True, description="carry signed thinking in ids of tool calls")
    system_in_place: bool = Field(
        False, description="leave later system messages where they are; newest models only"
    )


class AnthropicProvider(Provider):
    """Translates for Anthropic's Messages API."""

    kind = "anthropic"
    Settings = AnthropicSettings

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        assert isinstance(settings, AnthropicSettings), settings
        self._options = settings
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

        Raises Unsupported for the other endpoints, and as MessagesRequest does.
        """
        if not isinstance(request, ChatRequest | CompletionRequest):
            raise unsupported("model", f"the endpoint {request.endpoint}")
        legacy = isinstance(request, CompletionRequest)
        fields = chat_fields(request) if legacy else request.fields()
        can, cap = capabilities(model), request.output_cap
        wanted = MessagesRequest(fields, model, can, cap, self._options)
        shape = Shape(
            legacy=legacy,
            functions=wanted.box.functions,
            custom=frozenset(wanted.box.custom),
            json=wanted.box.json,
            carry=self._options.carry_thinking,
            wants_usage=request.wants_usage,
        )
        body = encoded(wanted.document)
        upstream = UpstreamRequest("POST", self._url, self._headers, body)
        return AnthropicExchange(upstream, shape, tuple(wanted.dropped))
