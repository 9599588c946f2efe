"""Requests: from OpenAI's chat completion to Anthropic's `POST /v1/messages`, field by field."""

from __future__ import annotations

from typing import Any

from ezkielyna import ApiRequest
from ezkielyna_anthropic.fields import Json, invalid, table, unsupported
from ezkielyna_anthropic.messages import Conversation
from ezkielyna_anthropic.models import Capabilities
from ezkielyna_anthropic.thinking import Reasoning
from ezkielyna_anthropic.tools import closed, toolbox

JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no code fence."
SAMPLING = {"temperature": 2, "top_p": 1, "top_k": 1_000_000}
"""Sampling parameters and the largest value of each; `top_k` is an extension."""

READ = {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"),
    *("stop", "stream", "n", "user", "safety_identifier", "service_tier", "response_format"),
    *("reasoning_effort", "thinking", "tools", "tool_choice", "parallel_tool_calls", "functions"),
    *("function_call", "cache_control", "top_logprobs", "modalities"),
}
SILENT = {
    *("stream_options", "metadata", "store", "verbosity"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
}
"""Hints; nothing is lost without them. What is in no list here is dropped and reported."""

REFUSED = ("logprobs", "audio", "prediction", "web_search_options", "moderation")
"""Refused unless false: without them the client would get another answer than it asked for."""

CHAT_ONLY = ("tools", "tool_choice", "functions", "function_call", "response_format")


class MessagesRequest:
    """One translated chat request; then `document`, `box` and `dropped` are to be read.

    `dropped` are the parameters that had no place and might be missed. Asks for at most `cap`
    output tokens. Raises InvalidRequest and Unsupported, naming the field.
    """

    def __init__(
        self, fields: Json, model: str, can: Capabilities, cap: int | None, settings: Any
    ) -> None:
        self._fields = fields
        self._can = can
        self.dropped: dict[str, None] = {}
        self._refuse()
        self.box = toolbox(fields, can)
        told = Conversation(fields["messages"], system_in_place=settings.system_in_place)
        self.box.for_history(told.tools)
        self.document: Json = {"model": model, "messages": told.turns, "system": told.system}
        self._response_format()
        self._max_tokens(cap, settings.default_max_tokens)
        reasoning = Reasoning(fields, can, self.document, forced=self.box.forced)
        self.dropped |= dict.fromkeys(reasoning.decide(show=settings.show_thinking))
        self._sampling()
        self._stop()
        self._extras()

    def _refuse(self) -> None:
        fields = self._fields
        if fields.get("n", 1) != 1:
            raise unsupported("n", "more than one answer a request")
        for name in REFUSED:
            if fields.get(name, False) is not False:
                raise unsupported(name, f"'{name}'")
        if fields.get("modalities", ["text"]) != ["text"]:
            raise unsupported("modalities", "anything but text")
        unknown = sorted(fields.keys() - READ - SILENT - {*REFUSED})
        self.dropped |= dict.fromkeys(name for name in unknown if fields[name] not in (0, {}, []))

    def _response_format(self) -> None:
        form = table(self._fields.get("response_format", {"type": "text"}), "response_format")
        schema: Json = {}
        if form.get("type") == "json_schema":
            where = "response_format.json_schema"
            wanted = table(form.get("json_schema"), where)
            schema = table(wanted.get("schema", {}), f"{where}.schema")
        elif form.get("type") == "text":
            return
        elif form.get("type") != "json_object":
            raise unsupported("response_format", f"the format {form.get('type')!r}")
        if not schema:
            self.document["system"].append({"type": "text", "text": JSON_ONLY})
        elif self._can.structured:
            wanted = {"type": "json_schema", "schema": closed(schema)}
            self.document["output_config"] = {"format": wanted}
        else:
            self.box.for_json(schema)

    def _max_tokens(self, cap: int | None, default: int) -> None:
        fields = self._fields
        name = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
        tokens = fields.get(name, self._can.max_output or default)
        if tokens < 1:
            raise invalid(name, "expected at least 1")
        self.document["max_tokens"] = tokens if cap is None else max(1, min(tokens, cap))

    def _sampling(self) -> None:
        """Set temperature, top_p and top_k as far as the model and its thinking let them be."""
        asked = {name: self._number(name) for name in SAMPLING if name in self._fields}
        lost: list[str] = []
        thinks = self.document.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if thinks or self._can.sampling == "none":
            lost = list(asked)
        elif self._can.sampling == "one" and "temperature" in asked:
            lost = ["top_p"]
        for name in lost:
            if asked.pop(name, 1) != 1:
                self.dropped[name] = None
        if asked.get("temperature", 0) > 1:
            asked["temperature"] = 1
            self.dropped["temperature"] = None
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
            self.dropped["stop"] = None
        if kept:
            self.document["stop_sequences"] = kept

    def _extras(self) -> None:
        fields, document = self._fields, self.document
        owner = fields.get("safety_identifier", fields.get("user"))
        if isinstance(owner, str) and 0 < len(owner) <= 256:
            document["metadata"] = {"user_id": owner}
        tier = fields.get("service_tier")
        if tier in ("auto", "default"):
            document["service_tier"] = "auto" if tier == "auto" else "standard_only"
        if isinstance(fields.get("cache_control"), dict):
            document["cache_control"] = fields["cache_control"]
        if fields.get("stream") is True:
            document["stream"] = True
        if self.box.specs:
            document["tools"] = self.box.specs
        if self.box.choice is not None:
            document["tool_choice"] = self.box.choice
        if not document["system"]:
            del document["system"]


def chat_fields(request: ApiRequest) -> Json:
    """Return a legacy completion as the fields of a chat request.

    Raises Unsupported for what a chat cannot do: several prompts, tokens, suffix, echo, logprobs.
    """
    fields = request.fields()
    prompt = fields.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise unsupported("prompt", "anything but one prompt of text")
    for name, harmless in (("suffix", ""), ("echo", None), ("logprobs", None), ("best_of", 1)):
        value = fields.pop(name, False)
        if value is not False and value != harmless:
            raise unsupported(name, f"'{name}'")
    for name in (*CHAT_ONLY, "max_completion_tokens"):
        fields.pop(name, None)
    message = {"role": "user", "content": prompt}
    return {**fields, "messages": [message], "max_tokens": request.output_limit()}
