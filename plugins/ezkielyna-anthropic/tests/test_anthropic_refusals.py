"""What the upstream cannot do: refused by name, dropped with a word, dropped without."""

from __future__ import annotations

import orjson
import pytest

from anthropic_words import CALL, LOOP, RESULT, TOOL, Json, exchange
from ezkielyna import ApiRequest, EmbeddingRequest, ImageRequest, InvalidRequest, Unsupported
from ezkielyna.testing.asking import USER
from ezkielyna_anthropic import AnthropicProvider

AUDIO = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "grammar"}}}]},
            "tools[0].custom.format",
        ),
        (
            {"messages": [{"role": "user", "content": [AUDIO]}]},
            "messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].file.file_id",
        ),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "logprobs": 2}, "logprobs"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
    ],
)
def test_what_the_upstream_cannot_do_is_refused_by_name(fields: Json, param: str) -> None:
    with pytest.raises(Unsupported) as raised:
        exchange(**fields)
    assert (raised.value.status, raised.value.param) == (400, param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, {"role": "assistant", "tool_calls": [CALL]}], "messages[1]"),
        ([USER, RESULT], "messages[1].tool_call_id"),
        ([*LOOP, RESULT], "messages[3].tool_call_id"),
        ([*LOOP[:2], USER], "messages[2]"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        (
            [
                USER,
                {
                    "role": "assistant",
                    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a":'}}],
                },
            ],
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_history_the_upstream_would_refuse_is_refused_by_name(
    messages: list[Json], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        exchange(messages=messages, tools=[TOOL])
    assert raised.value.param == param


def test_three_classes_of_what_has_no_place() -> None:
    silent = {"store": True, "metadata": {"a": "b"}, "verbosity": "low", "prompt_cache_key": "k"}
    told = {"seed": 7, "frequency_penalty": 0.5, "logit_bias": {"1": 2}, "stop": ["x", "\n"]}
    x = exchange(**silent, **told, presence_penalty=0, unheard_of=1)
    assert sorted(x.dropped) == ["frequency_penalty", "logit_bias", "seed", "stop", "unheard_of"]
    assert not {*silent, *told, "unheard_of"} & orjson.loads(x.request.body).keys()


@pytest.mark.parametrize(
    ("kind", "body"), [(EmbeddingRequest, {"input": "x"}), (ImageRequest, {"prompt": "x"})]
)
def test_other_endpoints_are_refused(kind: type[ApiRequest], body: Json) -> None:
    provider = AnthropicProvider("lab", AnthropicProvider.Settings())
    with pytest.raises(Unsupported):
        provider.exchange(kind.parse(orjson.dumps({"model": "m", **body})), "claude-opus-4-6")
