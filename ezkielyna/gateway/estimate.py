"""How many tokens a request may take, before any upstream counted them."""

from __future__ import annotations

from ezkielyna.contract.context import RequestContext
from ezkielyna.contract.members import beginnings
from ezkielyna.contract.requests import LARGE_BODY

BYTES_PER_TOKEN = 4
"""Of English text and JSON in common vocabularies."""

REMOTE_IMAGE_TOKENS = 3000
"""More than any current model counts for one image that is sent by its address."""

UNKNOWN_MAX_OUTPUT = 32_768
"""For a model whose entry in the catalogue does not say; the answer is capped to what is paid."""


def bound_tokens(ctx: RequestContext) -> None:
    """Set the context's estimate and bounds.

    A byte-pair vocabulary makes at most one token of a byte, and a prompt is never longer than
    the model's context, so `input_bound` is never too small: a plain request cannot overdraw.
    """
    request, model = ctx.request, ctx.model
    size = len(request.body)
    context = model.context or size + REMOTE_IMAGE_TOKENS
    images = 0
    if size < context * BYTES_PER_TOKEN:  # else both are the context's
        body = request.body
        small = size <= LARGE_BODY
        named = body.count(b'"image_url"') if small else beginnings(body, b'image_url"')
        images = named // 2 * REMOTE_IMAGE_TOKENS
    ctx.input_estimate = min(size // BYTES_PER_TOKEN + images, context)
    ctx.input_bound = min(size + images, context)
    if ctx.endpoint == "embeddings":
        ctx.input_bound = size
    asked = request.output_limit()
    most = (model.max_output or UNKNOWN_MAX_OUTPUT) * request.choices()
    ctx.output_bound = most if asked is None else min(asked, most)
