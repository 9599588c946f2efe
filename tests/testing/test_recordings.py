from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from ezkielyna.testing.recordings import (
    VARIABLE,
    Recording,
    folder,
    recorded,
    recordings,
)

COLUMNS = (
    "file",
    "interaction",
    "format",
    "provider",
    "endpoint",
    "mode",
    "status",
    "covers",
    "provenance",
    "model",
    "request_path",
)


def write(tmp_path: Path, name: str, form: str, content: str | bytes, **row: str) -> None:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)
    line = {"file": name, "interaction": "0", "format": form, "mode": "json", **row}
    manifest = tmp_path / "MANIFEST.tsv"
    if not manifest.exists():
        manifest.write_text("\t".join(COLUMNS) + "\n")
    with manifest.open("a") as file:
        file.write("\t".join(line.get(column, "") for column in COLUMNS) + "\n")


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def one() -> Recording:
    (recording,) = recordings()
    return recording


def test_vcrpy_with_a_compressed_body_and_folded_headers(only: Path) -> None:
    write(
        only,
        "a.yaml",
        "vcrpy-yaml",
        """
interactions:
- request: {method: POST, uri: "https://lab.test/v1/x", body: '{"a":1}', headers: {A: [b, c]}}
  response:
    status: {code: 404}
    headers: {Content-Encoding: [gzip], X-Id: [q]}
    body: {string: !!binary "H4sIAAAAAAACA6tWSlSyMqwFAK+sG1YHAAAA"}
""",
    )
    recording = one()
    assert recording.request.body == b'{"a":1}'
    assert recording.request.headers == {"a": "b, c"}
    assert recording.response.status == 404
    assert recording.response.headers == {"x-id": "q"}
    assert recording.response.body == b'{"a":1}'


def test_vcrpy_with_parsed_bodies(only: Path) -> None:
    write(
        only,
        "a.yaml",
        "vcrpy-yaml",
        """
interactions:
- request: {method: POST, uri: /x, parsed_body: {b: [1]}}
  response: {status: {code: 200}, parsed_body: {c: null}}
""",
    )
    assert one().request.body == b'{"b":[1]}'
    assert one().response.body == b'{"c":null}'


def test_rubyvcr_with_a_binary_tag(only: Path) -> None:
    write(
        only,
        "a.yml",
        "rubyvcr-yaml",
        """
http_interactions:
- request: {method: post, uri: /x, body: {base64_string: e30=}}
  response: {status: {code: 200}, body: {string: !binary "W10="}}
""",
    )
    assert one().request.method == "POST"
    assert one().request.body == b"{}"
    assert one().response.body == b"[]"


def test_govcr_and_its_status_line(only: Path) -> None:
    write(
        only,
        "a.yaml",
        "govcr-yaml",
        """
interactions:
- request: {method: POST, url: /x, body: "q"}
  response: {status: 503 Gone Fishing, body: "no"}
""",
    )
    assert one().status == 503
    assert one().response.body == b"no"


def test_httpmock_documents(only: Path) -> None:
    pair = """
when: {path: /x, method: POST, query_param: [{name: k, value: v}], body: "1"}
then: {status: 200, header: [{name: Version, value: 2023-06-01}], body: "2"}
"""
    write(only, "a.yaml", "httpmock-yaml", f"{pair}---{pair}", interaction="1")
    assert one().request.url == "/x?k=v"
    assert one().response.headers == {"version": "2023-06-01"}
    assert one().response.body == b"2"


def test_har_segments_chunks_and_raw_bodies(only: Path) -> None:
    har = {
        "request": {"method": "POST", "url": "/h", "headers": [], "postData": {"text": "q"}},
        "response": {"status": 200, "content": {"text": "e30=", "encoding": "base64"}},
    }
    write(only, "a.har", "har", orjson.dumps({"log": {"entries": [har]}}))
    segments = {
        "request": {"method": "POST", "url": "/s", "bodySegments": [{"a": 1}]},
        "response": {"statusCode": 200, "bodySegments": [{"b": 1}, {"b": 2}]},
    }
    document = orjson.dumps({"interactions": [segments]})
    write(only, "b.json", "jsgenai-json", document, mode="sse")
    write(only, "c.chunks.txt", "chunks-txt", '{"c":1}\n{"c":2}\n', mode="sse")
    write(only, "d.json", "response-json", '{"error":{"code":429}}')
    from_har, from_segments, from_chunks, raw = recordings()
    assert (from_har.request.body, from_har.response.body) == (b"q", b"{}")
    assert from_segments.request.body == b'{"a":1}'
    assert from_segments.response.body == b'data: {"b":1}\r\n\r\ndata: {"b":2}\r\n\r\n'
    assert from_chunks.response.body == b'data: {"c":1}\n\ndata: {"c":2}\n\n'
    assert from_chunks.request.body is None
    assert raw.status == 429


def test_filters(only: Path) -> None:
    write(only, "a.json", "response-json", "{}", provider="big/one", covers="tools n>1")
    write(only, "b.json", "response-json", "{}", provider="big/two", endpoint="chat")
    write(only, "c.json", "response-json", "{}", provider="bigger", mode="sse")
    assert [r.provider for r in recordings(provider="big/")] == ["big/one", "big/two"]
    assert [r.provider for r in recordings(provider="bigger")] == ["bigger"]
    assert [r.id for r in recordings(covers="n>1")] == ["a.json:0"]
    assert [r.id for r in recordings(endpoint="chat")] == ["b.json:0"]
    assert [r.id for r in recordings(mode="sse")] == ["c.json:0"]


def test_without_the_folder_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert recordings() == []
    (param,) = recorded(provider="x").args[1]
    assert param.marks[0].kwargs["reason"].startswith(VARIABLE)
    with pytest.raises(pytest.skip.Exception):
        folder()


def test_every_listed_recording_can_be_read() -> None:
    folder()
    statuses: Counter[int] = Counter()
    for recording in recordings():
        assert recording.response.body, recording.id
        if recording.mode == "sse":
            assert b"data:" in recording.response.body, recording.id
        elif recording.response.status == 200:
            orjson.loads(recording.response.body)
        if recording.request.body:
            orjson.loads(recording.request.body)
        statuses[recording.status] += 1
    assert statuses[200] > 1000
    assert statuses[400] >= 28
