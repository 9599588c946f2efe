"""Requests: from OpenAI's chat completion to Anthropic's `POST /v1/messages`, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ezkielyna import ApiRequest, Unsupported
from ezkielyna_anthropic.messages import Conversation
from ezkielyna_anthropic.models import Capabilities
from ezkielyna_anthropic.tools import Json, Toolbox, closed, invalid, table, toolbox

MIN_BUDGET = 1024
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens to think by effort, where a model takes a budget; `xhigh` and `max` count as high."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no code fence."

SAMPLING = {"temperature": 2, "top_p": 1, "top_k": 1_000_000}
"""Sampling parameters and the largest value of each; `top_k` is an extension."""

READ = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"}
    | {"stop", "stream", "n", "user", "safety_identifier", "service_tier", "response_format"}
    | {"reasoning_effort", "thinking", "tools", "tool_choice", "parallel_tool_calls"}
    | {"functions", "function_call", "cache_control", "top_logprobs"}
)
SILENT = frozenset(
    {"stream_options", "metadata", "store", "prompt_cache_key", "prompt_cache_retention"}
    | {"prompt_cache_options", "verbosity"}
)
"""Hints; nothing is lost without them. What is in no list here is dropped and reported."""

REFUSED = ("logprobs", "audio", "prediction", "web_search_options", "moderation")
"""Refused unless false: without them the client would get another answer than it asked for."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings say about requests."""

    default_max_tokens: int
    show_thinking: bool
    system_in_place: bool


