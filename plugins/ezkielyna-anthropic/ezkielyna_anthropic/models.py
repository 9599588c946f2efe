"""What each generation of models can do, as data; a new generation is a new line.

Facts from `GET /v1/models` (`max_tokens`, `capabilities`), as recorded in August 2026, and from the
vendor's pages on thinking; that the newest refuse every sampling parameter is second-hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Thinking = Literal["enabled", "adaptive", "disabled"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]


class Capabilities(BaseModel):
    """What a model accepts; the fields are those of the setting `models` too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_output: int | None = Field(None, ge=1, description="most output tokens; sent when absent")
    thinking: tuple[Thinking, ...] = Field((), description="values of `thinking.type` it takes")
    effort: tuple[Effort, ...] = Field((), description="values of `output_config.effort`")
    sampling: Literal["both", "one", "none"] = Field(
        "both", description="temperature and top_p: together, one of them, or neither"
    )
    structured: bool = Field(False, description="takes `output_config.format` and strict tools")


_BUDGET: tuple[Thinking, ...] = ("enabled", "disabled")
_EITHER: tuple[Thinking, ...] = ("adaptive", "enabled", "disabled")
_BASIC: tuple[Effort, ...] = ("low", "medium", "high")
_EVERY: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")

_NEWEST = Capabilities(
    max_output=128_000,
    thinking=("adaptive", "disabled"),
    effort=_EVERY,
    sampling="none",
    structured=True,
)
_ALWAYS_THINKING = _NEWEST.model_copy(update={"thinking": ("adaptive",)})
_V46 = Capabilities(
    max_output=128_000,
    thinking=_EITHER,
    effort=(*_BASIC, "max"),
    sampling="one",
    structured=True,
)
_V45 = Capabilities(max_output=64_000, thinking=_BUDGET, sampling="one", structured=True)

TABLE: tuple[tuple[str, Capabilities], ...] = (
    ("*fable-*", _ALWAYS_THINKING),
    ("*mythos-*", _ALWAYS_THINKING),
    ("*opus-5*", _NEWEST),
    ("*sonnet-5*", _NEWEST),
    ("*opus-4-[78]*", _NEWEST),
    ("*opus-4-6*", _V46),
    ("*sonnet-4-6*", _V46),
    ("*opus-4-5*", _V45.model_copy(update={"effort": _BASIC})),
    ("*sonnet-4-5*", _V45),
    ("*haiku-4-5*", _V45),
    ("*opus-4-1*", _V45.model_copy(update={"max_output": 32_000})),
    ("*opus-4-*", Capabilities(max_output=32_000, thinking=_BUDGET)),
    ("*sonnet-4-*", Capabilities(max_output=64_000, thinking=_BUDGET)),
    ("*3-7-sonnet*", Capabilities(max_output=64_000, thinking=_BUDGET)),
    ("*3-5-*", Capabilities(max_output=8_192)),
    ("*claude-3-*", Capabilities(max_output=4_096)),
    ("*claude-2*", Capabilities(max_output=4_096)),
)

UNKNOWN = _NEWEST.model_copy(update={"max_output": None})
"""A name the table does not have is taken for newer than the table."""


def capabilities(model: str, configured: Mapping[str, Capabilities]) -> Capabilities:
    """Return what the model can do: the operator's patterns first, then the table's."""
    for pattern, found in (*configured.items(), *TABLE):
        if fnmatchcase(model, pattern):
            return found
    return UNKNOWN
