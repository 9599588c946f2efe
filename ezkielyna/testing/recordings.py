"""Recorded traffic of upstreams, for replaying it through an exchange.

The recordings are a folder outside of the repository, named by the environment variable
`EZKIELYNA_FIXTURES`; its `MANIFEST.tsv` lists one request and answer a line. Without the folder
nothing can be replayed: `recordings` is empty and `recorded` skips with a reason.
"""

from __future__ import annotations

import base64
import csv
import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import orjson
import pytest
import yaml

VARIABLE = "EZKIELYNA_FIXTURES"
SKIPPED = f"{VARIABLE} does not name a folder of recordings"

Mode = Literal["json", "sse", "json-array"]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What was sent. `url` is a path where the recording did not keep the host.

    `body` is None where only the answer was kept.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """What came back: names of headers in lower case, the body without its content encoding."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Recording:
    """One line of the manifest; its file is read when `request` or `response` is asked for.

    `status` is 200 where the recording kept the body alone, unless the body holds an error with a
    status of its own. `covers` are the manifest's feature words.
    """

    id: str
    provider: str
    endpoint: str
    mode: str
    model: str
    covers: frozenset[str]
    provenance: str
    path: Path
    interaction: int
    format: str
    url: str
    stated: int | None

    @cached_property
    def _pair(self) -> tuple[RecordedRequest, RecordedResponse]:
        return _READERS[self.format](self)

    @property
    def request(self) -> RecordedRequest:
        """What was sent."""
        return self._pair[0]

    @property
    def response(self) -> RecordedResponse:
        """What came back."""
        return self._pair[1]

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.response.status


def recordings(
    *,
    provider: str | None = None,
    endpoint: str | None = None,
    mode: Mode | None = None,
    covers: str | None = None,
) -> list[Recording]:
    """Return the recordings that fit, in the manifest's order; empty without the folder.

    `provider` ending in `/` stands for every provider below it.
    """
    return [
        recording
        for recording in _manifest(os.environ.get(VARIABLE, ""))
        if (provider is None or _named(recording.provider, provider))
        and (endpoint is None or recording.endpoint == endpoint)
        and (mode is None or recording.mode == mode)
        and (covers is None or covers in recording.covers)
    ]


def recorded(**filters: Any) -> pytest.MarkDecorator:
    """Return the mark that runs a test with its argument `recording` once a recording.

    Takes the filters of `recordings`. Without the folder the test runs zero times: it is skipped,
    with the reason. Filters that fit no recording fail the collection.
    """
    if not _manifest(os.environ.get(VARIABLE, "")):
        skipped = pytest.param(None, marks=pytest.mark.skip(reason=SKIPPED), id="no-recordings")
        return pytest.mark.parametrize("recording", [skipped])
    found = recordings(**filters)
    assert found, f"no recording fits {filters}"
    return pytest.mark.parametrize("recording", found, ids=[recording.id for recording in found])


def folder() -> Path:
    """Return the folder of the recordings; skips the running test without it."""
    path = Path(os.environ.get(VARIABLE, ""))
    if not (path / "MANIFEST.tsv").is_file():
        pytest.skip(SKIPPED)
    return path


def _named(provider: str, wanted: str) -> bool:
    return provider.startswith(wanted) if wanted.endswith("/") else provider == wanted


@lru_cache(maxsize=2)
def _manifest(root: str) -> tuple[Recording, ...]:
    manifest = Path(root) / "MANIFEST.tsv"
    if not root or not manifest.is_file():
        return ()
    with manifest.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return tuple(_listed(Path(root), row) for row in rows)


def _listed(root: Path, row: dict[str, str]) -> Recording:
    return Recording(
        id=f"{row['file']}:{row['interaction'] or 0}",
        provider=row["provider"],
        endpoint=row["endpoint"],
        mode=row["mode"],
        model=row["model"],
        covers=frozenset((row["covers"] or "").split()),
        provenance=row["provenance"],
        path=root / row["file"],
        interaction=int(row["interaction"] or 0),
        format=row["format"],
        url=row["request_path"] or "",
        stated=int(row["status"]) if row["status"] else None,
    )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that also knows Ruby's spelling of binary strings."""


_Loader.add_constructor(
    "!binary", lambda loader, node: base64.b64decode(loader.construct_scalar(node))
)


@lru_cache(maxsize=256)
def _documents(path: Path) -> list[Any]:
    """Return the YAML documents of a file, or the one JSON document; callers never change them."""
    if path.suffix in {".json", ".har"}:
        return [orjson.loads(path.read_bytes())]
    with path.open("rb") as file:
        return list(yaml.load_all(file, _Loader))


