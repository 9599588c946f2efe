"""Errors of the upstream, plain and in streams, and streams that are cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import UpstreamError, UpstreamTimeout, Usage
from ezkielyna.testing.asking import fed
from gemini_words import Json, call, document, event, exchange, streaming, text


def test_a_bad_key_is_the_gateway_s_fault() -> None:
    """Line 24."""
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
    failure = exchange().failure(400, {}, orjson.dumps([{"error": error}]))
    assert (failure.status, failure.retryable) == (502, True)


def failure(status: int, word: str, message: str = "m", **more: Any) -> UpstreamError:
    error = {"code": status, "message": message, "status": word, **more}
    made: UpstreamError = exchange().failure(
        status, {"content-type": "text/event-stream"}, orjson.dumps({"error": error})
    )
    return made


@pytest.mark.parametrize(
    ("status", "word", "ours", "kind"),
    [
        (400, "INVALID_ARGUMENT", 400, "invalid_request"),
        (400, "FAILED_PRECONDITION", 400, "invalid_request"),
        (404, "NOT_FOUND", 400, "invalid_request"),
        (401, "UNAUTHENTICATED", 502, "upstream_error"),
        (403, "PERMISSION_DENIED", 502, "upstream_error"),
        (402, "RESOURCE_EXHAUSTED", 502, "upstream_error"),
        (429, "RESOURCE_EXHAUSTED", 429, "rate_limited"),
        (499, "CANCELLED", 502, "upstream_error"),
        (500, "INTERNAL", 502, "upstream_error"),
        (500, "UNKNOWN", 502, "upstream_error"),
        (503, "UNAVAILABLE", 503, "overloaded"),
        (504, "DEADLINE_EXCEEDED", 504, "upstream_timeout"),
    ],
)
def test_every_status(status: int, word: str, ours: int, kind: str) -> None:
    found = failure(status, word)
    assert (found.status, found.type) == (ours, kind)
    assert found.retryable == (kind != "invalid_request")
    assert isinstance(found, UpstreamTimeout) == (ours == 504)


def test_the_place_of_the_gateway_is_not_the_client_s_fault() -> None:
    found = failure(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")
    assert found.status == 502


def test_the_time_to_wait() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]
    assert failure(429, "RESOURCE_EXHAUSTED", details=details).retry_after_s == 34.4
    assert exchange().failure(429, {"retry-after": "7"}, b"").retry_after_s == 7
    assert exchange().failure(503, {}, b"<html>").retry_after_s == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"[1]", b"null", b'{"error":"x"}', b"\xff"]
)
@pytest.mark.parametrize("status", [302, 400, 401, 404, 413, 429, 500, 502, 503, 504])
def test_failure_never_raises(status: int, body: bytes) -> None:
    assert isinstance(exchange().failure(status, {}, body), UpstreamError)


def test_an_error_inside_of_a_stream_comes_after_what_came_before_it() -> None:
    """Line 14."""
    error = {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}
    both = event(document(text("a"), reason=None)) + event(error)
    made = streaming()
    assert b'"content":"a"' in made.feed(both)
    with pytest.raises(UpstreamError) as raised:
        made.close()
    assert raised.value.status == 503
    for cut in range(1, len(both)):
        out, error = fed(streaming(), [both[:cut], both[cut:]])
        assert b'"content":"a"' in out
        assert isinstance(error, UpstreamError)
        assert error.status == 503


@pytest.mark.parametrize(
    "body",
    [b"", b"data: {}\n\n", b"data: {nope\n\n", b"data: [1]\n\n", b'data: {"candidates":[]}\n\n'],
)
def test_a_stream_that_ends_too_early_is_an_error(body: bytes) -> None:
    out, error = fed(streaming(), [body])
    assert isinstance(error, UpstreamError)
    assert (out, error.status) == (b"", 502)
    made = streaming()
    made.feed(event(document(text("a"), reason=None)))
    with pytest.raises(UpstreamError, match="before it was complete"):
        made.close()


def test_what_was_delivered_of_a_stream_that_is_cut() -> None:
    made = streaming()
    assert made.delivered().empty
    assert made.progress() == 0
    made.feed(event(document(text("hm", thought=True), text("hello"), reason=None)))
    first = made.progress()
    made.feed(event(document(call("f", args={"a": 1}), reason=None)))
    delivered = made.delivered()
    assert (delivered.text, delivered.reasoning) == ("hello", "hm")
    assert delivered.tools == 'f{"a":1}'
    assert made.progress() > first > 0
    assert made.usage == Usage(input=10, output=5)


def test_a_cut_stream_is_billed_by_its_input_and_an_estimate_of_its_output() -> None:
    made = streaming()
    early = {"promptTokenCount": 70, "totalTokenCount": 70}
    made.feed(event(document(text("x" * 40), reason=None, usageMetadata={"trafficType": "A"})))
    assert made.usage is None  # the core estimates
    made.feed(event(document(text("y" * 40), reason=None, usageMetadata=early)))
    assert made.usage == Usage(input=70, output=20, source="estimated")
    made.feed(event(document(text("!"), usageMetadata=early | {"candidatesTokenCount": 30})))
    assert made.usage == Usage(input=70, output=30)


def piece(path: str | None = None, *, more: bool = True, **value: Any) -> bytes:
    function: Json = {"willContinue": True} if more else {}
    if path:
        function["partialArgs"] = [{"jsonPath": path, **value}]
    return event(document({"functionCall": function}, reason=None))


@pytest.mark.parametrize("path", ["$.b[7]", "no path"])
def test_pieces_that_belong_nowhere_end_the_stream(path: str) -> None:
    made = streaming()
    made.feed(event(document(call("f", willContinue=True), reason=None)))
    with pytest.raises(UpstreamError):
        made.feed(piece(path, numberValue=1))


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"1", b"{}", b'{"candidates":[1]}'])
def test_a_200_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        exchange().answer(200, {}, body)


def test_a_200_that_hides_an_error() -> None:
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}
    with pytest.raises(UpstreamError) as raised:
        exchange().answer(200, {}, orjson.dumps([{"error": error}]))
    assert raised.value.status == 429
