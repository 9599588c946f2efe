"""What each generation of models can do, as data; a new generation is a new line.

Facts from `GET /v1/models` (`max_tokens`, `capabilities`), as recorded in August 2026, and from the
vendor's pages on thinking; that the newest refuse every sampling parameter is second-hand.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, NamedTuple


class Capabilities(NamedTuple):
    """What a model accepts: the values of `thinking.type` and of `output_config.effort`, whether
    temperature and top_p go together, one at a time or not at all, and structured output.

    `max_output` is sent as `max_tokens` where the client names none; 0 stands for the setting.
    """

    max_output: int
    thinking: tuple[str, ...] = ()
    effort: tuple[str, ...] = ()
    sampling: Literal["both", "one", "none"] = "both"
    structured: bool = False


_BUDGET = ("enabled", "disabled")
_BASIC = ("low", "medium", "high")
_EVERY = ("low", "medium", "high", "xhigh", "max")
_NEWEST = Capabilities(128_000, ("adaptive", "disabled"), _EVERY, "none", structured=True)
_NEVER_OFF = _NEWEST._replace(thinking=("adaptive",))
_V46 = Capabilities(128_000, ("adaptive", *_BUDGET), (*_BASIC, "max"), "one", structured=True)
_V45 = Capabilities(64_000, _BUDGET, sampling="one", structured=True)

TABLE = (
    ("*fable-*", _NEVER_OFF),
    ("*mythos-*", _NEVER_OFF),
    ("*opus-5*", _NEWEST),
    ("*sonnet-5*", _NEWEST),
    ("*opus-4-[78]*", _NEWEST),
    ("*-4-6*", _V46),
    ("*opus-4-5*", _V45._replace(effort=_BASIC)),
    ("*-4-5*", _V45),
    ("*opus-4-1*", _V45._replace(max_output=32_000)),
    ("*opus-4-*", Capabilities(32_000, _BUDGET)),
    ("*sonnet-4-*", Capabilities(64_000, _BUDGET)),
    ("*3-7-sonnet*", Capabilities(64_000, _BUDGET)),
    ("*3-5-*", Capabilities(8_192)),
    ("*claude-[23]*", Capabilities(4_096)),
)
UNKNOWN = _NEWEST._replace(max_output=0)
"""A name the table does not have is taken for newer than the table."""


def capabilities(model: str) -> Capabilities:
    """Return what the model can do, by the first pattern that fits its name."""
    return next((can for pattern, can in TABLE if fnmatchcase(model, pattern)), UNKNOWN)
