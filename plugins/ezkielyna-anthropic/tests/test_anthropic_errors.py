"""Errors: what the upstream says, as the gateway's table has it. Most have no recording."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, UpstreamError
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
PROVIDER = AnthropicProvider("lab", AnthropicProvider.Settings(api_key="sk-secret"))
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def exchange() -> Any:
    return PROVIDER.exchange(ChatRequest.parse(orjson.dumps(CHAT)), "claude-opus-4-6")


def error(kind: str, message: str = "Words of theirs.") -> bytes:
    told = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return orjson.dumps(told)


def events(*documents: Json) -> bytes:
    return b"".join(
        b"event: " + d["type"].encode() + b"\ndata: " + orjson.dumps(d) + b" \n\n"
        for d in documents
    )


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude",
        "usage": {"input_tokens": 70, "output_tokens": 3},
    },
}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HELLO = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "Hello there, "},
}
SHUT = {"type": "content_block_stop", "index": 0}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 9},
}
STOP = {"type": "message_stop"}
OVERLOADED = {
    "type": "error",
    "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"},
    "request_id": "req_2",
}


@pytest.mark.parametrize(
    ("status", "kind", "ours", "type_", "told", "retryable"),
    [
        (400, "invalid_request_error", 400, "invalid_request", True, False),
        (401, "authentication_error", 502, "upstream_error", False, True),
        (402, "billing_error", 502, "upstream_error", False, True),
        (403, "permission_error", 502, "upstream_error", False, True),
        (404, "not_found_error", 400, "invalid_request", True, False),
        (413, "request_too_large", 400, "invalid_request", True, False),
        (422, "", 400, "invalid_request", True, False),
        (429, "rate_limit_error", 429, "rate_limited", False, True),
        (500, "api_error", 502, "upstream_error", False, True),
        (503, "", 503, "overloaded", False, True),
        (504, "timeout_error", 504, "upstream_timeout", False, True),
        (529, "overloaded_error", 503, "overloaded", False, True),
        (418, "tea_error", 400, "invalid_request", True, False),
        (302, "", 502, "upstream_error", False, True),
    ],
)
def test_every_status_has_its_place(
    status: int, kind: str, ours: int, type_: str, told: bool, retryable: bool
) -> None:
    for body in (error(kind), error("")):
        failure = exchange().failure(status, {}, body)
        assert (failure.status, failure.type, failure.retryable) == (ours, type_, retryable)
        assert ("Words of theirs." in failure.message) == told


def test_a_spent_account_of_the_operator_is_not_told_to_the_customer() -> None:
    body = error("invalid_request_error", "Your credit balance is too low to access the API.")
    failure = exchange().failure(400, {}, body)
    assert (failure.status, failure.retryable) == (502, True)
    assert "balance" not in failure.message


def test_a_prompt_that_is_too_long_says_so() -> None:
    body = error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    assert "210000 tokens" in exchange().failure(400, {}, body).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({}, 1.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1.0),
        ({"retry-after": "nan"}, 1.0),
        ({"retry-after": "-4"}, 1.0),
    ],
)
def test_retry_after_is_kept(headers: dict[str, str], seconds: float) -> None:
    assert exchange().failure(429, headers, error("rate_limit_error")).retry_after_s == seconds
    assert exchange().failure(529, headers, error("overloaded_error")).retry_after_s == seconds


@pytest.mark.parametrize("body", [b"", b"<html>413</html>", b"[]", b'"x"', b'{"error":7}', b"\xff"])
def test_a_body_that_is_no_error_of_theirs_still_gives_one(body: bytes) -> None:
    assert exchange().failure(413, {}, body).status == 400
    assert exchange().failure(529, {}, body).status == 503


def test_an_error_in_the_stream_comes_after_what_was_before_it() -> None:
    """litellm#4562: an ignored error event makes a cut stream look complete."""
    body = events(START, OPEN, HELLO, OVERLOADED)
    whole = exchange()
    output = whole.feed(body)
    assert b"Hello there, " in output
    assert b"[DONE]" not in output
    assert b'"finish_reason":"' not in output
    with pytest.raises(UpstreamError) as raised:
        whole.close()
    assert (raised.value.status, raised.value.type) == (503, "overloaded")
    for cut in range(1, len(body)):
        got, error = drained(body[:cut], body[cut:])
        assert got == output
        assert error is not None
        assert error.status == 503


def drained(*pieces: bytes) -> tuple[bytes, UpstreamError | None]:
    """Feed the pieces and close; return what came out, and the error that ended it."""
    fresh, got = exchange(), b""
    try:
        for piece in pieces:
            got += fresh.feed(piece)
        return got + fresh.close(), None
    except UpstreamError as error:
        return got, error


def test_an_error_as_the_first_event_is_raised_at_once() -> None:
    with pytest.raises(UpstreamError) as raised:
        exchange().feed(events(OVERLOADED))
    assert raised.value.status == 503


@pytest.mark.parametrize("last", [START, OPEN, HELLO, SHUT, END])
def test_a_stream_cut_before_its_end_is_an_error(last: Json) -> None:
    whole = [START, OPEN, HELLO, SHUT, END]
    cut = exchange()
    assert b"[DONE]" not in cut.feed(events(*whole[: whole.index(last) + 1]))
    with pytest.raises(UpstreamError, match="before it was complete"):
        cut.close()


def test_a_cut_stream_is_billed_by_its_input_and_an_estimate() -> None:
    cut = exchange()
    cut.feed(events(START))
    assert cut.usage is None, "nothing delivered, nothing charged"
    cut.feed(events(OPEN, HELLO))
    assert cut.delivered().text == "Hello there, "
    assert (cut.usage.input, cut.usage.output, cut.usage.source) == (70, 3, "estimated")
    before = cut.progress()
    cut.feed(events(SHUT, END))
    assert (cut.usage.input, cut.usage.output, cut.usage.source) == (70, 9, "upstream")
    assert cut.progress() >= before > 0


def test_a_last_event_without_its_blank_line_counts() -> None:
    cut = exchange()
    cut.feed(events(START, OPEN, HELLO, SHUT, END, STOP).rstrip())
    assert cut.close().endswith(b"data: [DONE]\n\n")


def test_nothing_follows_the_end() -> None:
    done = exchange()
    done.feed(events(START, OPEN, HELLO, SHUT, END, STOP))
    assert done.feed(events(HELLO, OVERLOADED)) + done.close() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"type":"content_block_delta"}',
        b'{"type":"message_start"}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}',
    ],
)
def test_events_that_make_no_sense_are_an_upstream_error(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        exchange().feed(b"data: " + data + b"\n\n")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"content":[7]}', b'{"content":[{}]}'])
def test_an_answer_that_is_no_message_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        exchange().answer(200, {}, body)


def test_an_error_with_status_200_is_the_error() -> None:
    with pytest.raises(UpstreamError) as raised:
        exchange().answer(200, {}, error("overloaded_error"))
    assert raised.value.status == 503


@pytest.mark.parametrize("reported", [{"input_tokens": -5, "output_tokens": 1}, {}])
def test_absurd_usage_reaches_the_core_and_not_the_client(reported: Json) -> None:
    plain = exchange()
    plain.price = lambda usage: 5
    body = {"id": "m", "model": "c", "content": [], "stop_reason": "end_turn", "usage": reported}
    answer = orjson.loads(plain.answer(200, {}, orjson.dumps(body)))
    assert ("usage" in answer) == plain.usage.plausible
