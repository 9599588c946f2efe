"""What the client gets, for shapes that no recording has; the lines are those of the list of
mistakes that other gateways made.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ezkielyna import UpstreamError, Usage
from gemini_words import TOTALS, Json, call, document, event, exchange, streaming, text


def answered(*parts: Json, asked: Json | None = None, **more: Any) -> Json:
    made = exchange(**(asked or {})).answer(200, {}, orjson.dumps(document(*parts, **more)))
    answer: Json = orjson.loads(made)
    return answer


def chunks(*documents: Json, asked: Json | None = None) -> list[Json]:
    made = streaming(**(asked or {}))
    out = b"".join(made.feed(event(each)) for each in documents) + made.close()
    *events, done, rest = out.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [orjson.loads(each.removeprefix(b"data: ")) for each in events]


def deltas(found: list[Json]) -> list[Json]:
    return [choice["delta"] for each in found for choice in each["choices"]]


def reasons(found: list[Json]) -> list[str | None]:
    return [choice["finish_reason"] for each in found for choice in each["choices"]]


def test_usage_comes_only_when_asked_for_and_then_everywhere() -> None:
    """Lines 1 and 2."""
    first, last = document(text("a"), reason=None), document(text("b"))
    assert all("usage" not in each for each in chunks(first, last))
    asked = {"stream_options": {"include_usage": True}}
    *before, usage = chunks(first, last, asked=asked)
    assert all(each["usage"] is None for each in before)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 15
    assert "cost" not in usage["usage"]


def test_the_cost_is_an_exact_number() -> None:
    made = streaming(stream_options={"include_usage": True})
    made.price = lambda usage: 1_000_000_001
    out = made.feed(event(document(text("a")))) + made.close()
    assert b'"cost":1.000000001}' in out


def test_a_stop_after_calls_is_tool_calls_wherever_it_comes() -> None:
    """Lines 3 and 4."""
    late = chunks(document(call(), reason=None), document(text("")))
    assert reasons(late) == [None, None, "tool_calls"]
    together = chunks(document(call()))
    assert reasons(together) == [None, None, "tool_calls"]
    assert answered(call())["choices"][0]["finish_reason"] == "tool_calls"
    cut = answered(call(), reason="MAX_TOKENS")
    assert cut["choices"][0]["finish_reason"] == "length"


def test_only_the_last_of_several_stops_is_the_finish() -> None:
    """Line 4."""
    found = chunks(document(text("a")), document(text("b")), document(text("c")))
    assert reasons(found) == [None, None, None, None, "stop"]
    assert found[-1]["choices"][0]["delta"] == {}


def test_parallel_calls_count_over_the_whole_stream() -> None:
    """Line 5."""
    found = chunks(
        document(call("a"), call("b"), reason=None), document(call("c"), reason=None),
        document(text("x")), document(call("c")),
    )  # fmt: skip
    calls = [made for delta in deltas(found) for made in delta.get("tool_calls", [])]
    assert [made["index"] for made in calls] == [0, 1, 2, 3]
    assert [made["function"]["name"] for made in calls] == ["a", "b", "c", "c"]
    assert len({made["id"] for made in calls}) == 4


def test_a_call_without_arguments() -> None:
    """Line 7."""
    for part in (call(), call(args={}), call(args=None)):
        made = answered(part)["choices"][0]["message"]
        assert made["tool_calls"][0]["function"]["arguments"] == "{}"
        assert made["content"] is None


def test_cached_tokens_are_counted_once_plain_and_streamed_alike() -> None:
    """Line 8."""
    metadata = {
        "promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 7,
        "thoughtsTokenCount": 20, "toolUsePromptTokenCount": 3, "totalTokenCount": 130,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 15}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
    }  # fmt: skip
    plain = answered(text("a"), usageMetadata=metadata)["usage"]
    asked = {"stream_options": {"include_usage": True}}
    assert chunks(document(text("a"), usageMetadata=metadata), asked=asked)[-1]["usage"] == plain
    assert plain == {
        "prompt_tokens": 103,
        "completion_tokens": 27,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 2},
    }
    made = exchange()
    made.answer(200, {}, orjson.dumps(document(text("a"), usageMetadata=metadata)))
    assert made.usage == Usage(
        input=13, cached_input=80, audio_in=10, output=5, audio_out=2, reasoning=20
    )


def test_absurd_counts_stay_plausible() -> None:
    metadata = {"promptTokenCount": -5, "cachedContentTokenCount": 9, "candidatesTokenCount": "x"}
    made = exchange()
    made.answer(200, {}, orjson.dumps(document(text("a"), usageMetadata=metadata)))
    assert made.usage is None  # the core counts
    metadata |= {"promptTokenCount": 5}
    made = exchange()
    made.answer(200, {}, orjson.dumps(document(text("a"), usageMetadata=metadata)))
    assert made.usage == Usage(cached_input=5, output=1, source="estimated")


def test_thoughts_are_output_tokens_and_never_content() -> None:
    """Line 9."""
    metadata = TOTALS | {"thoughtsTokenCount": 100}
    parts = (text("hm", thought=True), text("4"))
    answer = answered(*parts, usageMetadata=metadata)
    assert answer["usage"]["completion_tokens"] == 105
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("4", "hm")
    assert deltas(chunks(document(*parts)))[1:3] == [{"reasoning_content": "hm"}, {"content": "4"}]


def test_a_candidate_without_content_is_still_a_choice() -> None:
    """Line 19."""
    for content in ({}, {"role": "model"}, None):
        candidate = {"content": content, "finishReason": "MAX_TOKENS"}
        body = {"candidates": [candidate]}
        answer = orjson.loads(exchange().answer(200, {}, orjson.dumps(body)))
        (choice,) = answer["choices"]
        assert (choice["index"], choice["message"]["content"]) == (0, "")
        assert choice["finish_reason"] == "length"
        assert reasons(chunks(body)) == [None, "length"]


def test_a_blocked_prompt_is_a_refusal() -> None:
    """Line 19."""
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    answer = orjson.loads(exchange().answer(200, {}, orjson.dumps(body)))
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == "Blocked by Gemini: SAFETY"
    assert choice["message"]["content"] is None
    assert answer["usage"]["prompt_tokens"] == 4
    found = chunks(body)
    assert {"refusal": "Blocked by Gemini: SAFETY"} in deltas(found)
    assert reasons(found)[-1] == "content_filter"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("OTHER", "stop"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("NEW_REASON", "stop"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    assert answered(text("a"), reason=reason)["choices"][0]["finish_reason"] == finish
    assert reasons(chunks(document(text("a"), reason=reason)))[-1] == finish


def test_ends_without_content() -> None:
    assert answered(reason="OTHER")["choices"][0]["finish_reason"] == "content_filter"
    with pytest.raises(UpstreamError, match="malformed") as raised:
        answered(reason="MALFORMED_FUNCTION_CALL")
    assert raised.value.retryable
    with pytest.raises(UpstreamError, match="malformed"):
        chunks(document(reason="UNEXPECTED_TOOL_CALL"))


def test_only_one_call_where_calls_may_not_be_parallel() -> None:
    """Line 16."""
    asked = {"parallel_tool_calls": False}
    message = answered(call("a"), call("b"), asked=asked)["choices"][0]["message"]
    assert [made["function"]["name"] for made in message["tool_calls"]] == ["a"]
    found = chunks(document(call("a")), document(call("b")), asked=asked)
    assert [len(delta["tool_calls"]) for delta in deltas(found) if "tool_calls" in delta] == [1]


def test_deprecated_functions_are_answered_in_their_style() -> None:
    asked = {"functions": [{"name": "f"}]}
    (choice,) = answered(call(args={"a": 1}), asked=asked)["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]
    found = chunks(document(call(args={"a": 1})), asked=asked)
    assert {"function_call": {"name": "f", "arguments": '{"a":1}'}} in deltas(found)
    assert reasons(found)[-1] == "function_call"


def test_custom_tools_have_free_text() -> None:
    tool = {"type": "custom", "custom": {"name": "run"}}
    made = exchange(tools=[tool])
    (declared,) = orjson.loads(made.request.body)["tools"][0]["functionDeclarations"]
    assert list(declared["parametersJsonSchema"]["properties"]) == ["input"]
    answer = orjson.loads(
        made.answer(200, {}, orjson.dumps(document(call("run", args={"input": "ls"}))))
    )
    (called,) = answer["choices"][0]["message"]["tool_calls"]
    assert called["custom"] == {"name": "run", "input": "ls"}


def test_choices_interleave() -> None:
    def candidate(index: int, words: str, **more: Any) -> Json:
        return {"index": index, "content": {"parts": [{"text": words}]}, **more}

    found = chunks(
        {"candidates": [candidate(0, "a"), candidate(1, "b")]},
        {"candidates": [candidate(1, "c", finishReason="STOP")]},
        {"candidates": [candidate(0, "d", finishReason="MAX_TOKENS")]},
        asked={"n": 2},
    )
    texts = {0: "", 1: ""}
    for each in found:
        for choice in each["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == {0: "ad", 1: "bc"}
    assert reasons(found)[-2:] == ["length", "stop"]
    assert all(each["id"] == found[0]["id"] for each in found)


def test_images_in_a_chat() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}, "index": 0}
    assert answered(text("see"), part)["choices"][0]["message"]["images"] == [image]
    assert {"images": [image]} in deltas(chunks(document(text("see"), part)))


def test_log_probabilities() -> None:
    chosen = {"token": "é", "tokenId": 1, "logProbability": -0.5}
    result = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen, chosen]}]}
    body = document(text("é"))
    body["candidates"][0]["logprobsResult"] = result
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    wanted = {"content": [token | {"top_logprobs": [token, token]}], "refusal": None}
    answer = orjson.loads(exchange(logprobs=True).answer(200, {}, orjson.dumps(body)))
    assert answer["choices"][0]["logprobs"] == wanted
    found = chunks(body, asked={"logprobs": True})
    assert [each["choices"][0]["logprobs"] for each in found] == [None, wanted, None]


def test_code_execution_is_ignored() -> None:
    parts = ({"executableCode": {"code": "1"}}, {"codeExecutionResult": {"output": "1"}}, text("1"))
    assert answered(*parts)["choices"][0]["message"]["content"] == "1"
    assert deltas(chunks(document(*parts)))[1:] == [{"content": "1"}, {}]


def piece(path: str | None = None, *, more: bool = True, **value: Any) -> bytes:
    function: Json = {"willContinue": True} if more else {}
    if path:
        function["partialArgs"] = [{"jsonPath": path, **value}]
    return event(document({"functionCall": function}, reason=None))


def test_arguments_in_pieces_make_a_call_when_they_are_complete() -> None:
    made = streaming()
    assert b"tool_calls" not in made.feed(
        event(document(call("f", willContinue=True), reason=None))
    )
    assert not made.feed(piece("$.a[0]", stringValue="Bos", willContinue=True))
    assert not made.feed(piece("$.a[0]", stringValue="ton") + piece("$.b", boolValue=True))
    (delta,) = deltas([orjson.loads(made.feed(piece("$.c", nullValue="", more=False))[6:])])
    assert delta["tool_calls"][0]["function"] == {
        "name": "f",
        "arguments": '{"a":["Boston"],"b":true,"c":null}',
    }


def test_a_legacy_completion() -> None:
    body = document(text("hm", thought=True), text("upon a time"), reason="MAX_TOKENS")
    answer = orjson.loads(exchange(prompt="Once").answer(200, {}, orjson.dumps(body)))
    assert answer["id"] == "cmpl-r1"
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [
        {"text": "upon a time", "index": 0, "logprobs": None, "finish_reason": "length"}
    ]
    made = streaming(prompt="Once", stream_options={"include_usage": True})
    out = made.feed(event(body)) + made.close()
    events = [orjson.loads(each[6:]) for each in out.split(b"\n\n")[:-2]]
    assert [each["object"] for each in events] == ["text_completion"] * 3
    assert [choice for each in events for choice in each["choices"]] == [
        {"index": 0, "text": "upon a time", "logprobs": None, "finish_reason": None},
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"},
    ]
    assert events[-1]["usage"]["total_tokens"] == 15
