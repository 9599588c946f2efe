"""What the scripted upstream answers; the request's model name says which script. Pure.

| model name            | answer                                                               |
|-----------------------|----------------------------------------------------------------------|
| `bench-plain`         | one answer of about 600 bytes                                        |
| `bench-burst-2000`    | 2000 chunks as fast as the reader takes them                         |
| `bench-burst-2000-by-1` | the same, one write a chunk (32 without it)                        |
| `bench-burst-2000-nulls` | the same, with `"usage":null` in every chunk when usage was asked |
| `bench-paced-50x10`   | 50 chunks a second for 10 seconds                                    |

A stream is told in OpenAI's dialect, or in that of the path it was asked on (`dialects.py`).
What stands before `plain`, `burst` or `paced` is free: `priced-plain` is the same answer under
another price. Every chunk is an event of its own in an HTTP chunk of its own, as providers send
them, and holds exactly one `MARK`; so chunks can be counted in the bytes, however they were cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from benchmarks.dialects import Stream

MARK = b"~"
"""Once in every content chunk, nowhere else in an answer."""

DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_GRAMMAR = re.compile(
    r"(?:^|-|/)(?:(?P<plain>plain)"
    r"|burst-(?P<chunks>\d+)(?:-by-(?P<group>\d+))?(?P<nulls>-nulls)?"
    r"|paced-(?P<rate>\d+(?:\.\d+)?)x(?P<seconds>\d+(?:\.\d+)?))$"
)
_USAGE = (
    b'{"prompt_tokens":57,"completion_tokens":64,"total_tokens":121,'
    b'"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}'
)


@dataclass(frozen=True, slots=True)
class Script:
    """How one model answers. `chunks` counts content chunks; `rate` is chunks a second."""

    kind: Literal["plain", "burst", "paced"]
    chunks: int = 0
    group: int = 32
    rate: float = 0.0
    nulls: bool = False


def script_of(model: str) -> Script:
    """Return the script a model name asks for; raises ValueError for a name without one."""
    found = _GRAMMAR.search(model)
    if found is None:
        raise ValueError(f"no script answers to the model {model!r}")
    if found["plain"]:
        return Script("plain")
    if found["rate"]:
        rate = float(found["rate"])
        return Script(
            "paced", chunks=max(1, round(rate * float(found["seconds"]))), group=1, rate=rate
        )
    return Script(
        "burst", int(found["chunks"]), int(found["group"] or 32), nulls=bool(found["nulls"])
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of one script: all of `opening` at once, then `groups` in order.

    A paced answer writes `groups[0]` again for every chunk, and `ending` after the last.
    """

    script: Script
    opening: bytes
    groups: tuple[bytes, ...] = ()
    ending: bytes = b""


def answer_of(model: str, usage_asked: bool, dialect: Stream | None = None) -> Answer:
    """Build the answer of a model; raises ValueError for a name without a script."""
    script = script_of(model)
    if script.kind == "plain":
        return Answer(script, plain_answer())
    stream = dialect or _openai(script.nulls and usage_asked, usage_asked)
    opening = STREAM_HEAD + b"".join(map(framed, stream.opening))
    chunk = framed(stream.chunk)
    ending = b"".join(map(framed, stream.ending)) + END
    if script.kind == "paced":
        return Answer(script, opening, (chunk,), ending)
    whole, rest = divmod(script.chunks, script.group)
    groups = (chunk * script.group,) * whole + ((chunk * rest,) if rest else ())
    return Answer(script, opening, (*groups, ending))


def _openai(nulls: bool, usage_asked: bool) -> Stream:
    last = (event(b"{}", b'"stop"', nulls), *((usage_event(),) if usage_asked else ()), DONE)
    return Stream(
        opening=(event(b'{"role":"assistant","content":""}', b"null", nulls),),
        chunk=event(b'{"content":" tok~"}', b"null", nulls),
        ending=last,
    )


def framed(data: bytes) -> bytes:
    """Return the data as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: bytes, reason: bytes, nulls: bool) -> bytes:
    """Return one chat completion chunk as an event of 160 to 200 bytes."""
    return (
        b'data: {"id":"chatcmpl-Bench000000000001","object":"chat.completion.chunk",'
        b'"created":1760000000,"model":"scripted-1",'
        b'"choices":[{"index":0,"delta":%b,"finish_reason":%b}]%b}\n\n'
        % (delta, reason, b',"usage":null' if nulls else b"")
    )


def usage_event() -> bytes:
    """Return the last chunk of a stream whose request asked for usage."""
    return (
        b'data: {"id":"chatcmpl-Bench000000000001","object":"chat.completion.chunk",'
        b'"created":1760000000,"model":"scripted-1","choices":[],"usage":%b}\n\n' % _USAGE
    )


def plain_answer() -> bytes:
    """Return a whole HTTP answer with a chat completion of about 600 bytes."""
    text = b"The quick brown fox jumps over the lazy dog, again and again. " * 3
    body = (
        b'{"id":"chatcmpl-Bench000000000001","object":"chat.completion",'
        b'"created":1760000000,"model":"scripted-1","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"%b~"},"logprobs":null,"finish_reason":"stop"}],"usage":%b}' % (text, _USAGE)
    )
    return json_answer(200, body)


def json_answer(status: int, body: bytes) -> bytes:
    """Return a whole HTTP answer around a JSON body."""
    reason = {200: b"OK", 404: b"Not Found"}[status]
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        reason,
        len(body),
        body,
    )
