"""Reasoning effort, thinking, and signatures that survive clients which drop unknown fields."""

from __future__ import annotations

import random
import re
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from anthropic_words import TOOL, Json
from ezkielyna.dialect import MOST_CHARACTERS
from ezkielyna.testing.asking import Asking
from ezkielyna.testing.recordings import Recording, recorded, recordings
from ezkielyna_anthropic import AnthropicProvider, carrier

USER = {"role": "user", "content": "What is 6 times 7?"}
THOUGHT = {
    "type": "thinking",
    "thinking": "I should multiply. " * 40,
    "signature": "Eq" + "x" * 600,
}
HIDDEN = {"type": "redacted_thinking", "data": "c2VjcmV0"}
SAID = {"type": "text", "text": "Let me see."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 6}}
BUDGET = "claude-haiku-4-5"
ASK = Asking(AnthropicProvider, BUDGET)

exchange = ASK.exchange
sent = ASK.sent


def plain(*content: Json, **settings: Any) -> Json:
    """Return the message a client gets for the upstream's content."""
    document = {"id": "msg_1", "model": "c", "content": content, "stop_reason": "tool_use"}
    body = orjson.dumps({**document, "usage": {"input_tokens": 1, "output_tokens": 2}})
    answer = orjson.loads(exchange(settings=settings).answer(200, {}, body))
    message: Json = answer["choices"][0]["message"]
    return message


def forgetful(message: Json) -> Json:
    """Return the message as a client keeps it that knows nothing but OpenAI's own fields."""
    return {key: message[key] for key in ("role", "content", "tool_calls") if key in message}


def results(message: Json) -> list[Json]:
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": "42"}
        for call in message["tool_calls"]
    ]


def next_turn(message: Json, **fields: Any) -> Json:
    """Return what the upstream is sent when the client comes back with the tools' results."""
    asked = {"tools": [TOOL], "reasoning_effort": "high", **fields}
    return sent(messages=[USER, message, *results(message)], **asked)


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "output"),
    [
        ("claude-opus-4-8", "low", {"type": "adaptive", "display": "summarized"}, "low"),
        ("claude-opus-4-8", "minimal", {"type": "adaptive", "display": "summarized"}, "low"),
        ("claude-opus-4-8", "xhigh", {"type": "adaptive", "display": "summarized"}, "xhigh"),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive", "display": "summarized"}, "high"),
        ("claude-opus-4-6", "max", {"type": "adaptive", "display": "summarized"}, "max"),
        ("claude-opus-4-6", "none", {"type": "disabled"}, None),
        ("claude-fable-5", "none", None, "low"),
        ("claude-opus-4-5", "max", {"type": "enabled", "budget_tokens": 24_576}, "high"),
        (BUDGET, "low", {"type": "enabled", "budget_tokens": 1024}, None),
        (BUDGET, "medium", {"type": "enabled", "budget_tokens": 8192}, None),
        (BUDGET, "high", {"type": "enabled", "budget_tokens": 24_576}, None),
        (BUDGET, "none", {"type": "disabled"}, None),
    ],
)
def test_effort_by_generation(
    model: str, effort: str, thinking: Json | None, output: str | None
) -> None:
    body = sent(model, reasoning_effort=effort)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == output


def test_a_budget_leaves_room_for_the_answer() -> None:
    assert sent(reasoning_effort="high", max_tokens=5000)["thinking"]["budget_tokens"] == 3976
    assert "thinking" not in sent(reasoning_effort="high", max_tokens=1500)


def test_a_model_that_cannot_think_drops_the_effort_and_says_so() -> None:
    x = exchange("claude-3-opus-20240229", reasoning_effort="high")
    assert "thinking" not in orjson.loads(x.request.body)
    assert x.dropped == ("reasoning_effort",)


