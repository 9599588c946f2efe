"""What servers do differently from OpenAI, put right: in events, and in plain answers.

An event is parsed only if it holds one of the byte strings that a repair names, and written anew
only if something changed; the bytes of all others are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ezkielyna_openai.documents import dumps, loads
from ezkielyna_openai.presets import Repair

Document = dict[str, Any]

TRIGGERS: dict[Repair, bytes] = {
    "empty_choices": b'"choices":[]',
    "finish_reasons": b'"finish_reason":"',
    "message": b'"message"',
    "parts": b'"content":[',
    "reasoning": b'"reasoning"',
    "role": b'"role"',
    "tool_calls": b'"tool_calls"',
}
"""Quoted names: a JSON string cannot hold an unescaped quote, so they match whole strings only."""

FINISH_REASONS = {"eos": "stop", "eos_token": "stop", "end_turn": "stop", "model_length": "length"}


def triggers(repairs: Iterable[Repair], *, spaced: bool = False) -> tuple[bytes, ...]:
    """Return the byte strings that call for these repairs.

    With `spaced`, also as a server writes them that puts a blank after every colon.
    """
    compact = [TRIGGERS[repair] for repair in sorted(repairs)]
    loose = [trigger.replace(b'":', b'": ') for trigger in compact] if spaced else []
    return tuple(dict.fromkeys((*compact, *loose)))


class Repairs:
    """The repairs of one streamed answer, whose earlier events it knows, or of any plain ones."""

    __slots__ = ("_calls", "_repairs", "_roles")

    def __init__(self, repairs: frozenset[Repair]) -> None:
        self._repairs = repairs
        self._calls: dict[int, _Calls] = {}
        self._roles: set[int] = set()

    @property
    def drops_empty(self) -> bool:
        """True when chunks without choices are not for clients."""
        return "empty_choices" in self._repairs

    def event(self, document: Document) -> bool:
        """Put a chunk right in place; True when something changed."""
        changed = False
        for choice in _choices(document):
            index = choice.get("index")
            delta = choice.get("delta")
            if isinstance(delta, dict):
                number = index if isinstance(index, int) else 0
                changed |= self._delta(delta, number, document)
            changed |= self._choice(choice)
            if "message" in self._repairs and isinstance(delta, dict) and "message" in choice:
                del choice["message"]
                changed = True
        return changed

    def answer(self, body: bytes, document: Document) -> bytes:
        """Put a plain answer right, in place; return its own bytes when nothing needed it."""
        changed = False
        choices = document.get("choices") if isinstance(document, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or _is_plain(choice):
                continue
            message = choice.get("message")
            if isinstance(message, dict):
                changed |= self._message(message, document, _number(choice.get("index")))
            changed |= self._choice(choice)
        return dumps(document) if changed else body

    def _delta(self, delta: Document, index: int, document: Document) -> bool:
        changed = self._text(delta)
        if "role" in self._repairs and "role" in delta:
            if index in self._roles:
                del delta["role"]
                changed = True
            self._roles.add(index)
        calls = delta.get("tool_calls")
        if "tool_calls" in self._repairs and isinstance(calls, list):
            known = self._calls.setdefault(index, _Calls(f"{document.get('id')}/{index}"))
            changed |= known.repair(calls)
        return changed

    def _message(self, message: Document, document: Document, index: int) -> bool:
        changed = self._text(message)
        calls = message.get("tool_calls")
        if "tool_calls" in self._repairs and isinstance(calls, list):
            known = _Calls(f"{document.get('id')}/{index}")
            positions = [call.get("index", ...) for call in calls if isinstance(call, dict)]
            changed |= known.repair(calls)
            for call, position in zip(calls, positions, strict=False):
                if position is ...:
                    call.pop("index", None)
        return changed

    def _text(self, message: Document) -> bool:
        changed = False
        if "parts" in self._repairs and isinstance(message.get("content"), list):
            changed |= _joined_parts(message)
        if "reasoning" in self._repairs and "reasoning" in message:
            reasoning = message.pop("reasoning")
            if reasoning is not None and not message.get("reasoning_content"):
                message["reasoning_content"] = reasoning
            changed = True
        return changed

    def _choice(self, choice: Document) -> bool:
        mapped = FINISH_REASONS.get(str(choice.get("finish_reason")))
        if mapped is None or "finish_reasons" not in self._repairs:
            return False
        choice["finish_reason"] = mapped
        return True


class _Calls:
    """The tool calls of one choice: gives each an index of its own, and an id."""

    __slots__ = ("_calls", "_positions", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._calls: list[_Call] = []
        self._positions: dict[Any, int] = {}

    def repair(self, calls: list[Any]) -> bool:
        changed = False
        for call in calls:
            if isinstance(call, dict):
                changed |= self._repair(call)
        return changed

    def _repair(self, call: Document) -> bool:
        function = call.get("function")
        changed = isinstance(function, dict) and _spelt_arguments(function)
        stated, name = call.get("index"), _text_of(function, "name")
        place = self._place(stated, call.get("id") or "", name, _text_of(function, "arguments"))
        if place == len(self._calls):
            self._calls.append(_Call(call.get("id") or "", name))
            if "function" in call and not call.get("id"):
                call["id"] = self._invented(place)
                changed = True
            if "function" in call and not call.get("type"):
                call["type"] = "function"
                changed = True
        self._positions[stated] = place
        self._calls[place].arguments += _text_of(function, "arguments")
        if stated != place:
            call["index"] = place
            changed = True
        return changed

    def _place(self, stated: Any, identity: str, name: str, arguments: str) -> int:
        """Return which call this is: one of the known, or the next when it is new."""
        following = len(self._calls)
        for place, known in enumerate(self._calls):
            if identity and known.id == identity:
                return place
        if identity:
            return following
        place = self._positions.get(stated, following)
        if place == following:
            continues = stated is None and not name and following
            return following - 1 if continues else following
        if name and self._calls[place].ended_before(name, arguments):
            return following
        return place

    def _invented(self, place: int) -> str:
        """Return an id: the same for the same answer, another for every call."""
        return "call_" + hashlib.sha256(f"{self._seed}/{place}".encode()).hexdigest()[:24]


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self, identity: str, name: str) -> None:
        self.id = identity
        self.name = name
        self.arguments = ""

    def ended_before(self, name: str, arguments: str) -> bool:
        """True when a named fragment without an id begins another call than this one."""
        if name != self.name:
            return True
        return bool(arguments) and _is_json(self.arguments)


def _is_plain(choice: Document) -> bool:
    """True for what most answers are, and no repair is about: a text that ended as OpenAI's do."""
    message = choice.get("message")
    return (
        isinstance(message, dict)
        and isinstance(message.get("content"), str)
        and "tool_calls" not in message
        and "reasoning" not in message
        and choice.get("finish_reason") in ("stop", "length")
    )


