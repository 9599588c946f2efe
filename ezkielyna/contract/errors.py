"""Every error a client can be told, as one tree; the README's table lists the same classes.

```
GatewayError                status  type
├── InvalidRequest          400     invalid_request
│   └── Unsupported         400     invalid_request        this upstream cannot do what was asked
├── InvalidApiKey           401     invalid_api_key        only when the key is proven bad
├── InsufficientBalance     402     insufficient_balance
├── ModelNotAllowed         403     model_not_allowed
├── AccountSuspended        403     account_suspended
├── EmailNotVerified        403     email_not_verified
├── ModelNotFound           404     model_not_found
├── NotFound                404     not_found
├── MethodNotAllowed        405     method_not_allowed
├── IdempotencyConflict     409     idempotency_conflict
├── RequestTooLarge         413     request_too_large
├── UnsupportedMediaType    415     unsupported_media_type
├── HeadersTooLarge         431     headers_too_large
├── RateLimited             429     rate_limited
├── ServerError             500     server_error           our fault; the message is masked
├── UpstreamError           502     upstream_error         or what its own error stands for
├── UpstreamTimeout         504     upstream_timeout
├── Overloaded              503     overloaded
└── Unavailable             503     unavailable            we cannot tell or cannot serve now
```
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import orjson

if TYPE_CHECKING:
    from ezkielyna.contract.limiter import Standing


class GatewayError(Exception):
    """An error with a place in the contract: an HTTP status and a stable word for its type.

    `message` is shown to the client and says what to do; it never holds a secret, an address
    of an upstream, or text of an exception.
    """

    status: int = 500
    type: str = "server_error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def document(self) -> dict[str, Any]:
        """Return the one error shape: `{"error": {"message", "type", "param", "code"}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.status,
            }
        }

    def body(self) -> bytes:
        """Return the document as JSON."""
        return orjson.dumps(self.document())

    def event(self) -> bytes:
        """Return the error as the last event of a stream; no `[DONE]` follows it."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that belong to this error."""
        if self.retry_after_s is None:
            return []
        return [
            ("Retry-After", str(max(1, math.ceil(self.retry_after_s)))),
            ("retry-after-ms", str(max(1, math.ceil(self.retry_after_s * 1000)))),
        ]


class InvalidRequest(GatewayError):
    """The body or a parameter is wrong; `param` names it."""

    status = 400
    type = "invalid_request"


class Unsupported(InvalidRequest):
    """A valid request that the chosen upstream cannot fulfil; `param` names what it cannot do."""


class InvalidApiKey(GatewayError):
    """The key is missing, malformed, revoked or expired. Never raised for a fault of ours."""

    status = 401
    type = "invalid_api_key"

    def headers(self) -> list[tuple[str, str]]:
        """Return the challenge that RFC 9110 section 11.6.1 asks of a 401."""
        return [("WWW-Authenticate", "Bearer")]


class InsufficientBalance(GatewayError):
    """The request cannot be paid. `retry_after_s` only when running requests hold the money."""

    status = 402
    type = "insufficient_balance"


class ModelNotAllowed(GatewayError):
    """The plan or the key does not include this model."""

    status = 403
    type = "model_not_allowed"


class AccountSuspended(GatewayError):
    """The operator suspended the account."""

    status = 403
    type = "account_suspended"


class EmailNotVerified(GatewayError):
    """The account's e-mail address has to be verified first."""

    status = 403
    type = "email_not_verified"


class ModelNotFound(GatewayError):
    """The catalogue has no such model."""

    status = 404
    type = "model_not_found"


class NotFound(GatewayError):
    """There is nothing at this path."""

    status = 404
    type = "not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status = 405
    type = "method_not_allowed"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed

    def headers(self) -> list[tuple[str, str]]:
        """Return `Allow`, which RFC 9110 section 15.5.6 demands."""
        return [("Allow", ", ".join(self.allowed))]


class IdempotencyConflict(GatewayError):
    """The `Idempotency-Key` belongs to another request. `retry_after_s` while that one runs."""

    status = 409
    type = "idempotency_conflict"


class RequestTooLarge(GatewayError):
    """The body is larger than the route takes."""

    status = 413
    type = "request_too_large"


class UnsupportedMediaType(GatewayError):
    """The body is not `application/json`."""

    status = 415
    type = "unsupported_media_type"


class HeadersTooLarge(GatewayError):
    """The header section is larger than the server takes."""

    status = 431
    type = "headers_too_large"


class RateLimited(GatewayError):
    """A limit is reached; `retry_after_s` says when the retry passes and is always given.

    `standing`, where the limiter gives it, fills the answer's `x-ratelimit-…` headers.
    """

    status = 429
    type = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_s: float, standing: Standing | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.standing = standing

    def headers(self) -> list[tuple[str, str]]:
        """Return when to come back, and what is left of the limits."""
        left = self.standing.headers() if self.standing is not None else []
        return [*super().headers(), *left]


class ServerError(GatewayError):
    """Our fault. The message is masked; the log has the rest under the request id."""

    @classmethod
    def masked(cls, request_id: str) -> Self:
        """Return the only form of this error that a client sees."""
        return cls(f"An internal error occurred. Quote request id {request_id} to your operator.")


class UpstreamError(GatewayError):
    """The upstream failed, or answered with an error of its own.

    `retryable` says that the same request may succeed elsewhere or later; the core then tries the
    next attempt, as long as nothing was sent to the client.
    """

    status = 502
    type = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        retryable: bool = True,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.retryable = retryable

    @classmethod
    def refused(cls, message: str, *, param: str | None = None) -> Self:
        """Return the error for an upstream's own 4xx about the request: a 400 of ours."""
        return cls(message, param=param, retryable=False)._standing_for(400, "invalid_request")

    @classmethod
    def rate_limited(cls, message: str, *, retry_after_s: float | None) -> Self:
        """Return the error for an upstream's 429; one second when it did not say when."""
        return cls(message, retry_after_s=retry_after_s or 1.0)._standing_for(429, "rate_limited")

    @classmethod
    def overloaded(cls, message: str, *, retry_after_s: float | None) -> Self:
        """Return the error for an upstream that is overloaded: a 503 of ours."""
        return cls(message, retry_after_s=retry_after_s or 1.0)._standing_for(503, "overloaded")

    def _standing_for(self, status: int, type_: str) -> Self:
        self.status, self.type = status, type_
        return self


class UpstreamTimeout(UpstreamError):
    """The upstream kept us waiting longer than a time limit allows."""

    status = 504
    type = "upstream_timeout"


class Overloaded(GatewayError):
    """We are at a limit of our own; try again."""

    status = 503
    type = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class Unavailable(GatewayError):
    """We cannot tell or cannot serve now: the fault is ours and passes."""

    status = 503
    type = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 2.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
