"""The provider: chooses the exchange for a request and addresses it."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from ezkielyna import (
    ApiRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Exchange,
    ImageRequest,
    Provider,
    ProviderSettings,
    UpstreamRequest,
)
from ezkielyna.dialect import Chat, Json, addresses, encoded, unsupported
from ezkielyna_gemini import embeddings, images
from ezkielyna_gemini.exchange import GeminiExchange
from ezkielyna_gemini.messages import READ_BY_GOOGLE
from ezkielyna_gemini.models import path
from ezkielyna_gemini.request import ABILITIES, body_of


class GeminiProvider(Provider):
    """Google Gemini by its own API, v1beta of the Developer API."""

    kind = "gemini"

    class Settings(ProviderSettings):
        """Adds what is Gemini's own."""

        base_url: str = Field(
            "https://generativelanguage.googleapis.com/v1beta",
            description="what precedes `/models/…`",
        )
        show_thoughts: bool = Field(
            True, description="ask for summaries of thoughts where a request sets an effort"
        )
        signatures_in_ids: bool = Field(
            True, description="carry thought signatures in the ids of tool calls"
        )
        google_tools: tuple[str, ...] = Field(
            (), description="Google's own tools that clients may ask for; their fees are not billed"
        )
        efforts: dict[str, dict[str, int | str]] = Field(
            default_factory=dict,
            description="thinking budget or level by beginning of a model's name and effort",
        )

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        super().__init__(name, settings)
        assert isinstance(settings, GeminiProvider.Settings), settings
        self._options = settings
        key = settings.api_key.get_secret_value()
        credential = {"x-goog-api-key": key} if key else {}
        self._headers = {"content-type": "application/json", **credential, **settings.headers}

    def needs(self, request: ApiRequest) -> dict[str, str]:
        """Return the images that Google does not read itself: it wants their bytes."""
        return addresses(request, READ_BY_GOOGLE)

    def exchange(self, request: ApiRequest, model: str) -> Exchange:
        """Return the exchange; raises InvalidRequest or Unsupported naming the field."""
        if isinstance(request, ChatRequest | CompletionRequest):
            chat = Chat(request, ABILITIES)
            body = body_of(chat, model, self._options)
            method = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
            carry = self._options.signatures_in_ids
            asked = self._request(model, method, body, request.body)
            return GeminiExchange(asked, chat, model, carry=carry)
        if request.streamed:
            raise unsupported("stream", "streams of this")
        if isinstance(request, EmbeddingRequest):
            asked = self._request(model, "batchEmbedContents", embeddings.body(request, model))
            return embeddings.GeminiEmbeddings(asked, request, model)
        assert isinstance(request, ImageRequest), request
        method, body, dropped = images.translated(request, model)
        return images.GeminiImages(self._request(model, method, body), dropped)

    def _request(self, model: str, method: str, body: Json, given: bytes = b"") -> UpstreamRequest:
        url = f"{self._options.base_url}/{quote(path(model))}:{method}"
        return UpstreamRequest("POST", url, self._headers, encoded(body, given))
