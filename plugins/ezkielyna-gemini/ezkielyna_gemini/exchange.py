"""What all exchanges with Gemini share."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna import ApiRequest, Delivered, Exchange, Headers, UpstreamError, UpstreamRequest
from ezkielyna_gemini.errors import UNREADABLE, error_of, failed, reported


class GeminiExchange(Exchange):
    """One request to Gemini whose answer is not streamed.

    `created` is the answer's time in Unix seconds, 0 where neither Google nor the core has said it.
    """

    created: int = 0

    def __init__(self, asked: ApiRequest, request: UpstreamRequest, model: str) -> None:
        self.request = request
        self._asked = asked
        self._model = model

    def feed(self, data: bytes) -> bytes:
        """Raise UpstreamError: nothing is streamed here."""
        raise UpstreamError(UNREADABLE)

    def close(self) -> bytes:
        """Raise UpstreamError: nothing is streamed here."""
        raise UpstreamError(UNREADABLE)

    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that Google's body, or else the status, stands for."""
        return failed(status, headers, body)

    def delivered(self) -> Delivered:
        """Return nothing: a whole answer is delivered or it is not."""
        return Delivered()

    def progress(self) -> int:
        """Return 0: nothing is streamed here."""
        return 0

    def _read(self, body: bytes) -> dict[str, Any]:
        """Return the document of a 200; raises the UpstreamError that hides in it."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamError(UNREADABLE) from None
        if isinstance(document, list) and len(document) == 1:
            document = document[0]
        error = reported(document)
        if error:
            raise error_of(error)
        if not isinstance(document, dict):
            raise UpstreamError(UNREADABLE)
        return document
