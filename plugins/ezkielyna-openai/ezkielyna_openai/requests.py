"""The body for the upstream: the client's own bytes wherever they may stay."""

from __future__ import annotations

from typing import Any

from ezkielyna import ApiRequest
from ezkielyna_openai.documents import dumps
from ezkielyna_openai.presets import Preset

PATHS = {
    "chat.completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "images.generations": "/images/generations",
}

_ASK_FOR_USAGE = b'{"stream_options":{"include_usage":true},'


def body(request: ApiRequest, model: str, preset: Preset) -> bytes:
    """Return the bytes to send: parsed and written anew only if something must change.

    Raises InvalidRequest where that needs a parse and the bytes are JSON to no strict parser.
    """
    raw = request.body
    if not _may_stay(request, raw, model, preset):
        return dumps(_changed(request, model, preset))
    if not request.stream or not _needs_usage(request, preset):
        return raw
    return _ASK_FOR_USAGE + raw.lstrip()[1:].lstrip()


def _may_stay(request: ApiRequest, raw: bytes, model: str, preset: Preset) -> bool:
    """True when nothing that the client wrote has to change; never wrongly so.

    A field that was spelt with escapes is not seen here; then the upstream judges it.
    """
    return (
        request.model == model
        and request.output_cap is None
        and not (raw.find(b"null") >= 0 and _has_null(request))
        and not (preset.drop_fields and _dropped(raw, preset))
        and not (preset.one_limit and raw.find(b'"max_completion_tokens"') >= 0)
        and not (raw.find(b'"response_format"') >= 0 and _base64_only(request, model, preset))
        and not (
            request.stream and raw.find(b'"stream_options"') >= 0 and _needs_usage(request, preset)
        )
        and not (request.stream and not request.streamed)
    )


def _dropped(raw: bytes, preset: Preset) -> bool:
    return any(raw.find(b'"%b"' % name.encode()) >= 0 for name in preset.drop_fields)


def _has_null(request: ApiRequest) -> bool:
    """True when a field of the request itself is null; nulls further inside may stay."""
    return any(getattr(request, name) is None for name in request.model_fields_set)


def _base64_only(request: ApiRequest, model: str, preset: Preset) -> bool:
    return request.endpoint == "images.generations" and model.startswith(preset.base64_images)


def _needs_usage(request: ApiRequest, preset: Preset) -> bool:
    return (
        preset.usage_in_stream
        and request.streamed
        and not request.wants_usage
        and request.endpoint in ("chat.completions", "completions")
    )


def _changed(request: ApiRequest, model: str, preset: Preset) -> dict[str, Any]:
    fields = request.fields()
    fields["model"] = model
    for name in preset.drop_fields:
        fields.pop(name, None)
    if _base64_only(request, model, preset):
        fields.pop("response_format", None)
    if request.stream and not request.streamed:
        fields.pop("stream", None)
        fields.pop("stream_options", None)
    if _needs_usage(request, preset):
        options = fields.get("stream_options")
        fields["stream_options"] = {**(options or {}), "include_usage": True}
    if request.endpoint in ("chat.completions", "completions"):
        _bound_output(fields, request, preset)
    return fields


def _bound_output(fields: dict[str, Any], request: ApiRequest, preset: Preset) -> None:
    """Write the output limit under the name that this server, or the client, uses."""
    chat = request.endpoint == "chat.completions"
    if chat and preset.one_limit and preset.max_tokens_field == "max_tokens":
        limit = fields.pop("max_completion_tokens", None)
        if limit is not None:
            fields["max_tokens"] = limit
    if request.output_cap is None:
        return
    cap = max(1, request.output_cap // request.choices())
    name = preset.max_tokens_field if chat else "max_tokens"
    limited = False
    for used in ("max_completion_tokens", "max_tokens"):
        if isinstance(fields.get(used), int):
            fields[used] = min(cap, fields[used])
            limited = True
    if not limited:
        fields[name] = cap
