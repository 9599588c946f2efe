"""What one request may ask for: everything else waits while its answer is made."""

import json
from typing import Any

import pytest

from ezkielyna_simulator import SimulatedServer
from ezkielyna_simulator.answers import MOST_DIMENSIONS, MOST_INPUTS, Refused
from ezkielyna_simulator.script import MOST_TOKENS

EMBED = {"model": "sim-embedding", "input": "a"}
CHAT = {"model": "sim-gpt", "messages": [{"role": "user", "content": "Hi."}]}


def answered(path: str, request: dict[str, Any]) -> dict[str, Any]:
    answer, _ = SimulatedServer().answer("POST", path, json.dumps(request).encode())
    document: dict[str, Any] = json.loads(answer.body)
    return document


@pytest.mark.parametrize(
    ("path", "request_", "param", "bound"),
    [
        ("/embeddings", {**EMBED, "dimensions": MOST_DIMENSIONS + 1}, "dimensions", "3,072"),
        ("/embeddings", {**EMBED, "dimensions": 10**15}, "dimensions", "3,072"),
        ("/embeddings", {**EMBED, "dimensions": -1}, "dimensions", "3,072"),
        ("/embeddings", {**EMBED, "input": ["a"] * (MOST_INPUTS + 1)}, "input", "2,048"),
        (
            "/chat/completions",
            {**CHAT, "simulate": {"tokens": MOST_TOKENS + 1}},
            "simulate",
            "100,000",
        ),
    ],
)
def test_more_than_anybody_needs_is_refused(
    path: str, request_: dict[str, Any], param: str, bound: str
) -> None:
    with pytest.raises(Refused) as refused:
        answered(path, request_)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert bound in refused.value.message


def test_the_most_is_answered() -> None:
    (widest,) = answered("/embeddings", {**EMBED, "dimensions": MOST_DIMENSIONS})["data"]
    assert len(widest["embedding"]) == MOST_DIMENSIONS
    many = answered("/embeddings", {**EMBED, "input": ["a"] * MOST_INPUTS, "dimensions": 1})
    assert len(many["data"]) == MOST_INPUTS


@pytest.mark.parametrize("stop", ["", [], ["", "never said"]])
def test_an_empty_stop_sequence_stops_nothing(stop: Any) -> None:
    said = answered("/chat/completions", CHAT)["choices"]
    assert answered("/chat/completions", {**CHAT, "stop": stop})["choices"] == said
