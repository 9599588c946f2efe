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
from ezkielyna.dialect import Chat, encoded, unsupported
from ezkielyna_anthropic.exchange import AnthropicExchange
from ezkielyna_anthropic.models import capabilities
from ezkielyna_anthropic.request import ABILITIES, MessagesRequest


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
        chat = Chat(request, ABILITIES)
        wanted = MessagesRequest(chat, model, capabilities(model), self._options)
        body = encoded(wanted.document, request.body)
        upstream = UpstreamRequest("POST", self._url, self._headers, body)
        carry = self._options.carry_thinking
        return AnthropicExchange(upstream, chat, json=wanted.box.json, carry=carry)
