"""The provider: chooses the exchange for a request and addresses it."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from ezkielyna import (
    ApiRequest,
    CompletionRequest,
    EmbeddingRequest,
    Exchange,
    ImageRequest,
    Provider,
    ProviderSettings,
    Unsupported,
    UpstreamRequest,
)
from ezkielyna_gemini import embeddings, images
from ezkielyna_gemini.answer import Style
from ezkielyna_gemini.fields import encoded
from ezkielyna_gemini.models import path
from ezkielyna_gemini.request import Translation
from ezkielyna_gemini.stream import ChatExchange, CompletionExchange

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"


class GeminiProvider(Provider):
    """Google Gemini by its own API, v1beta of the Developer API."""

    kind: ClassVar[str] = "gemini"

    class Settings(ProviderSettings):
        """Adds what is Gemini's own."""

        base_url: str = Field(BASE_URL, description="what precedes `/models/…`")
        show_thoughts: bool = Field(
            True, description="ask for summaries of thoughts where a request sets an effort"
        )
        signatures_in_ids: bool = Field(
            True, description="carry thought signatures in the ids of tool calls"
        )
        efforts: dict[str, dict[str, int | str]] = Field(
            default_factory=dict,
            description="thinking budget or level by beginning of a model's name and effort",
        )

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        own = settings if isinstance(settings, self.Settings) else None
        self._efforts = own.efforts if own else {}
        self._thoughts = own.show_thoughts if own else True
        self._carry = own.signatures_in_ids if own else True
        self._base = settings.base_url or BASE_URL
        key = settings.api_key.get_secret_value()
        credential = {"x-goog-api-key": key} if key else {}
        self._headers = {"content-type": "application/json", **credential, **settings.headers}

    def exchange(self, request: ApiRequest, model: str) -> Exchange:
        """Return the exchange; raises InvalidRequest or Unsupported naming the field."""
        if isinstance(request, EmbeddingRequest | ImageRequest) and request.streamed:
            raise Unsupported("Gemini does not stream this.", param="stream")
        if isinstance(request, EmbeddingRequest):
            asked = self._request(model, "batchEmbedContents", embeddings.body(request, model))
            return embeddings.EmbeddingExchange(request, asked, model)
        if isinstance(request, ImageRequest):
            method, body, dropped = images.translated(request, model)
            drawn = images.ImageExchange(request, self._request(model, method, body), model)
            drawn.dropped = dropped
            return drawn
        return self._generation(request, model)

    def _generation(self, request: ApiRequest, model: str) -> Exchange:
        made = Translation(request, model, self._efforts, self._thoughts)
        style = Style(
            custom=frozenset(made.tools.custom),
            legacy=made.tools.legacy,
            single=made.single,
            carry=self._carry,
        )
        method = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
        kind = CompletionExchange if isinstance(request, CompletionRequest) else ChatExchange
        exchange = kind(request, self._request(model, method, made.body), model, style)
        exchange.dropped = made.dropped
        return exchange

    def _request(self, model: str, method: str, body: dict[str, Any]) -> UpstreamRequest:
        url = f"{self._base}/{quote(path(model))}:{method}"
        return UpstreamRequest("POST", url, self._headers, encoded(body))
