"""Plain answers, and the errors that other answers stand for."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkielyna import UpstreamError, Usage
from ezkielyna_openai.documents import with_value, without_member
from ezkielyna_openai.usages import tokens_used

USAGE = b'"usage" : {"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}'
BODY = b'{ "choices": [ {"message":{"content":"x"},"logprob":-1.0E-7} ],\n "new":1.50,\n %b }'
COMPATIBLE = {"base_url": "http://127.0.0.1:1/v1"}


def test_only_the_usage_changes(make: Any) -> None:
    raw = BODY % USAGE
    answer = make({}).answer(200, {}, raw)
    assert answer == raw.replace(b"15}", b'15,"cost":0.001000003}')
    assert make({}, price=None).answer(200, {}, raw) == raw


def test_the_right_usage_is_found(make: Any) -> None:
    raw = BODY % (b'"inner":{"usage":{"a":1},"text":"\\"usage\\":{}"},' + USAGE)
    answer = make({}).answer(200, {}, raw)
    assert answer == raw.replace(b"15}", b'15,"cost":0.001000003}')


@pytest.mark.parametrize("after", [b"", b',"x":{"y":{}}', b',"x":[{}]', b',"x":1'])
def test_the_cost_is_in_the_usage_whatever_follows_it(make: Any, after: bytes) -> None:
    details = b'"prompt_tokens_details":{"cached_tokens":0} '
    usage = USAGE[:-1] + b"," + details + b"}"
    raw = BODY % (usage + after)
    answer = make({}).answer(200, {}, raw)
    assert answer == raw.replace(details, details + b',"cost":0.001000003')


def test_an_answer_without_usage_stays_as_it_is(make: Any) -> None:
    raw = BODY % b'"usage":null'
    exchange = make({})
    assert exchange.answer(200, {}, raw) == raw
    assert exchange.usage is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(input=5)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {
                    "cached_tokens": 30,
                    "audio_tokens": 20,
                    "cache_write_tokens": 10,
                },
                "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 5},
            },
            Usage(
                input=40,
                cached_input=30,
                cache_write=10,
                audio_in=20,
                output=30,
                reasoning=15,
                audio_out=5,
            ),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4},
            Usage(input=5, cached_input=4, output=1),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 99},
            Usage(cached_input=9, output=1),
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, Usage(input=9)),
        ({"prompt_tokens": "many"}, None),
        ({"prompt_tokens": -1, "completion_tokens": True}, None),
        ({}, None),
    ],
)
def test_usage_in_disjoint_buckets(usage: dict[str, Any], expected: Usage | None) -> None:
    assert tokens_used(usage) == expected


counts = st.one_of(st.none(), st.integers(-5, 500), st.floats(), st.text(max_size=2))


@given(
    usage=st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": counts,
            "completion_tokens": counts,
            "total_tokens": counts,
            "cached_tokens": counts,
            "prompt_tokens_details": st.dictionaries(
                st.sampled_from(["cached_tokens", "audio_tokens", "cache_write_tokens"]), counts
            ),
            "completion_tokens_details": st.dictionaries(
                st.sampled_from(["reasoning_tokens", "audio_tokens"]), counts
            ),
        },
    )
)
def test_buckets_are_plausible_whatever_an_upstream_says(usage: dict[str, Any]) -> None:
    found = tokens_used(usage)
    if found is not None:
        assert found.plausible
        prompt = usage.get("prompt_tokens")
        assert found.input_total == (prompt if type(prompt) is int and prompt > 0 else 0)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["usage", "a", 'q"uo', "x_groq", ""]), inner, max_size=3),
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(["usage", "a", 'q"uo', "choices"]), json_values)


@given(document=objects, indent=st.booleans(), value=json_values)
def test_members_are_cut_and_replaced_exactly(
    document: dict[str, Any], indent: bool, value: Any
) -> None:
    raw = orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else 0)
    rest = {name: item for name, item in document.items() if name != "usage"}
    assert orjson.loads(without_member(raw, "usage", document)) == rest
    changed = with_value(raw, "usage", orjson.dumps(value), document)
    assert orjson.loads(changed) == {**document, "usage": value}


def test_repairs_of_a_plain_answer(make: Any) -> None:
    message = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
        "tool_calls": [{"id": "", "function": {"name": "f", "arguments": {"a": 1}}}],
    }
    body = orjson.dumps({"id": "1", "choices": [{"finish_reason": "eos", "message": message}]})
    choice = orjson.loads(make({}, **COMPATIBLE).answer(200, {}, body))["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "so"
    assert choice["message"]["reasoning_content"] == "hm"
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"a":1}'
    assert call["id"].startswith("call_")
    assert "index" not in call


def test_embeddings_in_the_encoding_that_was_asked(make: Any) -> None:
    vector = [0.5, -0.25]
    text = base64.b64encode(struct.pack("<2f", *vector)).decode()

    def answered(asked: str | None, sent: Any) -> Any:
        body = orjson.dumps({"data": [{"embedding": sent, "index": 0}]})
        exchange = make({"encoding_format": asked} if asked else {}, endpoint="embeddings")
        return orjson.loads(exchange.answer(200, {}, body))["data"][0]["embedding"]

    assert answered("base64", vector) == text
    assert answered("base64", text) == text
    assert answered(None, text) == vector
    assert answered("float", vector) == vector
    packed_bytes = base64.b64encode(bytes(range(100, 200))).decode()
    assert answered(None, packed_bytes) == packed_bytes


def test_images_are_counted_in_pieces_and_in_tokens(make: Any) -> None:
    priced: list[Usage] = []

    def price(usage: Usage) -> int:
        priced.append(usage)
        return 40_000_000 * usage.images

    plain = make({"n": 2}, endpoint="images.generations", price=price)
    body = b'{"created":1,"data":[{"url":"u"},{"url":"v"}]}'
    answer = orjson.loads(plain.answer(200, {}, body))
    assert answer["usage"]["cost"] == 0.08
    assert answer["usage"]["total_tokens"] == 0
    assert priced == [Usage(images=2, source="counted")]
    usage = {"input_tokens": 7, "output_tokens": 9, "total_tokens": 16}
    body = orjson.dumps({"data": [{"b64_json": "x"}], "usage": usage})
    counted = make({}, endpoint="images.generations", price=price)
    assert orjson.loads(counted.answer(200, {}, body))["usage"] == {**usage, "cost": 0.04}
    assert counted.usage == Usage(input=7, output=9, images=1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>login</html>",
        b"",
        b"[]",
        b"{}",
        b'"text"',
        b'{"choices":null}',
        b'{"error":{"message":"hidden in 200"}}',
        b'[{"error":{"message":"hidden in 200"}}]',
    ],
)
def test_a_200_that_is_no_answer(body: bytes, make: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        make({}).answer(200, {}, body)
    assert caught.value.status == 502
    assert caught.value.retryable


def said(message: str, **more: Any) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": "t", "param": None, **more}})


@pytest.mark.parametrize(
    ("status", "body", "ours", "kind", "retryable"),
    [
        (400, said("bad", param="top_p"), 400, "invalid_request", False),
        (404, said("no model"), 400, "invalid_request", False),
        (409, b"", 400, "invalid_request", False),
        (413, b"<html>", 400, "invalid_request", False),
        (422, b'{"detail":[{"msg":"field required"}]}', 400, "invalid_request", False),
        (401, said("key sk-secret12345 is bad"), 502, "upstream_error", True),
        (402, said("pay"), 502, "upstream_error", True),
        (403, said("no"), 502, "upstream_error", True),
        (408, b"", 504, "upstream_timeout", True),
        (429, said("slow"), 429, "rate_limited", True),
        (429, said("q", code="insufficient_quota"), 502, "upstream_error", True),
        (500, b"oops", 502, "upstream_error", True),
        (502, b'"text"', 502, "upstream_error", True),
        (503, said("busy"), 503, "overloaded", True),
        (504, b"", 504, "upstream_timeout", True),
        (529, said("busy"), 503, "overloaded", True),
        (302, b"", 502, "upstream_error", True),
    ],
)
def test_what_a_status_stands_for(
    status: int, body: bytes, ours: int, kind: str, retryable: bool, make: Any
) -> None:
    error = make({}).failure(status, {}, body)
    assert (error.status, error.type, error.retryable) == (ours, kind, retryable)
    assert "sk-" not in error.message
    assert error.message


def test_the_message_and_the_param_of_a_refusal_are_passed_on(make: Any) -> None:
    error = make({}).failure(400, {}, said("Too hot.", param="temperature"))
    assert (error.message, error.param) == ("Too hot.", "temperature")
    assert make({}).failure(400, {}, b'[{"error":{"message":"in a list"}}]').message == "in a list"
    assert make({}).failure(400, {}, b'{"error":"in a word"}').message == "in a word"
    assert make({}).failure(400, {}, b'{"message":"flat","object":"error"}').message == "flat"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        (
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:47 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            10.0,
        ),
        ({"retry-after": "soon"}, 1.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 1.0),
        ({}, 1.0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float, make: Any) -> None:
    assert make({}).failure(429, headers, said("slow")).retry_after_s == seconds


def test_messages_tell_no_secret(make: Any) -> None:
    text = (
        "key my-own-key-123 or sk-proj-abcdefgh1234 of org-abcdef123456 (me@corp.example) "
        "at https://internal.corp/x?y=z on 10.1.2.3:8000, Bearer abc.def " + "long " * 400
    )
    message = make({}, api_key="my-own-key-123").failure(400, {}, said(text)).message
    for secret in ("my-own", "sk-proj", "org-abc", "corp", "10.1", "abc.def"):
        assert secret not in message
    assert len(message) < 1100


@given(status=st.integers(300, 599), body=st.one_of(st.binary(max_size=60), json_values))
def test_failure_never_raises(status: int, body: Any, make: Any) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps({"error": body})
    error = make({}).failure(status, {}, raw)
    assert 400 <= error.status < 600
