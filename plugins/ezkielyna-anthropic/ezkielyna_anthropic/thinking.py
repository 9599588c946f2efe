"""Reasoning effort and thinking: what the model takes, and what the rest of a request allows."""

from __future__ import annotations

from ezkielyna.dialect import EFFORTS, Chat, Json, invalid, table
from ezkielyna_anthropic.models import Capabilities

MIN_BUDGET = 1024
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens to think by effort, where a model takes a budget; `xhigh` and `max` count as high."""


class Reasoning:
    """Decides on thinking for one request whose messages and `max_tokens` are set."""

    def __init__(self, chat: Chat, can: Capabilities, document: Json, *, forced: bool) -> None:
        self._effort = chat.effort
        self._wanted = chat.fields.get("thinking")
        self._can = can
        self._document = document
        self._forced = forced

    def decide(self, *, show: bool) -> list[str]:
        """Set `thinking` and the effort, and return the names of what had to be dropped.

        Raises InvalidRequest for a `thinking` that no model has.
        """
        dropped: list[str] = []
        if self._effort is not None:
            dropped += self._set_effort(self._effort)
        name = "reasoning_effort" if self._wanted is None else "thinking"
        thinking = self._by_effort(show) if self._wanted is None else self._explicit()
        if thinking is not None and thinking["type"] == "enabled" and self._ruled_out():
            dropped.append(name)
            thinking = None
        if thinking is not None:
            self._document["thinking"] = thinking
        adaptive = "adaptive" in self._can.thinking
        thinks = adaptive if thinking is None else thinking["type"] != "disabled"
        if not thinks or self._document["messages"][-1]["role"] == "assistant":
            self._take_out_thinking()
        return dropped

    def _explicit(self) -> Json | None:
        """Return Anthropic's own `thinking`, an extension; its budget must leave room to answer."""
        wanted = table(self._wanted, "thinking")
        if wanted.get("type") not in ("enabled", "adaptive", "disabled"):
            raise invalid("thinking.type", "expected 'enabled', 'adaptive' or 'disabled'")
        if wanted["type"] != "enabled":
            return wanted
        budget, room = wanted.get("budget_tokens"), self._document["max_tokens"] - 1
        if type(budget) is not int or budget < MIN_BUDGET:
            raise invalid("thinking.budget_tokens", f"expected at least {MIN_BUDGET}")
        return {**wanted, "budget_tokens": min(budget, room)} if room >= MIN_BUDGET else None

    def _by_effort(self, show: bool) -> Json | None:
        if self._effort is None or not self._can.thinking:
            return None
        if self._effort == "none":
            return {"type": "disabled"} if "disabled" in self._can.thinking else None
        if "adaptive" in self._can.thinking:
            return {"type": "adaptive", **({"display": "summarized"} if show else {})}
        room = self._document["max_tokens"] - MIN_BUDGET
        budget = min(BUDGETS.get(self._effort, BUDGETS["high"]), room)
        return {"type": "enabled", "budget_tokens": budget} if budget >= MIN_BUDGET else None

    def _set_effort(self, effort: str) -> list[str]:
        """Set the nearest effort the model has; `none` is an effort only where it must think."""
        levels = self._can.effort
        if not levels or (effort == "none" and "disabled" in self._can.thinking):
            return [] if self._can.thinking or effort == "none" else ["reasoning_effort"]
        wanted = max(EFFORTS.index(effort), EFFORTS.index("low"))
        nearest = [level for level in levels if EFFORTS.index(level) <= wanted][-1]
        self._document.setdefault("output_config", {})["effort"] = nearest
        return []

    def _ruled_out(self) -> bool:
        """True where a budget would be refused: a forced tool, a prefill, or lost thinking.

        A turn with tool results must begin with the thinking that led to their calls. It begins
        after the last message of the user that does not begin with results.
        """
        turns = self._document["messages"]
        if self._forced or turns[-1]["role"] == "assistant":
            return True
        begun = [
            at
            for at, turn in enumerate(turns)
            if turn["role"] == "user" and turn["content"][0]["type"] != "tool_result"
        ]
        answer = [turn for turn in turns[begun[-1] + 1 :] if turn["role"] == "assistant"][:1]
        kinds = [block["type"] for turn in answer for block in turn["content"]]
        return "tool_use" in kinds and not kinds[0].endswith("thinking")

    def _take_out_thinking(self) -> None:
        turns = self._document["messages"]
        for turn in turns:
            turn["content"] = [b for b in turn["content"] if not b["type"].endswith("thinking")]
        self._document["messages"] = [turn for turn in turns if turn["content"]]
