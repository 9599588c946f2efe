"""Long strings on their way from a client's body into an upstream's: the same, however spelt."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from ezkielyna import ChatRequest, InvalidRequest
from ezkielyna.dialect import Abilities, Chat, Quoted, encoded
from ezkielyna.dialect.quoted import LONG

A = base64.b64encode(b"\x89PNG" + b"\x00" * LONG).decode()
B = A[:-1] + "B"
URL = "data:image/png;base64,"


def chat(*strings: str, replaced: tuple[bytes, bytes] = (b"", b"")) -> Chat:
    parts = [{"type": "image_url", "image_url": {"url": string}} for string in strings]
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]})
    if replaced[0]:
        body = body.replace(*replaced)
    return Chat(ChatRequest.parse(body), Abilities(frozenset(), None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "strings",
    [
        [URL + A],
        [URL + A, URL + B, URL + A],
        [URL + A, URL + "QUJD", URL + B],
        [URL + A + "é", URL + A + '"\\\n\u2028😀'],
        ["data:text/plain;charset=utf-8;base64," + B],
    ],
)
@pytest.mark.parametrize("replaced", [(b"", b""), (b"/", b"\\/"), (b"AAAB", b"\\u0041AAB")])
def test_a_document_is_what_its_client_meant(
    strings: list[str], replaced: tuple[bytes, bytes]
) -> None:
    read = chat(*strings, replaced=replaced)
    (turn,) = read.turns
    document = {"parts": [{"data": part.quoted, "zero": "\0"} for part in turn.parts]}
    expected = [{"data": string.partition(",")[2], "zero": "\0"} for string in strings]
    for body in (read.request.body, b"", b'"' + URL.encode() + A.encode()):
        assert orjson.loads(encoded(document, body)) == {"parts": expected}
    assert [part.data for part in turn.parts] == [part["data"] for part in expected]


def test_short_strings_are_written_as_ever() -> None:
    (turn,) = chat(URL + "QUJD").turns
    assert turn.parts[0].quoted == "QUJD"
    assert isinstance(chat(URL + A).turns[0].parts[0].quoted, Quoted)


@pytest.mark.parametrize("value", [object(), 10**40])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="no JSON that can be passed on"):
        encoded({"value": value})
