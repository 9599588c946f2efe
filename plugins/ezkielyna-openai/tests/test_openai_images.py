"""Streams of images, whose events have names and no `[DONE]`."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import orjson

from ezkielyna import Usage
from ezkielyna.testing.cuts import splits

UNASKED = {"stream": True}


PARTIAL = (
    b"event: image_generation.partial_image\n"
    b'data: {"type":"image_generation.partial_image","b64_json":"QQ=="}\n\n'
)
IMAGE_USAGE = {"input_tokens": 8, "output_tokens": 272, "total_tokens": 280}
COMPLETED = b"event: image_generation.completed\ndata: %b\n\n" % orjson.dumps(
    {"type": "image_generation.completed", "b64_json": "QQ==", "usage": IMAGE_USAGE}
)


def test_image_events_pass_byte_for_byte(make: Any, run: Any) -> None:
    for pieces in ([PARTIAL + COMPLETED], splits(PARTIAL + COMPLETED, repeat(1))):
        exchange = make(UNASKED, endpoint="images.generations", price=None)
        assert run(exchange, pieces) == (PARTIAL + COMPLETED, None)
        assert exchange.usage == Usage(input=8, output=272, images=1)
        assert exchange.delivered().empty
    out, _ = run(make(UNASKED, endpoint="images.generations"), [PARTIAL + COMPLETED])
    assert out == PARTIAL + COMPLETED.replace(b"280}", b'280,"cost":0.001000003}')


def test_image_streams_that_fail(make: Any, run: Any) -> None:
    out, error = run(make(UNASKED, endpoint="images.generations"), [PARTIAL])
    assert (out, error.status) == (PARTIAL, 502)
    failed = b'event: error\ndata: {"type":"error","error":{"message":"blocked","code":400}}\n\n'
    out, error = run(make(UNASKED, endpoint="images.generations"), [PARTIAL, failed])
    assert (out, error.status, error.message) == (PARTIAL, 400, "blocked")
