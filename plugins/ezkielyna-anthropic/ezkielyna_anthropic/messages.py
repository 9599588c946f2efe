"""Messages: from OpenAI's list to Anthropic's `system` and alternating turns."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ezkielyna import InvalidRequest
from ezkielyna_anthropic import carrier
from ezkielyna_anthropic.fields import Json, cached, invalid, listed, named, table
from ezkielyna_anthropic.parts import parts

OPENING: Json = {"type": "text", "text": "(The conversation begins here.)"}
"""Stands in for the user's words where Anthropic wants some and the client sent none."""

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_FUNCTION = "function_call"


class Conversation:
    """Reads messages; then `system` and `turns` are what Anthropic takes.

    Results come first in the turn after their calls, every call has its result, no id occurs
    twice, no text is blank. `tools` are the names of the tools that were called.
    """

    def __init__(self, messages: list[Json], *, system_in_place: bool) -> None:
        """Read a whole list; raises InvalidRequest or Unsupported naming the place."""
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.tools: set[str] = set()
        self._ids: dict[str, str] = {}
        self._used: set[str] = set()
        self._owed: set[str] = set()
        for at, message in enumerate(messages):
            self._read(message, f"messages[{at}]", system_in_place)
        self._all_answered(f"messages[{len(messages) - 1}]")
        if not self.turns or self.turns[0]["role"] != "user":
            self.turns.insert(0, {"role": "user", "content": [OPENING]})
        last = self.turns[-1]["content"][-1]
        if self.turns[-1]["role"] == "assistant" and last["type"] == "text":
            last["text"] = last["text"].rstrip()  # a prefill may not end in blanks

    def _read(self, message: Json, where: str, system_in_place: bool) -> None:
        role = message["role"]
        if role in ("tool", "function"):
            self._result(message, where)
        elif role in ("system", "developer"):
            said = parts(message.get("content"), f"{where}.content", text_only=True)
            if not (system_in_place and self.turns):
                self.system += said
                return
            self._all_answered(where)
            self._say("system", said)
        elif role in ("user", "assistant"):
            self._all_answered(where)
            said = parts(message.get("content"), f"{where}.content", text_only=role != "user")
            self._say(role, said if role == "user" else self._answer(message, said, where))
        else:
            raise invalid(f"{where}.role", f"unknown role {role!r}")

    def _answer(self, message: Json, said: list[Json], where: str) -> list[Json]:
        """Return an assistant's message as blocks: thinking and text, then calls."""
        if not said and isinstance(message.get("refusal"), str):
            said = parts(message["refusal"], where)
        calls = listed(message.get("tool_calls") or [], f"{where}.tool_calls")
        if not calls and isinstance(message.get(_FUNCTION), dict):
            calls = [{"id": _FUNCTION, "function": message[_FUNCTION]}]
        self._ids = {}
        blocks: list[Json] = []
        carried: list[carrier.Placed] = []
        for at, call in enumerate(calls):
            block, before = self._call(table(call, where), f"{where}.tool_calls[{at}]")
            if at == 0:
                carried = before
            else:
                blocks += [thought for _, thought in before]
            blocks.append(block)
        return _with_thinking(message, said, carried) + blocks

    def _call(self, call: Json, where: str) -> tuple[Json, list[carrier.Placed]]:
        """Return a call as a block, and the thinking that its id carries."""
        own = call.get("id")
        if not isinstance(own, str) or own in self._ids:
            raise invalid(f"{where}.id", "expected a string that no other call of the message has")
        kind = "custom" if call.get("type") == "custom" else "function"
        told = table(call.get(kind), f"{where}.{kind}")
        name = named(told.get("name"), f"{where}.{kind}.name")
        if kind == "custom":
            given: Json = {"input": str(told.get("input") or "")}
        else:
            given = _arguments(told.get("arguments"), f"{where}.function.arguments")
        bare, carried = carrier.unpacked(own)
        self._ids[own] = self._fresh(bare)
        self._owed.add(own)
        self.tools.add(name)
        block = {"type": "tool_use", "id": self._ids[own], "name": name, "input": given}
        return cached(block, call), carried

    def _fresh(self, bare: str) -> str:
        """Return the id as Anthropic takes it: of its alphabet, and never twice."""
        base = fresh = _NOT_IN_IDS.sub("_", bare) or "call"
        again = 1
        while fresh in self._used:
            again += 1
            fresh = f"{base}_{again}"
        self._used.add(fresh)
        return fresh

    def _result(self, message: Json, where: str) -> None:
        own = _FUNCTION if message["role"] == "function" else message.get("tool_call_id")
        if not isinstance(own, str) or own not in self._owed:
            raise InvalidRequest(
                f"'{where}' answers no call of the assistant message before it.",
                param=f"{where}.tool_call_id",
            )
        self._owed.remove(own)
        block: Json = {"type": "tool_result", "tool_use_id": self._ids[own]}
        content = parts(message.get("content"), f"{where}.content")
        if content:
            block["content"] = content
        if message.get("is_error") is True:
            block["is_error"] = True
        self._say("user", [cached(block, message)])

    def _all_answered(self, where: str) -> None:
        if self._owed:
            missing = carrier.unpacked(min(self._owed))[0]
            raise InvalidRequest(
                f"Every tool call must be followed by its tool message; missing: {missing!r}.",
                param=where,
            )

    def _say(self, role: str, blocks: list[Json]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        elif blocks:
            self.turns.append({"role": role, "content": blocks})


def _with_thinking(message: Json, said: list[Json], carried: list[carrier.Placed]) -> list[Json]:
    """Return the said blocks with the thinking before the text that came after it."""
    if not carried:
        returned = message.get("thinking_blocks")
        blocks = returned if isinstance(returned, list) else []
        return [block for block in blocks if carrier.thinking(block)] + said
    if not any(at for at, _ in carried):
        return [block for _, block in carried] + said
    text = "".join(block["text"] for block in said)
    result: list[Json] = []
    done = 0
    for at, block in carried:
        if text[done:at].strip():
            result.append({"type": "text", "text": text[done:at]})
            done = at
        result.append(block)
    return result + ([{"type": "text", "text": text[done:]}] if text[done:].strip() else [])


def _arguments(value: Any, where: str) -> Json:
    """Return a call's arguments; broken ones are refused, because `{}` would hide a fault."""
    try:
        given = orjson.loads(value) if isinstance(value, str) and value else value or {}
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise invalid(where, "expected the JSON text of an object")
    return given
