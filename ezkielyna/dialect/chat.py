"""Chats: what a client asked for, read once, for translators of any dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ezkielyna.contract.errors import InvalidRequest, Unsupported
from ezkielyna.contract.requests import ApiRequest, ChatRequest, CompletionRequest
from ezkielyna.dialect.messages import conversation, fill
from ezkielyna.dialect.reading import (
    Json,
    flag,
    integer,
    invalid,
    listed,
    number,
    table,
    text,
    unsupported,
)
from ezkielyna.dialect.tools import Tools

READ: Final = frozenset({
    "model", "messages", "stream", "n", "best_of", "max_tokens", "max_completion_tokens", "stop",
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format",
    "reasoning_effort", "modalities", "top_logprobs",
})  # fmt: skip
"""What `Chat` reads itself, for every upstream."""

HINTS: Final = frozenset({
    "user", "safety_identifier", "metadata", "store", "verbosity", "service_tier",
    "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "stream_options",
})  # fmt: skip
"""Dropped without a word where an upstream does not take them: the answer is the same."""

REFUSED: Final = frozenset({"logprobs", "audio", "prediction", "web_search_options", "moderation"})
"""Refused where an upstream does not take them: without, it would be another answer."""

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The values of `reasoning_effort`, from the least to the most."""

_CHAT_ONLY = ("tools", "tool_choice", "functions", "function_call", "response_format")
_HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an upstream can do with the parameters of a chat.

    `takes` are those it has a place for, beside `READ`. `tool_names` is what it takes for the name
    of a tool. It answers in `modalities`, up to `choices` times, and stops at up to `stops`
    sequences (0: at as many as there are).
    """

    takes: frozenset[str]
    tool_names: re.Pattern[str]
    choices: int = 1
    stops: int = 0
    modalities: frozenset[str] = frozenset({"text"})


class Chat:
    """One chat, or a legacy completion as a chat of one message, as its client meant it.

    `fields` is the request without nulls; what an upstream has a place for is read from there.
    `turns`, `tools`, `stops` and `effort` are read already. `dropped` are the parameters that the
    client will miss; a translator adds its own. `wants_json` says that the answer must be JSON, of
    the `schema` where that is not empty.
    """

    def __init__(self, request: ApiRequest, can: Abilities) -> None:
        """Read a request; raises InvalidRequest and Unsupported naming the field."""
        assert isinstance(request, ChatRequest | CompletionRequest)
        self.request = request
        self.fields = request.fields() if isinstance(request, ChatRequest) else _completion(request)
        self.dropped: dict[str, None] = {}
        self._sort_out(can)
        self.tools = Tools(self.fields, can.tool_names)
        self.turns = conversation(self.fields["messages"])
        if request.media:
            fill(self.turns, request.media)
        self.stops = self._stops(can.stops)
        self.modalities = self._modalities(can.modalities)
        self.wants_json, self.schema = self._format()
        self.effort = self._effort()

    def _sort_out(self, can: Abilities) -> None:
        fields = self.fields
        if self.request.choices() > can.choices:
            raise unsupported("n", f"more than {can.choices} answers a request")
        for name in sorted(REFUSED - can.takes):
            if fields.get(name, False) is not False:
                raise unsupported(name, f"'{name}'")
        unknown = sorted(fields.keys() - READ - HINTS - REFUSED - can.takes)
        self.drop(*(name for name in unknown if fields[name] not in (0, {}, [])))

    def drop(self, *names: str) -> None:
        """Note parameters that have no place and shape the answer: the client is told them."""
        self.dropped |= dict.fromkeys(name for name in names if _HEADER_SAFE.fullmatch(name))

    def most_tokens(self, default: int | None = None) -> int | None:
        """Return the most tokens of one answer: what was asked for, else the default.

        Never more than the customer's money covers.
        """
        asked, cap = self.request.output_limit(), self.request.output_cap
        most = default if asked is None else asked // self.request.choices()
        if most == 0:
            old = "max_completion_tokens" not in self.fields
            raise invalid("max_tokens" if old else "max_completion_tokens", "expected at least 1")
        if cap is None:
            return most
        cap = max(1, cap // self.request.choices())
        return cap if most is None else min(most, cap)

    def number(self, name: str, low: float, high: float) -> int | float | None:
        """Return a parameter of this range, None where it is absent."""
        value = self.fields.get(name)
        return None if value is None else number(value, low, high, name)

    def numbers(self, ranges: Mapping[str, tuple[str, float, float]]) -> Json:
        """Return parameters under the upstream's names: of each its name and its range."""
        found = {
            name: self.number(theirs, low, high) for theirs, (name, low, high) in ranges.items()
        }
        return {name: value for name, value in found.items() if value is not None}

    def extensions(self, given: Any, kinds: Mapping[str, type], where: str) -> Json:
        """Return an upstream's own settings, which clients may write in camelCase or snake_case.

        Raises InvalidRequest for names other than those of `kinds`, and for other kinds of values.
        """
        found: Json = {}
        for name, value in table(given, where).items():
            key = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)
            if not isinstance(value, kinds.get(key, _Unknown)):
                known = kinds[key].__name__ if key in kinds else f"one of: {', '.join(kinds)}"
                raise invalid(f"{where}.{name}", f"expected {known}")
            found[key] = value
        return found

    def log_probabilities(self) -> int | None:
        """Return how many alternatives a token is to have; None where the client wants none."""
        if not flag(self.fields.get("logprobs", False), "logprobs"):
            if "top_logprobs" in self.fields:
                raise invalid("top_logprobs", "it needs 'logprobs'")
            return None
        most = integer(self.fields.get("top_logprobs", 0), "top_logprobs")
        return int(number(most, 0, 20, "top_logprobs"))

    def owner(self) -> str | None:
        """Return whom the client names as the one who asks: an opaque id of its own."""
        name = self.fields.get("safety_identifier", self.fields.get("user"))
        return name if isinstance(name, str) and 0 < len(name) <= 256 else None

    def _stops(self, most: int) -> list[str]:
        stop = self.fields.get("stop", [])
        stops = [one for one in ([stop] if isinstance(stop, str) else stop) if one]
        if most and len(stops) > most:
            raise unsupported("stop", f"more than {most} stop sequences")
        return stops

    def _modalities(self, can: frozenset[str]) -> list[str]:
        given = listed(self.fields.get("modalities", []), "modalities")
        kinds = [text(kind, f"modalities[{at}]") for at, kind in enumerate(given)]
        if not can.issuperset(kinds):
            raise unsupported("modalities", f"anything but {' and '.join(sorted(can))}")
        return kinds

    def _format(self) -> tuple[bool, Json]:
        form = table(self.fields.get("response_format", {}), "response_format")
        kind = form.get("type", "text")
        if kind == "json_schema":
            where = "response_format.json_schema"
            wanted = table(form.get("json_schema"), where)
            return True, table(wanted.get("schema") or {}, f"{where}.schema")
        if kind not in ("text", "json_object"):
            raise unsupported("response_format.type", f"the format {kind!r}")
        return kind == "json_object", {}

    def _effort(self) -> str | None:
        effort = self.fields.get("reasoning_effort")
        if effort is not None and effort not in EFFORTS:
            raise invalid("reasoning_effort", f"expected one of {', '.join(EFFORTS)}")
        return effort


class _Unknown:
    """No value of a client is one."""


def _completion(request: CompletionRequest) -> Json:
    """Return a legacy completion as the fields of a chat."""
    fields = request.fields()
    prompt = fields.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Unsupported(
            "This model's upstream takes one prompt, as text; send a request for each.",
            param="prompt",
        )
    if not prompt:
        raise InvalidRequest("The prompt is empty.", param="prompt")
    if (request.best_of or 1) > (request.n or 1):
        raise unsupported("best_of", "'best_of' above 'n'")
    for name, harmless in (("suffix", ""), ("echo", None), ("logprobs", None)):
        value = fields.pop(name, False)
        if value is not False and value != harmless:
            raise unsupported(name, f"'{name}'")
    for name in (*_CHAT_ONLY, "max_completion_tokens"):
        fields.pop(name, None)
    return {**fields, "messages": [{"role": "user", "content": prompt}]}
