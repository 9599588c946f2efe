"""The rules of streams, on events written for the purpose."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezkielyna import Usage
from ezkielyna.testing.cuts import splits
from ezkielyna.testing.dialect import DONE, event
from ezkielyna.testing.dialect import bare_chunk as chunk
from ezkielyna_openai.exchange import OpenAIExchange
from openai_words import ASKED, COMPATIBLE, FIRST, HELLO, LAST, UNASKED, USAGE, usage_chunk


def nulled(raw: bytes) -> bytes:
    return raw.replace(b"}\n\n", b',"usage":null}\n\n')


def test_events_pass_untouched(make: Any, run: Any) -> None:
    odd = (
        b'data: {"choices":[{"index":0,"delta":{"content":"\\u00e9 1.0E-5 ok"},"x":-0.00}] '
        b', "new":[1]}\n\n'
    )
    exchange = make(UNASKED)
    out, error = run(exchange, [FIRST, odd, HELLO, LAST, DONE])
    assert error is None
    assert out == FIRST + odd + HELLO + LAST + DONE
    assert exchange.delivered().text == "é 1.0E-5 okHello"


def test_every_event_leaves_as_soon_as_it_is_whole(make: Any) -> None:
    exchange = make(UNASKED)
    assert exchange.feed(FIRST[:-1]) == b""
    assert exchange.feed(FIRST[-1:] + HELLO[:9]) == FIRST
    assert exchange.feed(HELLO[9:]) == HELLO


@pytest.mark.parametrize("spelling", [b',"usage":null', b', "usage": null', b',\t"usage" :null'])
def test_null_usage_is_cut_where_the_client_did_not_ask(
    spelling: bytes, make: Any, run: Any
) -> None:
    stream = [e.replace(b"}\n\n", spelling + b"}\n\n") for e in (FIRST, HELLO, HELLO, LAST)]
    out, _ = run(make(UNASKED), [*stream, usage_chunk(), DONE])
    assert out == FIRST + HELLO + HELLO + LAST + DONE
    asked, _ = run(make(ASKED, price=None), [*stream, usage_chunk(), DONE])
    assert asked == b"".join(stream) + usage_chunk() + DONE


def test_null_usage_in_front_and_inside_of_text(make: Any, run: Any) -> None:
    front = HELLO.replace(b"data: {", b'data: {"usage":null,')
    quoted = chunk({"content": 'say ,"usage":null and "usage": {} and "error"'})
    out, _ = run(make(UNASKED), [front, nulled(quoted), quoted, LAST, DONE])
    assert out == HELLO + quoted + quoted + LAST + DONE


def test_a_null_usage_of_something_else_stays(make: Any, run: Any) -> None:
    inner = event({"choices": [{"index": 0, "delta": {"content": "x"}, "meta": {"usage": None}}]})
    out, _ = run(make(UNASKED), [inner, inner, LAST, DONE])
    assert out == inner + inner + LAST + DONE


def test_the_usage_chunk_carries_the_cost_and_stands_before_done(
    make: Any, run: Any, read: Any
) -> None:
    prices: list[Usage] = []

    def price(usage: Usage) -> int:
        prices.append(usage)
        return 1_500_000_001

    exchange = make(ASKED, price=price)
    out, _ = run(exchange, [FIRST, HELLO, LAST, usage_chunk(obfuscation="pad"), DONE])
    expected = usage_chunk({**USAGE, "cost": 1.500000001}, obfuscation="pad")
    assert out == FIRST + HELLO + LAST + expected + DONE
    assert prices == [exchange.usage] == [Usage(input=10, output=5)]
    assert b'"cost":1.500000001' in out


def test_usage_on_a_choice_chunk_moves_to_a_chunk_of_its_own(
    make: Any, run: Any, read: Any
) -> None:
    last = chunk({"content": "!"}, "stop", usage=USAGE, system_fingerprint="fp", p="pad")
    out, _ = run(make(ASKED), [FIRST, HELLO, last, DONE])
    seen = read(out)
    assert seen.text == {0: "Hello!"}
    assert [c["usage"] for c in seen.chunks if "usage" in c] == [None, seen.usages[0]]
    final = seen.chunks[-1]
    assert final.pop("usage")["cost"] == 0.001000003
    assert final == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-lab",
        "system_fingerprint": "fp",
        "choices": [],
    }
    out, _ = run(make(UNASKED), [FIRST, HELLO, last, DONE])
    expected = chunk({"content": "!"}, "stop", system_fingerprint="fp", p="pad")
    assert out == FIRST + HELLO + expected + DONE


def test_of_many_usages_the_last_counts_once(make: Any, run: Any, read: Any) -> None:
    early = {**USAGE, "completion_tokens": 1, "total_tokens": 11}
    stream = [
        chunk({"content": "a"}, usage=early),
        chunk({}, "stop", x_groq={"id": "r", "usage": USAGE}, usage=USAGE),
        usage_chunk(),
        DONE,
    ]
    exchange = make(ASKED)
    out, _ = run(exchange, stream)
    seen = read(out)
    assert len(seen.usages) == 1
    assert exchange.usage == Usage(input=10, output=5)
    assert seen.chunks[1]["x_groq"] == {"id": "r"}


def test_groqs_own_place_for_usage(make: Any, run: Any, read: Any) -> None:
    exchange = make(UNASKED, preset="groq")
    finish = chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})
    out, _ = run(exchange, [HELLO, finish, DONE])
    assert out == HELLO + chunk({}, "stop", x_groq={"id": "r"}) + DONE
    assert exchange.usage == Usage(input=10, output=5)


def test_what_the_operator_pays_is_not_shown(make: Any, run: Any, read: Any) -> None:
    spent = {**USAGE, "cost": 0.5, "cost_details": {"x": 1}, "is_byok": False, "extra": 7}
    for price, shown in ((None, {}), (lambda usage: 3, {"cost": 3e-9})):
        out, _ = run(make(ASKED, price=price), [HELLO, LAST, usage_chunk(spent), DONE])
        assert read(out).usages == [{**USAGE, "extra": 7, **shown}]


def test_the_end_without_done(make: Any, run: Any) -> None:
    out, error = run(make(ASKED, price=None), [HELLO, LAST, usage_chunk()])
    assert error is None
    assert out == HELLO + LAST + usage_chunk() + DONE
    out, error = run(make(UNASKED), [HELLO])
    assert error.status == 502
    assert out == HELLO
    out, error = run(make(UNASKED), [])
    assert error.status == 502


def test_the_last_event_without_its_blank_line(make: Any, run: Any) -> None:
    assert run(make(UNASKED), [HELLO, LAST, b"data: [DONE]"]) == (HELLO + LAST + DONE, None)
    assert run(make(UNASKED), [HELLO, LAST.rstrip()]) == (HELLO + LAST + DONE, None)
    out, error = run(make(UNASKED), [HELLO, LAST[:-20]])
    assert out == HELLO
    assert error is not None


def test_nothing_comes_after_done(make: Any, run: Any) -> None:
    out, error = run(make(UNASKED), [HELLO, DONE + HELLO, DONE, b": bye\n\n"])
    assert (out, error) == (HELLO + DONE, None)


def test_line_ends_comments_and_fields(make: Any, run: Any, read: Any) -> None:
    payload = HELLO[6:-2]
    joined = payload.replace(b',"created"', b'\ndata: ,"created"')
    streams = [
        HELLO.replace(b"\n", b"\r\n"),
        HELLO.replace(b"\n", b"\r"),
        HELLO.replace(b"data: ", b"data:"),
        b": comment\n\n" + HELLO,
        b": comment\n" + HELLO,
        b"id: 7\nevent: message\nretry: 5\n" + HELLO,
        b"\n\n\n" + HELLO + b"\n\n",
        b"\xef\xbb\xbf" + HELLO,
    ]
    for stream in streams:
        for pieces in ([stream, LAST, DONE], splits(stream + LAST + DONE, repeat(1))):
            assert run(make(UNASKED), pieces) == (HELLO + LAST + DONE, None), stream
    out, _ = run(make(UNASKED), [b"data: " + joined + b"\n\n", LAST, DONE])
    assert read(out).text == {0: "Hello"}


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (event({"error": {"message": "boom", "code": "x"}}), 502, "boom"),
        (event({"error": {"message": "slow down", "code": 429}}), 429, "slow down"),
        (event({"error": {"message": "no", "status_code": 400}}), 400, "no"),
        (event({"error": "plain words"}), 502, "plain words"),
        (event({"object": "error", "message": "old way", "code": 400}), 400, "old way"),
        (b'event: error\ndata: {"message": "named"}\n\n', 502, "named"),
        (b"event: error\ndata: just text\n\n", 502, "just text"),
        (chunk({"content": ""}, "error"), 502, "failed"),
        (event({"error": {"message": "key sk-abcdefghijkl at http://10.0.0.7/x"}}), 502, "hidden"),
    ],
)
def test_errors_inside_of_streams(raw: bytes, status: int, said: str, make: Any, run: Any) -> None:
    for pieces in ([HELLO + raw], [HELLO, raw], splits(HELLO + raw, repeat(1)), [HELLO, raw, DONE]):
        out, error = run(make(UNASKED), pieces)
        assert out == HELLO
        assert error.status == status
        assert said in error.message
        assert "sk-" not in error.message
        assert "10.0" not in error.message
    exchange = make(UNASKED)
    _, error = run(exchange, [raw])
    assert error is not None
    assert exchange.delivered().empty


def test_the_word_error_is_no_error(make: Any, run: Any) -> None:
    stream = [chunk({"content": "x"}, error=None), chunk({"tool": "error"}), LAST]
    out, error = run(make(UNASKED), [*stream, DONE])
    assert (out, error) == (b"".join(stream) + DONE, None)


def test_what_is_no_json_ends_the_stream(make: Any, run: Any) -> None:
    out, error = run(make(UNASKED), [HELLO, b'data: {"usage" oops\n\n'])
    assert (out, error.status) == (HELLO, 502)


def test_an_endless_event_is_refused(make: Any, run: Any) -> None:
    _, error = run(make(UNASKED), repeat(b"x" * 1_000_000, 40))
    assert "too large" in error.message


def test_delivered_text_is_folded_and_complete(make: Any, run: Any) -> None:
    exchange = make(UNASKED)
    texts = [f'wörd {number} \\ " \n' for number in range(3000)]
    for number, text in enumerate(texts):
        exchange.feed(chunk({"content": text, "reasoning_content": str(number)}))
    exchange.feed(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}))
    exchange.tidy()
    assert not exchange._delivery.blocks
    delivered = exchange.delivered()
    assert delivered.text == "".join(texts)
    assert delivered.reasoning == "".join(map(str, range(3000)))
    assert delivered.tools == '{"a":'
    assert exchange.progress() >= 3000


def test_half_characters_are_put_together(make: Any, run: Any) -> None:
    one = HELLO.replace(b"Hello", b"\\ud83d")
    two = HELLO.replace(b"Hello", b"\\ude00")
    exchange = make(UNASKED)
    out, _ = run(exchange, [one, two, nulled(one), nulled(two), LAST, DONE])
    assert out.count(b"\\ud83d") == 2
    assert exchange.delivered().text == "😀😀"


def test_progress_never_falls(make: Any) -> None:
    exchange = make(UNASKED)
    seen = [exchange.progress()]
    for size in (1, 1, 4000, 1, 30_000):
        exchange.feed(chunk({"content": "x" * size}))
        seen.append(exchange.progress())
    exchange.delivered()
    seen.append(exchange.progress())
    assert seen == sorted(seen)
    assert seen[-1] >= 8_500


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


def test_legacy_completions(make: Any, run: Any) -> None:
    shared = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up"}
    text = event({**shared, "choices": [{"text": "Hi", "index": 0, "finish_reason": None}]})
    last = event({**shared, "choices": [{"text": "", "index": 0, "finish_reason": "length"}]})
    exchange = make(UNASKED, endpoint="completions")
    out, _ = run(exchange, [nulled(text), nulled(last), usage_chunk(), DONE])
    assert out == text + last + DONE
    assert exchange.delivered().text == "Hi"
    assert exchange.usage == Usage(input=10, output=5)


# Properties ------------------------------------------------------------------------------------

texts = st.text(max_size=8)
members = st.sampled_from(
    [
        {},
        {"usage": None},
        {"usage": USAGE},
        {"error": None},
        {"x_groq": {"usage": USAGE}},
        {"obfuscation": 'a"usage"'},
    ]
)
deltas = st.one_of(
    st.builds(lambda text: {"content": text}, texts),
    st.builds(lambda text: {"role": "assistant", "reasoning": text}, texts),
    st.builds(
        lambda index, identity, text: call(
            index=index, id=identity, function={"name": "f", "arguments": text}
        ),
        st.integers(0, 1),
        st.sampled_from(["", "a", "b"]),
        texts,
    ),
)
written = st.builds(
    lambda delta, more, finish, form: form(chunk(delta, finish, **more)),
    deltas,
    members,
    st.sampled_from([None, None, "stop", "eos", "error"]),
    st.sampled_from(
        [
            lambda raw: raw,
            lambda raw: raw.replace(b"\n\n", b"\r\n\r\n"),
            lambda raw: raw.replace(b"data: ", b"data:", 1),
            lambda raw: b": note\n" + raw,
            lambda raw: b"event: message\n" + raw,
            lambda raw: b"\n" + raw,
            lambda raw: raw.replace(b"}\n", b"} \n"),
        ]
    ),
)
others = st.sampled_from([DONE, usage_chunk(), b": ping\n\n", event({"error": {"message": "no"}})])


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(st.one_of(written, written, written, others), max_size=8),
    sizes=st.lists(st.integers(1, 90), max_size=40),
    asked=st.booleans(),
    compatible=st.booleans(),
)
def test_any_split_of_any_stream_gives_the_same(
    events: list[bytes],
    sizes: list[int],
    asked: bool,
    compatible: bool,
    make: Any,
    run: Any,
    read: Any,
) -> None:
    stream = b"".join(events)

    def outcome(pieces: Any) -> tuple[Any, ...]:
        exchange: OpenAIExchange = make(
            ASKED if asked else UNASKED, **(COMPATIBLE if compatible else {})
        )
        out, error = run(exchange, pieces)
        return out, error and error.message, exchange.usage, exchange.delivered()

    whole = outcome([stream])
    assert outcome(splits(stream, iter(sizes))) == whole
    assert outcome(splits(stream, repeat(1))) == whole
    assert outcome(events) == whole
    seen = read(whole[0])
    assert seen.done == (whole[1] is None)
    assert len(seen.usages) <= (1 if asked and seen.done else 0)
    if not asked:
        assert all("usage" not in document for document in seen.chunks)