def _spelt_arguments(function: Document) -> bool:
    """Make the arguments a string, as OpenAI's always are."""
    if "arguments" not in function or isinstance(function["arguments"], str):
        return False
    arguments = function["arguments"]
    function["arguments"] = "" if arguments is None else dumps(arguments).decode()
    return True


def _joined_parts(message: Document) -> bool:
    """Turn a content of parts into a string, and its thinking into `reasoning_content`."""
    text, thinking = "", ""
    for part in message["content"]:
        if not isinstance(part, dict):
            return False
        if part.get("type") == "thinking":
            thinking += _thinking(part)
        elif isinstance(part.get("text"), str):
            text += part["text"]
    message["content"] = text
    if thinking:
        message["reasoning_content"] = (message.get("reasoning_content") or "") + thinking
    return True


def _thinking(part: Document) -> str:
    inner = part.get("thinking")
    if isinstance(inner, str):
        return inner
    steps = inner if isinstance(inner, list) else []
    return "".join(str(step.get("text") or "") for step in steps if isinstance(step, dict))


def _choices(document: Any) -> list[Document]:
    choices = document.get("choices") if isinstance(document, dict) else None
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


def _number(index: Any) -> int:
    return index if isinstance(index, int) else 0


def _text_of(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""


def _is_json(text: str) -> bool:
    try:
        loads(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    return True
