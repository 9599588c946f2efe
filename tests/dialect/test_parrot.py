"""The provider of `plugins/README.md`, as it is printed there, does what a provider must do."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, CompletionRequest, InvalidRequest, UpstreamError

README = Path(__file__).parents[2] / "plugins" / "README.md"
Json = dict[str, Any]

EVENTS = b"".join(
    b"data: " + orjson.dumps({"id": "p1", "model": "grey", **event}) + b"\r\n\r\n"
    for event in ({"word": "Hello "}, {"word": "Grüße"}, {"why": "done", "heard": 3, "said": 2})
)


def provider() -> Any:
    section = README.read_text().partition("## A provider with a dialect of its own")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    module: Json = {"__name__": "ezkielyna_parrot"}
    exec(compile(found[1], "ezkielyna_parrot.py", "exec"), module)
    (made,) = module["register_providers"]()
    return made("lab", made.Settings(base_url="http://parrot.test"))


def exchange(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    made = provider().exchange(ChatRequest.parse(orjson.dumps(body)), "grey")
    made.price = lambda usage: 5
    return made


def test_the_request() -> None:
    made = exchange(temperature=0.5, seed=7)
    assert made.request.url == "http://parrot.test/speak"
    body = {"bird": "grey", "lines": ["hi"], "most": 100, "mood": 0.5}
    assert orjson.loads(made.request.body) == body
    assert made.dropped == ("seed",)
    with pytest.raises(InvalidRequest, match="more than 1 answers") as refused:
        exchange(n=2)
    assert refused.value.param == "n"


@pytest.mark.parametrize("wants", [True, False])
def test_a_stream_cut_anywhere(wants: bool) -> None:
    fields: Json = {"stream": True}
    if wants:
        fields["stream_options"] = {"include_usage": True}
    whole = exchange(**fields)
    out = whole.feed(EVENTS) + whole.close()
    assert out.endswith(b"data: [DONE]\n\n")
    chunks = [orjson.loads(event[6:]) for event in out.split(b"\n\n")[:-2]]
    said = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert said == ["", "Hello ", "Grüße", None]
    assert all(("usage" in chunk) == wants for chunk in chunks)
    if wants:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["total_tokens"] == 5
        assert chunks[-1]["usage"]["cost"] == 5e-9
    for cuts in [(cut,) for cut in range(1, len(EVENTS))] + [tuple(range(1, len(EVENTS)))]:
        fresh = exchange(**fields)
        pieces = [EVENTS[a:b] for a, b in pairwise((0, *cuts, len(EVENTS)))]
        assert b"".join(map(fresh.feed, pieces)) + fresh.close() == out


def test_a_whole_answer_and_a_failure() -> None:
    told = {"id": "p1", "model": "grey", "word": "Hi", "why": "tired", "heard": 3, "said": 2}
    answer = orjson.loads(exchange().answer(200, {}, orjson.dumps(told)))
    (choice,) = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi", "length")
    assert answer["usage"]["prompt_tokens"] == 3
    failure = exchange().failure(429, {"retry-after": "7"}, b"")
    assert (failure.status, failure.retry_after_s) == (429, 7)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"id":1,"model":[]}', b"\xff"])
def test_what_makes_no_sense_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        exchange().answer(200, {}, body)
    made = exchange(stream=True)
    with pytest.raises(UpstreamError):
        _ = made.feed(b"data: " + body + b"\n\n") + made.close()


def test_a_stream_that_ends_too_early_is_an_error_after_what_it_said() -> None:
    made = exchange(stream=True)
    assert b"Hello" in made.feed(EVENTS[:80])
    with pytest.raises(UpstreamError, match="before it was complete"):
        made.close()


def test_a_legacy_completion_is_told_as_one() -> None:
    request = CompletionRequest.parse(b'{"model":"m","prompt":"hi","stream":true}')
    made = provider().exchange(request, "grey")
    assert orjson.loads(made.request.body)["most"] == 16
    out = made.feed(EVENTS) + made.close()
    chunks = [orjson.loads(event[6:]) for event in out.split(b"\n\n")[:-2]]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Hello ", "Grüße", ""]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
