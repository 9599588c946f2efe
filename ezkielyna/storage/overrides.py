"""Limits that an operator set for one account or key, as documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import Int64

from ezkielyna.contract.limits import LIMIT_NAMES, Override
from ezkielyna.storage.driver import Document


def document_of(override: Override | None) -> Document | None:
    """Return what is stored: only what is overridden; None where nothing is.

    Models are a list: a pattern may hold what the name of a field may not.
    """
    if override is None or override == Override():
        return None
    document: Document = {
        name: Int64(value) for name in LIMIT_NAMES if (value := getattr(override, name)) is not None
    }
    models = [
        {"model": pattern, **below}
        for pattern, one in override.models
        if (below := document_of(one)) is not None
    ]
    return {**document, "models": models} if models else document


def override_of(document: Mapping[str, Any] | None) -> Override | None:
    """Return what was stored."""
    if not document:
        return None
    numbers = {name: int(document[name]) for name in LIMIT_NAMES if name in document}
    models = tuple(
        (one["model"], override_of(one) or Override()) for one in document.get("models", ())
    )
    return Override(**numbers, models=models)


def told(override: Override | None) -> str:
    """Return what the trail says of limits, such as `rpm 1200, gpt-4o* tpm none`."""
    if override is None or override == Override():
        return "as the plan says"
    words = [
        f"{name} {value or 'none'}"
        for name in LIMIT_NAMES
        if (value := getattr(override, name)) is not None
    ]
    return ", ".join([*words, *(f"{pattern} {told(one)}" for pattern, one in override.models)])
