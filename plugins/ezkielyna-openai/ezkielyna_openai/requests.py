"""The body for the upstream: the client's own bytes wherever they may stay."""

from __future__ import annotations

from typing import Any

from ezkielyna import ApiRequest
from ezkielyna_openai.presets import Preset

IMAGES = "images.generations"

PATHS = {
    "chat.completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    IMAGES: "/images/generations",
}

_ASK_FOR_USAGE = b'{"stream_options":{"include_usage":true},'
_LIMITS = ("max_completion_tokens", "max_tokens")
_MOST_SEARCHED = 64 * 1024
"""Searching more bytes than these for a null takes longer than looking at the fields."""


def body(request: ApiRequest, model: str, preset: Preset) -> bytes:
    """Return the bytes to send: written anew only if something must change.

    Raises InvalidRequest where that needs a parse and the bytes are JSON to no strict parser.
    """
    raw = request.body
    if not _may_stay(request, raw, model, preset):
        return request.body_with(_changes(request, model, preset))
    if not (request.stream and _needs_usage(request, preset)):
        return raw
    return b"".join((_ASK_FOR_USAGE, memoryview(raw)[raw.index(b"{") + 1 :]))


def _may_stay(request: ApiRequest, raw: bytes, model: str, preset: Preset) -> bool:
    """True when nothing that the client wrote has to change."""
    return (
        request.model == model
        and request.output_cap is None
        and not ((len(raw) > _MOST_SEARCHED or raw.find(b"null") >= 0) and _has_null(request))
        and not (preset.drop_fields and _has_one_of(request, preset.drop_fields))
        and not (preset.one_limit and _has_one_of(request, ("max_completion_tokens",)))
        and not (request.endpoint == IMAGES and _base64_only(request, model, preset))
        and not (request.stream_options is not None and _needs_usage(request, preset))
        and not (request.stream and not request.streamed)
    )


def _has_null(request: ApiRequest) -> bool:
    """True when a field of the request itself is null; nulls further inside may stay."""
    return any(getattr(request, name) is None for name in request.model_fields_set)


def _has_one_of(request: ApiRequest, names: tuple[str, ...]) -> bool:
    return not request.model_fields_set.isdisjoint(names)


def _base64_only(request: ApiRequest, model: str, preset: Preset) -> bool:
    """True when a format is asked of an image model that knows only one, and not by its name."""
    return (
        request.endpoint == IMAGES
        and model.startswith(preset.base64_images)
        and _has_one_of(request, ("response_format",))
    )


def _needs_usage(request: ApiRequest, preset: Preset) -> bool:
    return (
        preset.usage_in_stream
        and request.streamed
        and not request.wants_usage
        and request.endpoint in ("chat.completions", "completions")
    )


def _changes(request: ApiRequest, model: str, preset: Preset) -> dict[str, Any]:
    """Return the fields with other values than the client's, None for those to leave out."""
    changes: dict[str, Any] = {"model": model, **dict.fromkeys(preset.drop_fields)}
    if _base64_only(request, model, preset):
        changes["response_format"] = None
    if request.stream and not request.streamed:
        changes |= {"stream": None, "stream_options": None}
    if _needs_usage(request, preset):
        options = request.stream_options
        asked = {} if options is None else options.model_dump(exclude_unset=True)
        changes["stream_options"] = {**asked, "include_usage": True}
    if request.endpoint in ("chat.completions", "completions"):
        _bound_output(changes, request, preset)
    return changes


def _bound_output(changes: dict[str, Any], request: ApiRequest, preset: Preset) -> None:
    """Write the output limit under the name that this server, or the client, uses."""
    chat = request.endpoint == "chat.completions"
    limits = {name: _limit(request, name, preset) for name in _LIMITS}
    if chat and preset.one_limit and preset.max_tokens_field == "max_tokens":
        limit = limits.pop("max_completion_tokens")
        changes["max_completion_tokens"] = None
        if limit is not None:
            changes["max_tokens"] = limits["max_tokens"] = limit
    if request.output_cap is None:
        return
    cap = max(1, request.output_cap // request.choices())
    name = preset.max_tokens_field if chat else "max_tokens"
    stated = {name: min(cap, limit) for name, limit in limits.items() if limit is not None}
    changes |= stated or {name: cap}


def _limit(request: ApiRequest, name: str, preset: Preset) -> int | None:
    """Return a limit that the client set; None for what is no number, or is not sent."""
    value = None if name in preset.drop_fields else getattr(request, name, None)
    return value if isinstance(value, int) else None