class MessagesRequest:
    """One translated chat request; then `document`, `box` and `dropped` are to be read.

    `dropped` names the parameters that had no place and might be missed, in the order in which
    they were met, each once.
    """

    def __init__(self, fields: Json, model: str, can: Capabilities, wishes: Wishes) -> None:
        self._fields = fields
        self._can = can
        self._wishes = wishes
        self.dropped: list[str] = []
        self.box: Toolbox = toolbox(fields, can)
        self.document: Json = {"model": model}

    def build(self, cap: int | None) -> Json:
        """Return the body, asking for at most `cap` output tokens.

        Raises InvalidRequest and Unsupported, naming the field.
        """
        self._refuse()
        self._messages()
        self._response_format()
        self._max_tokens(cap)
        self._thinking()
        self._sampling()
        self._stop()
        self._extras()
        if self.box.specs:
            self.document["tools"] = self.box.specs
            if self.box.choice is not None:
                self.document["tool_choice"] = self.box.choice
        return self.document

    def _drop(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    def _refuse(self) -> None:
        if self._fields.get("n", 1) != 1:
            raise Unsupported("This upstream gives one answer a request.", param="n")
        for name in REFUSED:
            if self._fields.get(name, False) is not False:
                raise Unsupported(f"This upstream does not support '{name}'.", param=name)
        if self._fields.get("modalities", ["text"]) != ["text"]:
            raise Unsupported("This upstream answers with text only.", param="modalities")
        known = READ | SILENT | {*REFUSED, "modalities"}
        for name in sorted(self._fields.keys() - known):
            if self._fields[name] not in (0, {}, []):
                self._drop(name)

    def _messages(self) -> None:
        conversation = Conversation(
            custom=self.box.custom, system_in_place=self._wishes.system_in_place
        )
        conversation.read(self._fields["messages"])
        self.box.for_history(conversation.tools)
        self.document["messages"] = conversation.turns
        self.document["system"] = conversation.system

    def _response_format(self) -> None:
        value = self._fields.get("response_format")
        if value is None:
            return
        kind = table(value, "response_format").get("type")
        if kind == "json_object":
            self._json_only()
        elif kind == "json_schema":
            where = "response_format.json_schema"
            schema = table(value.get("json_schema"), where).get("schema", {})
            self._schema(table(schema, f"{where}.schema"))
        elif kind != "text":
            raise Unsupported(f"This upstream has no format {kind!r}.", param="response_format")

    def _json_only(self) -> None:
        self.document["system"].append({"type": "text", "text": JSON_ONLY})

    def _schema(self, schema: Json) -> None:
        if not schema:
            self._json_only()
        elif self._can.structured:
            self._output_config("format", {"type": "json_schema", "schema": closed(schema)})
        else:
            self.box.for_json(schema)

    def _output_config(self, name: str, value: Any) -> None:
        self.document.setdefault("output_config", {})[name] = value

    def _max_tokens(self, cap: int | None) -> None:
        for name in ("max_completion_tokens", "max_tokens"):
            asked = self._fields.get(name)
            if asked is not None:
                break
        if asked == 0:
            raise invalid(name, "expected at least 1")
        tokens = asked or self._can.max_output or self._wishes.default_max_tokens
        self.document["max_tokens"] = tokens if cap is None else max(1, min(tokens, cap))

    def _thinking(self) -> None:
        """Set `thinking` and the effort; leave out what the rest of the request rules out."""
        effort = self._fields.get("reasoning_effort")
        if effort is not None and effort not in EFFORTS:
            raise invalid("reasoning_effort", f"expected one of {', '.join(EFFORTS)}")
        wanted = self._fields.get("thinking")
        if wanted is not None:
            thinking = self._explicit(table(wanted, "thinking"))
        else:
            thinking = self._by_effort(effort)
        if effort is not None:
            self._set_effort(effort)
        if thinking is not None and thinking["type"] == "enabled" and self._ruled_out(effort):
            self._drop("thinking" if wanted is not None else "reasoning_effort")
            thinking = None
        if thinking is not None:
            self.document["thinking"] = thinking
        self._strip_thoughts(thinking)

    def _explicit(self, wanted: Json) -> Json | None:
        """Return Anthropic's own `thinking`, an extension; its budget must leave room to answer."""
        if wanted.get("type") not in ("enabled", "adaptive", "disabled"):
            raise invalid("thinking.type", "expected 'enabled', 'adaptive' or 'disabled'")
        if wanted["type"] != "enabled":
            return dict(wanted)
        budget = wanted.get("budget_tokens")
        if type(budget) is not int or budget < MIN_BUDGET:
            raise invalid("thinking.budget_tokens", f"expected at least {MIN_BUDGET}")
        room = self.document["max_tokens"] - 1
        return {**wanted, "budget_tokens": min(budget, room)} if room >= MIN_BUDGET else None

    def _by_effort(self, effort: str | None) -> Json | None:
        if effort is None or not self._can.thinking:
            return None
        if effort == "none":
            return {"type": "disabled"} if "disabled" in self._can.thinking else None
        if "adaptive" in self._can.thinking:
            shown = {"display": "summarized"} if self._wishes.show_thinking else {}
            return {"type": "adaptive", **shown}
        budget = min(BUDGETS.get(effort, BUDGETS["high"]), self.document["max_tokens"] - MIN_BUDGET)
        return {"type": "enabled", "budget_tokens": budget} if budget >= MIN_BUDGET else None

    def _set_effort(self, effort: str) -> None:
        """Set the nearest effort the model has; `none` is an effort only where it must think."""
        levels = self._can.effort
        if not levels:
            if not self._can.thinking and effort != "none":
                self._drop("reasoning_effort")
        elif effort != "none" or "disabled" not in self._can.thinking:
            wanted = max(EFFORTS.index(effort), EFFORTS.index("low"))
            below = [level for level in levels if EFFORTS.index(level) <= wanted]
            self._output_config("effort", below[-1] if below else levels[0])

    def _ruled_out(self, effort: str | None) -> bool:
        """True where a budget would be refused: a forced tool, a prefill, or lost thinking.

        A turn with tool results must begin with the thinking that led to their calls.
        """
        turns = self.document["messages"]
        if self.box.forced or turns[-1]["role"] == "assistant":
            return True
        return any(
            _calls(turn) and not turn["content"][0]["type"].endswith("thinking")
            for turn in _first_answer_of_the_last_turn(turns)
        )

    def _strip_thoughts(self, thinking: Json | None) -> None:
        """Take the thinking out of the history where the upstream does not think."""
        thinks = (
            "adaptive" in self._can.thinking if thinking is None else thinking["type"] != "disabled"
        )
        if thinks and self.document["messages"][-1]["role"] != "assistant":
            return
        kept = []
        for turn in self.document["messages"]:
            blocks = [b for b in turn["content"] if not b["type"].endswith("thinking")]
            if blocks:
                kept.append({**turn, "content": blocks})
        self.document["messages"] = kept

    def _sampling(self) -> None:
        """Set temperature, top_p and top_k as far as the model and its thinking let them be."""
        asked = {name: self._number(name) for name in SAMPLING if name in self._fields}
        thinks = self.document.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if self._can.sampling == "none" or thinks:
            for name, value in asked.items():
                if value != 1 or name == "top_k":
                    self._drop(name)
            return
        if "temperature" in asked and asked["temperature"] > 1:
            self._drop("temperature")
            asked["temperature"] = 1
        both = "temperature" in asked and "top_p" in asked
        if both and self._can.sampling == "one" and asked.pop("top_p") != 1:
            self._drop("top_p")
        self.document.update(asked)

    def _number(self, name: str) -> int | float:
        value = self._fields[name]
        if type(value) not in (int, float) or not 0 <= value <= SAMPLING[name]:
            raise invalid(name, f"expected a number from 0 to {SAMPLING[name]}")
        return int(value) if name == "top_k" else value

    def _stop(self) -> None:
        stop = self._fields.get("stop", [])
        sequences = [stop] if isinstance(stop, str) else stop
        kept = [sequence for sequence in sequences if sequence.strip()]
        if len(kept) < len(sequences):
            self._drop("stop")
        if kept:
            self.document["stop_sequences"] = kept

    def _extras(self) -> None:
        fields = self._fields
        owner = fields.get("safety_identifier", fields.get("user"))
        if isinstance(owner, str) and 0 < len(owner) <= 256:
            self.document["metadata"] = {"user_id": owner}
        tiers = {"auto": "auto", "default": "standard_only"}
        tier = fields.get("service_tier")
        if isinstance(tier, str) and tier in tiers:
            self.document["service_tier"] = tiers[tier]
        if isinstance(fields.get("cache_control"), dict):
            self.document["cache_control"] = fields["cache_control"]
        if not self.document["system"]:
            del self.document["system"]
        if fields.get("stream") is True:
            self.document["stream"] = True


def _calls(turn: Json) -> bool:
    return any(block["type"] == "tool_use" for block in turn["content"])


def _first_answer_of_the_last_turn(turns: list[Json]) -> list[Json]:
    """Return the first answer after the last words of the user, if there is one: one or none.

    A message that begins with tool results continues a turn; it does not begin one.
    """
    for at in range(len(turns) - 1, -1, -1):
        if turns[at]["role"] == "user" and turns[at]["content"][0]["type"] != "tool_result":
            return [turn for turn in turns[at + 1 : at + 2] if turn["role"] == "assistant"]
    return []


def chat_fields(request: ApiRequest) -> Json:
    """Return a legacy completion as the fields of a chat request.

    Raises Unsupported for what a chat cannot do: several prompts, tokens, suffix, echo, logprobs.
    """
    fields = request.fields()
    prompt = fields.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Unsupported("This upstream takes one prompt, as text.", param="prompt")
    for name in ("suffix", "echo", "logprobs"):
        if fields.get(name, False) is not False:
            raise Unsupported(f"This upstream does not support '{name}'.", param=name)
        fields.pop(name, None)
    if fields.pop("best_of", 1) != 1:
        raise Unsupported("This upstream gives one answer a request.", param="best_of")
    for name in _CHAT_ONLY:
        fields.pop(name, None)
    message = {"role": "user", "content": prompt}
    return {**fields, "messages": [message], "max_tokens": request.output_limit()}


_CHAT_ONLY = (
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "max_completion_tokens",
)
