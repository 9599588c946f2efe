"""What servers that speak OpenAI's dialect say differently, put right in their streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ezkielyna import Usage
from ezkielyna.testing.dialect import DONE, event
from ezkielyna.testing.dialect import bare_chunk as chunk
from openai_words import ASKED, COMPATIBLE, FIRST, HELLO, LAST, UNASKED, usage_chunk


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


def calls_of(make: Any, run: Any, read: Any, *deltas: dict[str, Any]) -> list[dict[str, str]]:
    stream = [chunk(delta) for delta in deltas]
    exchange = make(UNASKED, **COMPATIBLE)
    out, error = run(exchange, [FIRST, *stream, chunk({}, "tool_calls"), DONE])
    assert error is None
    calls = read(out).calls
    assert [index for _, index in calls] == list(range(len(calls)))
    return list(calls.values())


def test_fragments_in_openais_way_pass_untouched(make: Any, run: Any) -> None:
    stream = [
        chunk(call(index=0, id="a", type="function", function={"name": "f", "arguments": ""})),
        chunk(call(index=0, function={"arguments": "{}"})),
        chunk(call(index=1, id="b", type="function", function={"name": "f", "arguments": ""})),
        chunk(call(index=1, function={"arguments": "{ }"})),
        LAST,
        DONE,
    ]
    out, _ = run(make(UNASKED, **COMPATIBLE), stream)
    assert out == b"".join(stream)


def test_calls_without_an_index_or_with_the_same(make: Any, run: Any, read: Any) -> None:
    for index in ({}, {"index": 0}, {"index": None}):
        calls = calls_of(
            make,
            run,
            read,
            call(**index, id="a", type="function", function={"name": "f", "arguments": "{1}"}),
            call(**index, id="b", type="function", function={"name": "f", "arguments": "{2"}),
            call(**index, function={"arguments": "}"}),
        )
        assert [(c["id"], c["args"]) for c in calls] == [("a", "{1}"), ("b", "{2}")]


def test_empty_ids_are_invented_and_names_tell_calls_apart(make: Any, run: Any, read: Any) -> None:
    calls = calls_of(
        make,
        run,
        read,
        call(index=0, id="", function={"name": "f", "arguments": "{}"}),
        call(index=0, id="", function={"name": "g", "arguments": "{}"}),
        call(index=0, id="", function={"name": "g", "arguments": '{"again":1}'}),
    )
    assert [c["name"] for c in calls] == ["f", "g", "g"]
    assert len({c["id"] for c in calls}) == 3
    assert all(c["id"].startswith("call_") for c in calls)


def test_repeated_ids_and_names_continue_a_call(make: Any, run: Any, read: Any) -> None:
    calls = calls_of(
        make,
        run,
        read,
        call(index=0, id="a", function={"name": "f", "arguments": '{"x"'}),
        call(index=0, id="a", function={"name": "f", "arguments": ":1}"}),
    )
    assert calls == [{"id": "a", "name": "f", "args": '{"x":1}'}]


def test_arguments_become_strings(make: Any, run: Any, read: Any) -> None:
    calls = calls_of(
        make,
        run,
        read,
        call(index=0, id="a", function={"name": "f", "arguments": {"x": 1}}),
        call(index=1, id="b", function={"name": "g", "arguments": None}),
    )
    assert [c["args"] for c in calls] == ['{"x":1}', ""]


def test_reasoning_has_one_name(make: Any, run: Any, read: Any) -> None:
    stream = [chunk({"reasoning": "hm"}), chunk({"content": "x", "reasoning": None}), LAST, DONE]
    exchange = make(UNASKED, **COMPATIBLE)
    out, _ = run(exchange, stream)
    seen = read(out)
    assert seen.reasoning == {0: "hm"}
    assert all("reasoning" not in c["choices"][0]["delta"] for c in seen.chunks)
    assert exchange.delivered().reasoning == "hm"
    both = chunk({"reasoning": "hm", "reasoning_content": "hm"})
    out, _ = run(make(UNASKED, **COMPATIBLE), [both, LAST, DONE])
    assert read(out).reasoning == {0: "hm"}


def test_a_role_is_said_once_for_each_choice(make: Any, run: Any, read: Any) -> None:
    stream = [chunk({"role": "assistant", "content": "x"}, index=i) for i in (0, 1, 0, 1)]
    out, _ = run(make(UNASKED, **COMPATIBLE), [*stream, LAST, DONE])
    seen = read(out)
    assert seen.roles == {0: 1, 1: 1}
    assert seen.text == {0: "xx", 1: "xx"}


@pytest.mark.parametrize(
    ("theirs", "ours"), [("eos", "stop"), ("end_turn", "stop"), ("model_length", "length")]
)
def test_finish_reasons_are_openais(theirs: str, ours: str, make: Any, run: Any, read: Any) -> None:
    out, _ = run(make(UNASKED, **COMPATIBLE), [HELLO, chunk({}, theirs)])
    assert read(out).finish == {0: ours}


def test_parts_become_text_and_reasoning(make: Any, run: Any, read: Any) -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    parts = [{"type": "text", "text": "so"}]
    stream = [chunk({"content": thinking}), chunk({"content": parts}), LAST, DONE]
    out, _ = run(make(UNASKED, preset="mistral"), stream)
    seen = read(out)
    assert (seen.text, seen.reasoning) == ({0: "so"}, {0: "hm"})


def test_servers_that_put_blanks_after_colons(make: Any, run: Any, read: Any) -> None:
    def spaced(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        document = {"id": "1", "choices": [choice], "usage": None}
        return b"data: " + json.dumps(document).encode() + b"\n\n"

    stream = [
        spaced({"role": "assistant", "content": ""}),
        b'data: {"id": "1", "choices": []}\n\n',
        spaced({"content": "x"}),
        spaced({"content": [{"type": "text", "text": "y"}]}),
        spaced({}, "eos"),
    ]
    out, _ = run(make(UNASKED, **COMPATIBLE), stream)
    seen = read(out)
    assert (seen.text, seen.finish) == ({0: "xy"}, {0: "stop"})
    assert all(document["choices"] for document in seen.chunks)
    assert b"usage" not in out
    assert b'{"content": "x"}' in out


def test_azures_first_chunk_is_not_for_clients(make: Any, run: Any) -> None:
    first = event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    settings = {"preset": "azure", "base_url": "https://x.openai.azure.com"}
    assert run(make(UNASKED, **settings), [first, HELLO, LAST, DONE])[0] == HELLO + LAST + DONE
    assert run(make(UNASKED), [first, HELLO, LAST, DONE])[0] == first + HELLO + LAST + DONE


def test_perplexitys_whole_message_is_not_repeated(make: Any, run: Any) -> None:
    raw = HELLO.replace(b'"delta"', b'"message":{"content":"all of it"},"delta"')
    exchange = make(UNASKED, preset="perplexity")
    out, _ = run(exchange, [raw, LAST])
    assert b"all of it" not in out
    assert exchange.delivered().text == "Hello"


def test_xais_completion_gets_its_reasoning(make: Any, run: Any, read: Any) -> None:
    usage = {
        "prompt_tokens": 361,
        "completion_tokens": 26,
        "total_tokens": 622,
        "completion_tokens_details": {"reasoning_tokens": 235},
    }
    exchange = make(ASKED, preset="xai")
    out, _ = run(exchange, [HELLO, LAST, usage_chunk(usage), DONE])
    assert exchange.usage == Usage(input=361, output=26, reasoning=235)
    shown = read(out).usages[0]
    assert (shown["completion_tokens"], shown["total_tokens"]) == (261, 622)
