"""Requests: from OpenAI's chat completion to Anthropic's `POST /v1/messages`, field by field."""

from __future__ import annotations

from typing import Any

from ezkielyna.dialect import Abilities, Chat, Json, closed
from ezkielyna_anthropic.messages import TOOL_NAMES, Conversation
from ezkielyna_anthropic.models import Capabilities
from ezkielyna_anthropic.thinking import Reasoning
from ezkielyna_anthropic.tools import Toolbox

JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no code fence."
SAMPLING = {
    "temperature": ("temperature", 0, 2),
    "top_p": ("top_p", 0, 1),
    "top_k": ("top_k", 0, 1_000_000),
}
"""Sampling parameters: Anthropic's name and the range of each; `top_k` is an extension."""

ABILITIES = Abilities(
    takes=frozenset((*SAMPLING, "thinking", "cache_control")), tool_names=TOOL_NAMES
)


class MessagesRequest:
    """One chat as the `document` for `/messages`, with its tools in `box`.

    What has no place is noted in `chat.dropped`. Raises InvalidRequest and Unsupported, naming the
    field.
    """

    def __init__(self, chat: Chat, model: str, can: Capabilities, settings: Any) -> None:
        self._chat = chat
        self._can = can
        told = Conversation(chat.turns, system_in_place=settings.system_in_place)
        self.box = Toolbox(chat.tools, told.tools, can)
        self.box.for_history(told.tools)
        self.document: Json = {"model": model, "messages": told.turns, "system": told.system}
        self._format()
        most = chat.most_tokens(can.max_output or settings.default_max_tokens)
        self.document["max_tokens"] = most
        reasoning = Reasoning(chat, can, self.document, forced=self.box.forced)
        chat.drop(*reasoning.decide(show=settings.show_thinking))
        self._sampling()
        self._stop()
        self._extras()

    def _format(self) -> None:
        if not self._chat.wants_json:
            return
        if not self._chat.schema:
            self.document["system"].append({"type": "text", "text": JSON_ONLY})
        elif self._can.structured:
            wanted = {"type": "json_schema", "schema": closed(self._chat.schema)}
            self.document["output_config"] = {"format": wanted}
        else:
            self.box.for_json(self._chat.schema)

    def _sampling(self) -> None:
        """Set temperature, top_p and top_k as far as the model and its thinking let them be."""
        asked = self._chat.numbers(SAMPLING)
        if "top_k" in asked:
            asked["top_k"] = int(asked["top_k"])
        lost: list[str] = []
        thinks = self.document.get("thinking", {}).get("type") in ("enabled", "adaptive")
        if thinks or self._can.sampling == "none":
            lost = list(asked)
        elif self._can.sampling == "one" and "temperature" in asked:
            lost = ["top_p"]
        for name in lost:
            if asked.pop(name, 1) != 1:
                self._chat.drop(name)
        if asked.get("temperature", 0) > 1:
            asked["temperature"] = 1
            self._chat.drop("temperature")
        self.document.update(asked)

    def _stop(self) -> None:
        kept = [sequence for sequence in self._chat.stops if sequence.strip()]
        if len(kept) < len(self._chat.stops):
            self._chat.drop("stop")
        if kept:
            self.document["stop_sequences"] = kept

    def _extras(self) -> None:
        fields, document = self._chat.fields, self.document
        owner = self._chat.owner()
        if owner is not None:
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
