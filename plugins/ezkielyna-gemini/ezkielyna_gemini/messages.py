"""OpenAI's messages as Gemini's `systemInstruction` and `contents`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna_gemini.fields import expect, mapping, word
from ezkielyna_gemini.media import Part, parts_of, texts_of
from ezkielyna_gemini.models import Traits
from ezkielyna_gemini.signatures import DUMMY, opened

_BLANK = " "
"""Stands for a user's turn that Gemini needs and the client did not send."""


@dataclass(slots=True)
class _Call:
    """A tool call that waits for its result; `id` is the client's, `own` the one Gemini gave."""

    id: str
    name: str
    own: str | None
    response: Part | None = None
    media: tuple[Part, ...] = ()


class Conversation:
    """Walks the messages once; `system` and `contents` are complete after it.

    Neighbours of one role are merged, all results of a turn stand in the order of its calls.
    Raises InvalidRequest or Unsupported naming the message.
    """

    def __init__(self, messages: list[dict[str, Any]], traits: Traits) -> None:
        self.system: list[Part] = []
        self.contents: list[dict[str, Any]] = []
        self._traits = traits
        self._waiting: list[_Call] = []
        for position, message in enumerate(messages):
            self._message(message, f"messages[{position}]")
        self._answered(f"messages[{len(messages) - 1}]")
        if not self.contents or "functionCall" in self.contents[0]["parts"][0]:
            self.contents.insert(0, {"role": "user", "parts": [{"text": _BLANK}]})

    def _message(self, message: dict[str, Any], at: str) -> None:
        role, content = message["role"], message.get("content")
        if role in ("tool", "function"):
            return self._result(message, at)
        self._answered(at)
        if role in ("system", "developer"):
            self.system += texts_of(content, f"{at}.content")
        elif role == "user":
            self._add("user", parts_of(content, f"{at}.content"))
        elif role == "assistant":
            self._add("model", self._said(message, at))
        else:
            raise InvalidRequest("A role is system, user, assistant or tool.", param=f"{at}.role")
        return None

    def _add(self, role: str, parts: list[Part]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _said(self, message: dict[str, Any], at: str) -> list[Part]:
        """Return an assistant's text and calls; thoughts are never sent back, signatures are."""
        if message.get("audio") is not None:
            raise Unsupported("Gemini cannot look up audio of an answer.", param=f"{at}.audio")
        content = message.get("content") or message.get("refusal")
        parts = texts_of(content, f"{at}.content")
        signature = _signature(message)
        if parts and signature:
            parts[-1]["thoughtSignature"] = signature
        calls = [_Asked(call, at) for call in self._calls(message, at)]
        if calls and self._traits.signatures and calls[0].signature is None:
            calls[0].signature = DUMMY
        self._waiting = [_Call(call.id, call.name, call.own) for call in calls]
        return parts + [call.part() for call in calls]

    def _calls(self, message: dict[str, Any], at: str) -> list[tuple[str, dict[str, Any]]]:
        calls = expect(message.get("tool_calls") or [], list, f"{at}.tool_calls")
        found = [
            (f"{at}.tool_calls[{k}]", expect(call, dict, f"{at}.tool_calls[{k}]"))
            for k, call in enumerate(calls)
        ]
        if message.get("function_call") is not None:
            found.append((f"{at}.function_call", {"function": message["function_call"], "id": ""}))
        return found

    def _result(self, message: dict[str, Any], at: str) -> None:
        field, value = ("tool_call_id", "id") if message["role"] == "tool" else ("name", "name")
        wanted = expect(message.get(field), str, f"{at}.{field}")
        for call in self._waiting:
            if getattr(call, value) == wanted and call.response is None:
                break
        else:
            raise InvalidRequest(
                f"No call of the message before has this {field}.", param=f"{at}.{field}"
            )
        parts = parts_of(message.get("content"), f"{at}.content")
        texts = [part["text"] for part in parts if "text" in part]
        call.media = tuple(part for part in parts if "text" not in part)
        call.response = {"name": call.name, "response": _outcome("".join(texts))}
        if call.own:
            call.response["id"] = call.own

    def _answered(self, at: str) -> None:
        """Send the results that the calls before this message waited for."""
        waiting, self._waiting = self._waiting, []
        media: list[Part] = []
        parts: list[Part] = []
        for call in waiting:
            if call.response is None:
                raise InvalidRequest(
                    f"The call '{call.id or call.name}' has no result before this message.",
                    param=at,
                )
            if call.media and self._traits.media_results:
                call.response["parts"] = list(call.media)
            else:
                media += call.media
            parts.append({"functionResponse": call.response})
        self._add("user", parts + media)


class _Asked:
    """A tool call of an assistant's message, read."""

    __slots__ = ("arguments", "id", "name", "own", "signature")

    def __init__(self, found: tuple[str, dict[str, Any]], message: str) -> None:
        at, call = found
        custom = call.get("type") == "custom"
        inner = "custom" if custom else "function"
        function = expect(call.get(inner), dict, f"{at}.{inner}")
        self.id = expect(call.get("id"), str, f"{at}.id")
        self.name = expect(function.get("name"), str, f"{at}.{inner}.name")
        if custom:
            self.arguments = {"input": expect(function.get("input"), str, f"{at}.custom.input")}
        else:
            self.arguments = _arguments(function.get("arguments"), f"{at}.{inner}.arguments")
        carried = opened(self.id)
        self.own = carried.own
        self.signature = _signature(call) or carried.signature

    def part(self) -> Part:
        function: dict[str, Any] = {"name": self.name, "args": self.arguments}
        if self.own:
            function["id"] = self.own
        part: Part = {"functionCall": function}
        if self.signature:
            part["thoughtSignature"] = self.signature
        return part


def _signature(holder: dict[str, Any]) -> str | None:
    google = mapping(mapping(holder.get("extra_content")).get("google"))
    return word(google.get("thought_signature"))


def _arguments(text: Any, at: str) -> dict[str, Any]:
    """Return the arguments of a call; broken ones are the client's fault and named, not hidden."""
    try:
        arguments = orjson.loads(expect(text or "{}", str, at))
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest("The arguments of a call must be a JSON object.", param=at)
    return arguments


def _outcome(text: str) -> dict[str, Any]:
    """Return a result as the object that Gemini wants."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"output": text}
