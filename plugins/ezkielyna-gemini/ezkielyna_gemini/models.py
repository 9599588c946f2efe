"""What differs between Google's models, as data. Source: ai.google.dev, recorded traffic.

Google changes which thinking levels a model takes between previews; the setting `efforts` adds to
this table without a change of code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ezkielyna.dialect import EFFORTS

Amount = int | str
"""What an effort means: a `thinkingBudget` in tokens or a `thinkingLevel`."""


class Traits(NamedTuple):
    """What one family of models can do.

    `amounts` are those of `EFFORTS`, in that order; none where the thinking cannot be set.
    `newest`: refuses function calls in the history that lack their thought signature, and takes
    images inside of function responses.
    """

    amounts: tuple[Amount, ...] = ()
    newest: bool = False


def _third(least: str, medium: str) -> Traits:
    return Traits((least, least, "LOW", medium, "HIGH", "HIGH", "HIGH"), newest=True)


_FLASH_2_5 = Traits((0, 1024, 1024, 8192, 24576, 24576, 24576))
_PRO_2_5 = Traits((128, *_FLASH_2_5.amounts[1:]))  # cannot be switched off
_NO_EFFORT = Traits()
_MODELS: tuple[tuple[str, Traits], ...] = (
    ("gemini-1", _NO_EFFORT),
    ("gemma", _NO_EFFORT),
    ("gemini-2.0", _NO_EFFORT),
    ("gemini-2.5-flash-image", _NO_EFFORT),
    ("gemini-2.5-pro", _PRO_2_5),
    ("gemini-2.5", _FLASH_2_5),
    ("gemini-3-pro-image", Traits(newest=True)),
    ("gemini-3-pro", _third("LOW", "HIGH")),
    ("gemini-3.1-pro", _third("LOW", "MEDIUM")),
    ("gemini-3", _third("MINIMAL", "MEDIUM")),
    ("", _third("LOW", "MEDIUM")),
)
"""By the beginning of the name, the first that fits; the last is for names like `…-latest`."""


def traits(model: str) -> Traits:
    """Return what the model can do."""
    return next(found for prefix, found in _MODELS if model.startswith(prefix))


def effort(model: str, word: str, configured: Mapping[str, Mapping[str, Amount]]) -> Amount | None:
    """Return the budget or level for a `reasoning_effort`; None where the model has no such thing.

    The operator's tables, by the beginning of a model's name (the longest wins), come first.
    """
    for prefix in sorted(configured, key=len, reverse=True):
        if model.startswith(prefix) and word in configured[prefix]:
            return configured[prefix][word]
    amounts = traits(model).amounts
    return amounts[EFFORTS.index(word)] if amounts else None


def path(model: str) -> str:
    """Return the model's path below the base URL, without its method."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
