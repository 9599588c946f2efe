"""What differs between Google's models, as data. Source: ai.google.dev, recorded traffic.

Google changes which thinking levels a model takes between previews; the setting `efforts` adds to
this table without a change of code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ezkielyna.dialect import EFFORTS

Effort = Mapping[str, int | str]
"""What `reasoning_effort` means: a `thinkingBudget` in tokens or a `thinkingLevel`."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What one family of models can do.

    `signatures`: refuses function calls in the history that lack their thought signature.
    `media_results`: takes images inside of function responses. An empty `efforts` means that the
    thinking cannot be set.
    """

    efforts: Effort = field(default_factory=dict)
    signatures: bool = False
    media_results: bool = False


def _efforts(
    none: int | str, minimal: int | str, low: int | str, medium: int | str, high: int | str
) -> Effort:
    amounts = (none, minimal, low, medium, high, high, high)
    return dict(zip(EFFORTS, amounts, strict=True))


_FLASH_2_5 = Traits(_efforts(0, 1024, 1024, 8192, 24576))
_PRO_2_5 = Traits(_efforts(128, 1024, 1024, 8192, 24576))  # cannot be switched off
_NO_EFFORT = Traits()


def _third(none: str, medium: str) -> Traits:
    efforts = _efforts(none, none, "LOW", medium, "HIGH")
    return Traits(efforts, signatures=True, media_results=True)


_MODELS: tuple[tuple[str, Traits], ...] = (
    ("gemini-1", _NO_EFFORT),
    ("gemma", _NO_EFFORT),
    ("gemini-2.0", _NO_EFFORT),
    ("gemini-2.5-flash-image", _NO_EFFORT),
    ("gemini-2.5-pro", _PRO_2_5),
    ("gemini-2.5", _FLASH_2_5),
    ("gemini-3-pro-image", Traits(signatures=True, media_results=True)),
    ("gemini-3-pro", _third("LOW", "HIGH")),
    ("gemini-3.1-pro", _third("LOW", "MEDIUM")),
    ("gemini-3", _third("MINIMAL", "MEDIUM")),
    ("", _third("LOW", "MEDIUM")),
)
"""By the beginning of the name, the first that fits; the last is for names like `…-latest`."""


def traits(model: str) -> Traits:
    """Return what the model can do."""
    return next(found for prefix, found in _MODELS if model.startswith(prefix))


def effort(model: str, word: str, configured: Mapping[str, Effort]) -> int | str | None:
    """Return the budget or level for a `reasoning_effort`; None where the model has no such thing.

    The operator's tables, by the beginning of a model's name (the longest wins), come first.
    """
    for prefix in sorted(configured, key=len, reverse=True):
        if model.startswith(prefix) and word in configured[prefix]:
            return configured[prefix][word]
    return traits(model).efforts.get(word)


def path(model: str) -> str:
    """Return the model's path below the base URL, without its method."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