def test_a_forced_tool_wins_over_a_budget_and_not_over_adaptive_thinking() -> None:
    forced = {"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "high"}
    x = exchange(**forced)
    assert "thinking" not in orjson.loads(x.request.body)
    assert x.dropped == ("reasoning_effort",)
    assert sent("claude-opus-4-6", **forced)["thinking"]["type"] == "adaptive"


def test_thinking_comes_back_in_a_field_of_its_own() -> None:
    message = plain(THOUGHT, HIDDEN, SAID, USE)
    assert message["content"] == SAID["text"]
    assert message["reasoning_content"] == THOUGHT["thinking"]
    assert message["thinking_blocks"] == [THOUGHT, HIDDEN]
    restored = next_turn(message)
    assert restored["messages"][1]["content"] == [THOUGHT, HIDDEN, SAID, USE]
    assert restored["thinking"]["type"] == "enabled"


def test_thinking_survives_a_client_that_drops_unknown_fields() -> None:
    """openai-agents-python#1704: thinking blocks dropped with tool use are a 400."""
    message = forgetful(plain(THOUGHT, HIDDEN, SAID, USE))
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", message["tool_calls"][0]["id"])
    body = next_turn(message)
    assert body["messages"][1]["content"] == [THOUGHT, HIDDEN, SAID, USE]
    assert body["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
    assert body["thinking"]["type"] == "enabled"


def test_thinking_between_text_and_calls_comes_back_in_its_place() -> None:
    later = {"type": "thinking", "thinking": "Now b.", "signature": "sig2"}
    last = {"type": "thinking", "thinking": "And c.", "signature": "sig3"}
    second = {**USE, "id": "toolu_2"}
    content = [THOUGHT, SAID, later, USE, last, second]
    assert next_turn(forgetful(plain(*content)))["messages"][1]["content"] == content


def test_ids_stay_as_they_are_without_thinking_or_when_switched_off() -> None:
    assert plain(SAID, USE)["tool_calls"][0]["id"] == "toolu_1"
    assert plain(THOUGHT, USE, carry_thinking=False)["tool_calls"][0]["id"] == "toolu_1"


def test_thinking_too_large_to_carry_is_not_sent_and_not_asked_for() -> None:
    huge = {**THOUGHT, "signature": random.Random(1).randbytes(40_000).hex()}
    message = forgetful(plain(huge, USE))
    assert message["tool_calls"][0]["id"] == "toolu_1"
    x = exchange(messages=[USER, message, *results(message)], tools=[TOOL], reasoning_effort="high")
    body = orjson.loads(x.request.body)
    assert "thinking" not in body
    assert body["messages"][1]["content"] == [USE]
    assert x.dropped == ("reasoning_effort",)


def test_lost_thinking_of_an_earlier_turn_does_not_matter() -> None:
    message = forgetful(plain(SAID, USE))
    done = {"role": "assistant", "content": "42."}
    messages = [USER, message, *results(message), done, {"role": "user", "content": "And 8?"}]
    assert sent(messages=messages, tools=[TOOL], reasoning_effort="high")["thinking"]


def test_thinking_is_taken_out_where_the_upstream_does_not_think() -> None:
    message = plain(THOUGHT, SAID, USE)
    asked = [USER, message, *results(message)]
    assert sent(messages=asked, tools=[TOOL])["messages"][1]["content"] == [SAID, USE]
    adaptive = sent("claude-opus-4-8", messages=asked, tools=[TOOL])
    assert adaptive["messages"][1]["content"] == [THOUGHT, SAID, USE]


@pytest.mark.parametrize(
    "blocks",
    [
        "x",
        [7],
        [{"type": "thinking", "thinking": "no signature"}],
        [{"type": "thinking", "thinking": "t", "signature": ""}],
        [{"type": "text", "text": "not thinking"}],
    ],
)
def test_blocks_that_are_no_thinking_of_theirs_are_not_passed_on(blocks: Any) -> None:
    messages = [{**plain(SAID, USE), "thinking_blocks": blocks}]
    turns = sent(messages=[USER, *messages, *results(messages[0])], tools=[TOOL])["messages"]
    assert turns[1]["content"] == [SAID, USE]


def test_a_carrier_that_was_cut_or_forged_carries_nothing() -> None:
    whole = carrier.packed("toolu_1", [(0, THOUGHT)])
    assert carrier.unpacked(whole) == ("toolu_1", [(0, THOUGHT)])
    for end in range(len("toolu_1_ezt1_"), len(whole)):
        assert carrier.unpacked(whole[:end])[0] == "toolu_1"
        assert carrier.unpacked(whole[:end])[1] == []
    for forged in ([[0, {"type": "text"}]], [[-1, THOUGHT]], [[0]], {"a": 1}, [7]):
        assert carrier.unpacked(carrier.packed("t", forged))[1] == []  # type: ignore[arg-type]
    bomb = carrier.packed("t", [(0, {**THOUGHT, "thinking": "x" * 5_000_000})])
    assert len(bomb) < MOST_CHARACTERS
    assert carrier.unpacked(bomb) == ("t", [])


def with_thinking_and_calls() -> list[Recording]:
    return [
        recording
        for recording in recordings(provider="anthropic", endpoint="messages")
        if recording.status == 200 and {"out:thinking", "out:tool_use"} <= recording.covers
    ]


@recorded(provider="anthropic", endpoint="messages", mode="json", covers="out:thinking")
def test_a_recorded_answer_goes_round_through_the_sdk(recording: Recording) -> None:
    """What the official SDK's own type keeps is enough to give the upstream its blocks back."""
    upstream = orjson.loads(recording.response.body)
    answer = exchange().answer(200, {}, recording.response.body)
    message = ChatCompletion.model_validate_json(answer).choices[0].message
    if not message.tool_calls:
        return
    known: Json = {"role": "assistant", "content": message.content}
    known["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    body = next_turn(known)
    signed = [b for b in upstream["content"] if b.get("signature") or b["type"] != "thinking"]
    bare = [{k: v for k, v in b.items() if k not in ("caller", "citations")} for b in signed]
    assert body["messages"][1]["content"] == bare


def test_there_are_recordings_with_thinking_and_calls() -> None:
    if not recordings(provider="anthropic"):
        pytest.skip("no recordings")
    assert len(with_thinking_and_calls()) >= 4


@recorded(provider="anthropic", endpoint="messages", mode="sse", covers="out:thinking")
def test_a_recorded_stream_goes_round_through_the_ids_alone(recording: Recording) -> None:
    x = exchange(stream=True)
    output = x.feed(recording.response.body)
    message: Json = {"role": "assistant", "content": "", "tool_calls": []}
    blocks: list[Json] = []
    for line in output.split(b"\n\n")[:-2]:
        for choice in orjson.loads(line[6:])["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            blocks += delta.get("thinking_blocks", [])
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    message["tool_calls"].append(call)
                else:
                    function = message["tool_calls"][call["index"]]["function"]
                    function["arguments"] += call["function"]["arguments"]
    if not message["tool_calls"]:
        return
    content = next_turn(message)["messages"][1]["content"]
    assert [b for b in content if b["type"].endswith("thinking")] == blocks
    assert content[0]["type"].endswith("thinking")
