"""Bodies of which few fields change: as right as parsing and writing them, and otherwise untouched.

What is right is what orjson makes of the bytes before and after.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezkielyna import ChatRequest
from ezkielyna.contract.members import MOST_STEPS, members, with_members
from ezkielyna.contract.requests import LARGE_BODY

NAMES = st.sampled_from(["model", "stream_options", "user", "messages", 'a"b', "mod\\", "é", ""])
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text('\\"{}[]:,/n\n\u2028', max_size=12),
    st.sampled_from(['"model":"x"', '\\"model":', "null", "\\" * 31, "\\" * 30 + '"']),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXTS, inner, max_size=4),
    max_leaves=8,
)
SPACES = st.text(" \t\r\n", max_size=3)
CHANGES = st.dictionaries(NAMES, VALUES, max_size=3)


def spelt(text: str, how: int) -> str:
    """Return a JSON string in one of its spellings."""
    if how == 0:
        return json.dumps(text)
    if how == 1:
        return json.dumps(text, ensure_ascii=False).replace("/", "\\/")
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Draw a JSON object: any spaces, spellings and orders, names repeated."""

    def written(value: Any) -> str:
        if isinstance(value, str):
            return spelt(value, draw(st.integers(0, 2)))
        if isinstance(value, dict):
            return "{" + ",".join(map(member, value.items())) + draw(SPACES) + "}"
        if isinstance(value, list):
            return "[" + ",".join(draw(SPACES) + written(item) for item in value) + "]"
        return json.dumps(value)

    def member(pair: tuple[str, Any]) -> str:
        name, value = pair
        spaces = [draw(SPACES) for _ in range(4)]
        name = spelt(name, draw(st.integers(0, 2)))
        return f"{spaces[0]}{name}{spaces[1]}:{spaces[2]}{written(value)}{spaces[3]}"

    pairs = draw(st.lists(st.tuples(NAMES | TEXTS, VALUES), min_size=1, max_size=6))
    inside = ",".join(map(member, pairs))
    return f"{draw(SPACES)}{{{inside}}}{draw(SPACES)}".encode()


@settings(max_examples=100)
@given(objects(), CHANGES)
def test_members_and_their_changes(raw: bytes, changes: dict[str, Any]) -> None:
    known, found = orjson.loads(raw), members(raw)
    assert found is not None
    for name, start, value, end in found:
        assert orjson.loads(b"{%b}" % raw[start:end]) == {name: orjson.loads(raw[value:end])}
    assert {name: orjson.loads(raw[value:end]) for name, _, value, end in found} == known

    changed = with_members(raw, changes)
    assert changed is not None
    expected = {name: value for name, value in {**known, **changes}.items() if value is not None}
    assert orjson.loads(changed) == expected
    after = members(changed) or []
    assert len(after) == len(expected), "who takes the first of two would be told another"
    before = {name: raw[value:end] for name, _, value, end in found}
    kept = [member for member in after if member.name not in changes]
    assert all(changed[value:end] == before[name] for name, _, value, end in kept)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":[%b]}' % b",".join([b"[]"] * MOST_STEPS),
        b'{"a":"%b"}' % (b'\\"' * MOST_STEPS),
        b'{"a":"%b"}' % (b"\\" * 64),
        b'{"a":%b1}' % (b" " * 5000),
        b'{"a":1%b' % (b"0" * 5000),
        b"{}",
    ],
)
def test_what_takes_long_is_left_to_a_parser(raw: bytes) -> None:
    assert members(raw) is None
    assert with_members(raw, {"b": 1}) is None


SMALL = [{"role": "user", "content": "/"}]
LONG = [{"role": "user", "content": "/" * LARGE_BODY}]
MANY = [{"role": "user", "content": "/" * 90}] * MOST_STEPS


@pytest.mark.parametrize(("messages", "untouched"), [(SMALL, False), (LONG, True), (MANY, False)])
def test_a_body_with_other_fields(messages: list[Any], untouched: bool) -> None:
    """Small, large, and large of many pieces: all mean the same."""
    options = {"include_usage": None, "own": {"deep": None}}
    fields = {"seed": None, "temperature": 1, "x": [1.5], "stream_options": options}
    sent = {"stream": True, "model": "a", "messages": messages, **fields}
    request = ChatRequest.parse(json.dumps(sent).replace("/", "\\/").encode())
    del sent["seed"]
    assert request.fields() == sent
    changed = request.body_with({"model": "b", "stream": None, "new": "é"})
    del sent["stream"]
    assert orjson.loads(changed) == {**sent, "model": "b", "new": "é"}
    assert (b"\\/" in changed) == untouched


def test_numbers_beyond_all_bounds_survive() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"%b","n":%b}],"s":%b}'
    body %= (b"x" * LARGE_BODY, b"9" * 40, b"7" * 40)
    request = ChatRequest.parse(body)
    assert (b"9" * 40) in request.body_with({"model": "other"})
    request = ChatRequest.parse(body.replace(b"x", b'\\"'))  # too many pieces
    assert (b"9" * 40) in request.body_with({"model": "other"})