def _vcrpy(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    pair = _documents(recording.path)[0]["interactions"][recording.interaction]
    sent, came = pair["request"], pair["response"]
    request = RecordedRequest(
        sent["method"].upper(), sent["uri"], _headers(sent.get("headers")), _vcrpy_body(sent)
    )
    if "status" in came:
        status, body = came["status"]["code"], _vcrpy_body(came)
    else:  # the cassettes of its stubs for httpx
        status, body = came["status_code"], _bytes(came["content"])
    return request, _response(recording, status, came.get("headers"), body or b"")


def _vcrpy_body(message: dict[str, Any]) -> bytes | None:
    if "parsed_body" in message:
        return orjson.dumps(message["parsed_body"])
    body = message.get("body")
    return _bytes(body.get("string") if isinstance(body, dict) else body)


def _rubyvcr(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    pair = _documents(recording.path)[0]["http_interactions"][recording.interaction]
    sent, came = pair["request"], pair["response"]
    request = RecordedRequest(
        sent["method"].upper(),
        sent["uri"],
        _headers(sent.get("headers")),
        _rubyvcr_body(sent.get("body")),
    )
    status = came["status"]["code"] if isinstance(came["status"], dict) else came["status"]
    return request, _response(
        recording, status, came.get("headers"), _rubyvcr_body(came.get("body")) or b""
    )


def _rubyvcr_body(body: dict[str, Any] | None) -> bytes | None:
    if body is None:
        return None
    if "base64_string" in body:
        return base64.b64decode(body["base64_string"])
    return _bytes(body.get("string"))


def _govcr(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    pair = _documents(recording.path)[0]["interactions"][recording.interaction]
    sent, came = pair["request"], pair["response"]
    request = RecordedRequest(
        sent.get("method", "POST"), sent["url"], _headers(sent.get("headers")), _bytes(sent["body"])
    )
    status = came.get("code") or int(str(came["status"]).split()[0])
    return request, _response(recording, status, came.get("headers"), _bytes(came["body"]) or b"")


def _httpmock(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    pair = _documents(recording.path)[recording.interaction]
    sent, came = pair["when"], pair["then"]
    query = urlencode([(item["name"], item["value"]) for item in sent.get("query_param") or []])
    request = RecordedRequest(
        sent.get("method", "POST"),
        sent["path"] + (f"?{query}" if query else ""),
        _named_values(sent.get("header")),
        _bytes(sent.get("body")),
    )
    return request, _response(
        recording, came["status"], came.get("header"), _bytes(came.get("body")) or b""
    )


def _har(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    entry = _documents(recording.path)[0]["log"]["entries"][recording.interaction]
    sent, came = entry["request"], entry["response"]
    request = RecordedRequest(
        sent["method"],
        sent["url"],
        _named_values(sent.get("headers")),
        _bytes((sent.get("postData") or {}).get("text")),
    )
    content = came["content"]
    body = _bytes(content.get("text")) or b""
    if content.get("encoding") == "base64":
        body = base64.b64decode(body)
    return request, _response(recording, came["status"], came.get("headers"), body)


def _segments(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    """Read a recording whose bodies are lists of decoded objects, one an event for streams."""
    pair = _documents(recording.path)[0]["interactions"][recording.interaction]
    sent, came = pair["request"], pair["response"]
    body = orjson.dumps(sent["bodySegments"][0]) if sent.get("bodySegments") else None
    request = RecordedRequest(sent["method"], sent["url"], _headers(sent.get("headers")), body)
    parts = [orjson.dumps(segment) for segment in came["bodySegments"]]
    if recording.mode == "sse":
        answer = b"".join(b"data: %b\r\n\r\n" % part for part in parts)
    else:
        answer = b"".join(parts)
    return request, _response(recording, came["statusCode"], came.get("headers"), answer)


def _chunks(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    """Read a list of payloads, one a line; what ended the stream on the wire was not kept."""
    lines = [line for line in recording.path.read_bytes().split(b"\n") if line.strip()]
    body = b"".join(b"data: %b\n\n" % line for line in lines)
    return _unsent(recording), _response(recording, None, None, body)


def _raw(recording: Recording) -> tuple[RecordedRequest, RecordedResponse]:
    return _unsent(recording), _response(recording, None, None, recording.path.read_bytes())


_READERS: dict[str, Callable[[Recording], tuple[RecordedRequest, RecordedResponse]]] = {
    "vcrpy-yaml": _vcrpy,
    "rubyvcr-yaml": _rubyvcr,
    "govcr-yaml": _govcr,
    "httpmock-yaml": _httpmock,
    "har": _har,
    "jsgenai-json": _segments,
    "chunks-txt": _chunks,
    "sse": _raw,
    "response-json": _raw,
}


def _unsent(recording: Recording) -> RecordedRequest:
    return RecordedRequest("POST", recording.url, {}, None)


def _response(recording: Recording, status: Any, headers: Any, body: bytes) -> RecordedResponse:
    plain = _decompressed(body)
    known = status or recording.stated or _stated_in(plain) or 200
    named = _headers(headers) if isinstance(headers, dict) else _named_values(headers)
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        named.pop(name, None)
    return RecordedResponse(int(known), named, plain)


def _stated_in(body: bytes) -> int | None:
    """Return the HTTP status that an error body repeats."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _decompressed(body: bytes) -> bytes:
    """Return the body without gzip or deflate, told by the first bytes."""
    if body.startswith(b"\x1f\x8b"):
        return gzip.decompress(body)
    if body.startswith((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")):
        return zlib.decompress(body)
    return body


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


def _headers(headers: dict[str, Any] | None) -> dict[str, str]:
    return {
        name.lower(): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in (headers or {}).items()
    }


def _named_values(headers: list[dict[str, Any]] | None) -> dict[str, str]:
    return {item["name"].lower(): str(item["value"]) for item in headers or []}
