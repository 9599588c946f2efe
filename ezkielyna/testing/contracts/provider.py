"""What every provider and its exchanges promise, as tests."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import orjson
import pytest
from pydantic import ValidationError

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.contract.provider import Exchange, Provider
from ezkielyna.contract.requests import ApiRequest, ChatRequest
from ezkielyna.testing.requests import make_request

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
SECRET = "a-key-that-nobody-may-see"  # noqa: S105 - of tests
MOST_SPLITS = 4096
NANO_COST = 1_234
GARBAGE = (b"", b"null", b"[]", b"{}", b"7", b"<html>oops</html>", b'{"a":', b"\xff\xfe\x00")
STATUSES = (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529)


class ProviderContract:
    """Subclass it and name your provider and what its upstream says.

    `streams` and `answers` are bodies of status 200, streamed and plain, to the request that
    `request` makes (a short chat unless you write it anew); `failures` are bodies by a name, each
    with its status. A stream is cut at every byte (of more than 4,096 bytes: at every line and
    evenly between them).
    """

    provider: ClassVar[type[Provider]]
    settings: ClassVar[Mapping[str, Any]] = {}
    streams: ClassVar[Mapping[str, bytes]] = {}
    answers: ClassVar[Mapping[str, bytes]] = {}
    failures: ClassVar[Mapping[str, tuple[int, bytes]]] = {}

    def request(self, **fields: Any) -> ApiRequest:
        """Return the request that the recordings answer."""
        return make_request(ChatRequest, **fields)

    def make(self) -> Provider:
        """Return the provider as a configuration makes it."""
        table = {"base_url": "http://upstream.test/v1", "api_key": SECRET, **self.settings}
        return self.provider("lab", self.provider.Settings.model_validate(table))

    def exchange(self, **fields: Any) -> Exchange:
        """Return a fresh exchange, prepared as the gateway does."""
        exchange = self.make().exchange(self.request(**fields), "upstream-model")
        exchange.created = 1_700_000_000
        exchange.price = lambda usage: NANO_COST
        return exchange

    def streaming(self, *, usage: bool = True) -> Exchange:
        """Return a fresh exchange of a streamed request."""
        options = {"stream_options": {"include_usage": True}} if usage else {}
        return self.exchange(stream=True, **options)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once for every recording that it names."""
        for name in ("stream", "answer", "failure"):
            if name not in metafunc.fixturenames:
                continue
            shelf: Mapping[str, Any] = getattr(metafunc.cls, f"{name}s")
            skip = pytest.mark.skip(reason=f"no {name}s were supplied")
            given = [pytest.param(body, id=label) for label, body in shelf.items()]
            metafunc.parametrize(name, given or [pytest.param(None, marks=skip, id="none")])

    # The class and its settings

    def test_kind_is_a_word(self) -> None:
        kind = self.provider.kind
        assert kind
        assert not set(kind) & set(" \t\n.\"'[]")

    def test_settings_refuse_what_they_do_not_know(self) -> None:
        with pytest.raises(ValidationError):
            self.provider.Settings.model_validate({**self.settings, "no_such_setting": 1})

    def test_settings_are_described(self) -> None:
        fields = self.provider.Settings.model_fields
        assert not [name for name, field in fields.items() if not field.description]

    def test_settings_hide_the_key(self) -> None:
        assert SECRET not in repr(self.make().settings)

    def test_the_configured_name_is_kept(self) -> None:
        assert self.make().name == "lab"

    # The request

    def test_the_request_is_http(self) -> None:
        request = self.exchange().request
        assert request.method == request.method.upper()
        assert request.url.startswith(("http://", "https://"))
        assert isinstance(request.body, bytes)
        for name, text in request.headers.items():
            assert isinstance(text, str)
            assert not set("\r\n") & set(name + text)

    def test_the_request_goes_to_the_configured_address(self) -> None:
        base = self.make().settings.base_url
        if base:
            assert self.exchange().request.url.startswith(base)

    def test_the_request_names_the_upstreams_model(self) -> None:
        request = self.exchange().request
        assert b"upstream-model" in request.url.encode() + request.body

    def test_the_key_is_not_in_the_body(self) -> None:
        assert SECRET.encode() not in self.exchange().request.body

    def test_equal_requests_are_translated_equally(self) -> None:
        assert self.exchange().request == self.exchange().request

    def test_the_customers_request_is_not_changed(self) -> None:
        provider, request = self.make(), self.request()
        before = orjson.dumps(request.fields()), request.body
        provider.exchange(request, "upstream-model")
        assert (orjson.dumps(request.fields()), request.body) == before

    def test_the_money_caps_the_output(self) -> None:
        request = self.request()
        request.cap_output(7)
        capped = self.make().exchange(request, "upstream-model").request
        assert b"7" in capped.body
        assert capped.body != self.exchange().request.body

    def test_a_fresh_exchange_has_delivered_nothing(self) -> None:
        for exchange in (self.exchange(), self.streaming()):
            assert exchange.usage is None
            assert exchange.progress() == 0
            assert exchange.delivered().empty
            exchange.tidy()

    # Streams

    def test_a_stream_is_openais(self, stream: bytes) -> None:
        out = whole(self.streaming(), stream)
        assert out.endswith(DONE)
        assert out.count(DONE) == 1
        chunks = events(out)
        assert chunks
        for chunk in chunks:
            assert chunk["object"] == "chat.completion.chunk"
            assert isinstance(chunk["created"], int)
            assert isinstance(chunk["model"], str)
            assert chunk["id"] == chunks[0]["id"]
            assert all(isinstance(choice["delta"], dict) for choice in chunk["choices"])

    def test_a_stream_finishes_every_choice_once(self, stream: bytes) -> None:
        choices = [c for chunk in events(whole(self.streaming(), stream)) for c in chunk["choices"]]
        finished = [choice["index"] for choice in choices if choice.get("finish_reason")]
        assert sorted(finished) == sorted({choice["index"] for choice in choices})

    def test_usage_is_shown_when_asked_for(self, stream: bytes) -> None:
        exchange = self.streaming()
        shown = [c["usage"] for c in events(whole(exchange, stream)) if c.get("usage")]
        if exchange.usage is not None:
            assert len(shown) == 1
            check_usage(shown[0], exchange)
        unasked = self.streaming(usage=False)
        assert not [c for c in events(whole(unasked, stream)) if c.get("usage")]
        assert unasked.usage == exchange.usage

    def test_every_split_gives_the_same(self, stream: bytes) -> None:
        expected = whole(self.streaming(), stream)
        for position in positions(stream):
            got = joined(self.streaming(), [stream[:position], stream[position:]])
            assert got == expected, f"split at byte {position}"

    def test_bytes_one_by_one_give_the_same(self, stream: bytes) -> None:
        pieces = [stream[i : i + 1] for i in range(len(stream))]
        assert joined(self.streaming(), pieces) == whole(self.streaming(), stream)

    def test_any_pieces_give_the_same(self, stream: bytes) -> None:
        expected = whole(self.streaming(), stream)
        dice = random.Random(20261122)  # noqa: S311 - the same splits at every run
        for _ in range(20):
            assert joined(self.streaming(), pieces_of(stream, dice)) == expected

    def test_events_are_handed_on_whole(self, stream: bytes) -> None:
        exchange = self.streaming()
        for piece in pieces_of(stream, random.Random(7)):  # noqa: S311
            out = exchange.feed(piece)
            assert not out or out.endswith(b"\n\n")

    def test_progress_never_falls(self, stream: bytes) -> None:
        exchange, progress, text = self.streaming(), 0, 0
        for position in range(len(stream)):
            exchange.feed(stream[position : position + 1])
            assert exchange.progress() >= progress
            assert size(exchange) >= text
            progress, text = exchange.progress(), size(exchange)
            if not position % 100:
                exchange.tidy()
        assert progress > 0

    def test_what_was_delivered_is_what_was_handed_on(self, stream: bytes) -> None:
        exchange = self.streaming()
        chunks = events(whole(exchange, stream))
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert exchange.delivered().text == "".join(d.get("content") or "" for d in deltas)

    def test_a_cut_stream_is_an_error(self, stream: bytes) -> None:
        for part in (0, len(stream) // 4, len(stream) // 2):
            with pytest.raises(UpstreamError):
                whole(self.streaming(), stream[:part])

    def test_what_came_before_a_cut_stays_delivered(self, stream: bytes) -> None:
        exchange = self.streaming()
        out = exchange.feed(stream[: len(stream) // 2])
        said = [c["delta"].get("content") for e in events(out) for c in e["choices"]]
        assert exchange.delivered().text == "".join(filter(None, said))

    def test_garbage_in_a_stream_is_the_upstreams_fault(self, stream: bytes) -> None:
        for garbage in (*GARBAGE, *(b"data: " + one + b"\n\n" for one in GARBAGE)):
            for start in (b"", stream[: len(stream) // 2]):
                with pytest.raises(UpstreamError):
                    whole(self.streaming(), start + garbage)

    # Plain answers and failures

    def test_an_answer_is_openais(self, answer: bytes) -> None:
        exchange = self.exchange()
        document = orjson.loads(exchange.answer(200, {}, answer))
        assert document["object"] == "chat.completion"
        assert isinstance(document["id"], str)
        assert isinstance(document["created"], int)
        assert document["choices"]
        for index, choice in enumerate(document["choices"]):
            assert choice["index"] == index
            assert choice["message"]["role"] == "assistant"
            assert isinstance(choice["finish_reason"], str)
        if exchange.usage is not None:
            check_usage(document["usage"], exchange)

    @pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
    def test_an_answer_that_is_none_is_the_upstreams_fault(self, garbage: bytes) -> None:
        with pytest.raises(UpstreamError):
            self.exchange().answer(200, {}, garbage)

    def test_half_an_answer_is_the_upstreams_fault(self, answer: bytes) -> None:
        with pytest.raises(UpstreamError):
            self.exchange().answer(200, {}, answer[: len(answer) // 2])

    @pytest.mark.parametrize("status", STATUSES)
    def test_every_status_has_an_error(self, status: int) -> None:
        for garbage in GARBAGE:
            check_error(self.exchange().failure(status, {}, garbage), status)

    def test_a_failure_says_what_its_upstream_said(self, failure: tuple[int, bytes]) -> None:
        status, body = failure
        check_error(self.exchange().failure(status, {}, body), status)

    def test_the_time_to_wait_is_passed_on(self) -> None:
        error = self.exchange().failure(429, {"retry-after": "7"}, b"")
        assert error.status == 429
        assert error.retry_after_s == 7


def whole(exchange: Exchange, stream: bytes) -> bytes:
    """Return all that an exchange makes of a stream."""
    return joined(exchange, [stream])


def joined(exchange: Exchange, pieces: Iterable[bytes]) -> bytes:
    """Return all that an exchange makes of a stream in pieces."""
    return b"".join([exchange.feed(piece) for piece in pieces]) + exchange.close()


def events(out: bytes) -> list[Json]:
    """Return the documents of events, without `[DONE]`."""
    lines = [line.removeprefix(b"data: ") for line in out.split(b"\n\n") if line]
    return [orjson.loads(line) for line in lines if line != b"[DONE]" and line[:1] != b":"]


def positions(stream: bytes) -> list[int]:
    """Return where to split: everywhere, or where it matters in a long stream."""
    if len(stream) <= MOST_SPLITS:
        return list(range(1, len(stream)))
    ends = [i for i, byte in enumerate(stream) if byte == 0x0A]
    near = {at + by for at in ends for by in (-1, 0, 1, 2) if 0 < at + by < len(stream)}
    return sorted(near | set(range(1, len(stream), -(-len(stream) // MOST_SPLITS))))


def pieces_of(stream: bytes, dice: random.Random) -> Iterable[bytes]:
    """Yield a stream in pieces of random sizes."""
    start = 0
    while start < len(stream):
        end = start + dice.randint(1, 80)
        yield stream[start:end]
        start = end


def size(exchange: Exchange) -> int:
    """Return how much was delivered."""
    delivered = exchange.delivered()
    return len(delivered.text) + len(delivered.reasoning) + len(delivered.tools)


def check_usage(shown: Json, exchange: Exchange) -> None:
    """Assert that shown usage is OpenAI's, says what was reported, and what it costs."""
    usage = exchange.usage
    assert usage is not None
    assert usage.plausible
    assert shown["total_tokens"] == shown["prompt_tokens"] + shown["completion_tokens"]
    assert shown["prompt_tokens"] == usage.input_total
    assert shown["completion_tokens"] == usage.output_total
    assert shown["cost"] == NANO_COST / 1e9


def check_error(error: UpstreamError, status: int) -> None:
    """Assert that an error can be shown to a customer, and has the status of the contract."""
    assert isinstance(error, UpstreamError)
    assert error.message
    assert SECRET not in error.message
    assert 400 <= error.status < 600
    if status in (401, 402, 403):
        assert error.status >= 500, "the operator's credential is no fault of the customer's"
    if status in (400, 404, 413, 422):
        assert error.status in (400, 502)
    if status >= 500:
        assert error.status >= 429
