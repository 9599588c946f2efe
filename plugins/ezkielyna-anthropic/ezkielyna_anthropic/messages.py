"""Messages: from OpenAI's list to Anthropic's `system` and alternating turns."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import orjson

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna_anthropic import carrier
from ezkielyna_anthropic.tools import Json, invalid, listed, named, table

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
OPENING: Json = {"type": "text", "text": "(The conversation begins here.)"}
"""Stands in for the user's words where Anthropic wants some and the client sent none."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.ASCII)
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_FUNCTION_CALL = "function_call"


class Conversation:
    """Reads messages one by one; then `system` and `turns` are what Anthropic takes.

    Results come first in the turn after their calls, every call has its result, no id occurs
    twice, no text is blank. `tools` are the names of the tools that were called.
    """

    def __init__(self, *, custom: frozenset[str], system_in_place: bool) -> None:
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.tools: set[str] = set()
        self._custom = custom
        self._in_place = system_in_place
        self._ids: dict[str, str] = {}
        self._used: set[str] = set()
        self._owed: set[str] = set()

    def read(self, messages: list[Json]) -> None:
        """Read a whole list; raises InvalidRequest or Unsupported naming the place."""
        readers = {
            "system": self._system,
            "developer": self._system,
            "user": self._user,
            "assistant": self._assistant,
            "tool": self._result,
            "function": self._result,
        }
        for at, message in enumerate(messages):
            where = f"messages[{at}]"
            reader = readers.get(message["role"])
            if reader is None:
                raise invalid(f"{where}.role", f"unknown role {message['role']!r}")
            reader(message, where)
        self._all_answered(f"messages[{len(messages) - 1}]")
        if not self.turns or self.turns[0]["role"] != "user":
            self.turns.insert(0, {"role": "user", "content": [OPENING]})
        self._trim_prefill()

    def _system(self, message: Json, where: str) -> None:
        blocks = parts(message.get("content"), f"{where}.content", text_only=True)
        if self._in_place and self.turns:
            self._all_answered(where)
            self._say("system", blocks)
        else:
            self.system += blocks

    def _user(self, message: Json, where: str) -> None:
        self._all_answered(where)
        self._say("user", parts(message.get("content"), f"{where}.content"))

    def _assistant(self, message: Json, where: str) -> None:
        self._all_answered(where)
        said = parts(message.get("content"), f"{where}.content", text_only=True)
        if not said and isinstance(message.get("refusal"), str):
            said = parts(message["refusal"], f"{where}.refusal")
        calls, carried = self._calls(message, where)
        self._say("assistant", _with_thinking(message, said, carried) + calls)

    def _calls(self, message: Json, where: str) -> tuple[list[Json], list[carrier.Placed]]:
        """Return the calls, thinking between them, and the thinking from before the first one."""
        self._ids = {}
        blocks: list[Json] = []
        carried: list[carrier.Placed] = []
        for at, value in enumerate(listed(message.get("tool_calls") or [], f"{where}.tool_calls")):
            here = f"{where}.tool_calls[{at}]"
            call = table(value, here)
            own = call.get("id")
            if not isinstance(own, str):
                raise invalid(f"{here}.id", "expected a string")
            before = carrier.unpacked(own)[1]
            if at == 0:
                carried = before
            else:
                blocks += [thought for _, thought in before]
            blocks.append(self._call(call, here, own))
        if isinstance(message.get("function_call"), dict):
            call = {"type": "function", "function": message["function_call"]}
            blocks.append(self._call(call, f"{where}.function_call", _FUNCTION_CALL))
        return blocks, carried

    def _call(self, call: Json, where: str, own: str) -> Json:
        kind = "custom" if call.get("type") == "custom" else "function"
        function = table(call.get(kind), f"{where}.{kind}")
        name = named(function.get("name"), f"{where}.{kind}.name")
        if kind == "custom":
            arguments: Any = {"input": str(function.get("input") or "")}
        else:
            arguments = _arguments(function.get("arguments"), f"{where}.function.arguments")
        if own in self._ids:
            raise invalid(f"{where}.id", "two calls of one message have the same id")
        block = {"type": "tool_use", "id": self._fresh(own), "name": name, "input": arguments}
        self._ids[own] = block["id"]
        self._owed.add(own)
        self.tools.add(name)
        return _cached(block, call)

    def _fresh(self, own: str) -> str:
        """Return the id as Anthropic takes it: without thinking, of its alphabet, never twice."""
        base = _NOT_IN_IDS.sub("_", carrier.unpacked(own)[0]) or "call"
        fresh, again = base, 1
        while fresh in self._used:
            again += 1
            fresh = f"{base}_{again}"
        self._used.add(fresh)
        return fresh

    def _result(self, message: Json, where: str) -> None:
        field = "name" if message["role"] == "function" else "tool_call_id"
        own = _FUNCTION_CALL if message["role"] == "function" else message.get("tool_call_id")
        if not isinstance(own, str) or own not in self._owed:
            raise InvalidRequest(
                f"'{where}' answers no call of the assistant message before it.",
                param=f"{where}.{field}",
            )
        self._owed.remove(own)
        block: Json = {"type": "tool_result", "tool_use_id": self._ids[own]}
        blocks = parts(message.get("content"), f"{where}.content")
        if blocks and isinstance(message["content"], str):
            block["content"] = message["content"]
        elif blocks:
            block["content"] = blocks
        if message.get("is_error") is True:
            block["is_error"] = True
        self._say("user", [_cached(block, message)])

    def _all_answered(self, where: str) -> None:
        if self._owed:
            raise InvalidRequest(
                f"An assistant message with tool calls must be followed by a tool message for "
                f"each of them; missing: {carrier.unpacked(min(self._owed))[0]!r}.",
                param=where,
            )

    def _say(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": role, "content": blocks})

    def _trim_prefill(self) -> None:
        """Take the blanks off the end of a final assistant text; Anthropic refuses them."""
        last = self.turns[-1]["content"][-1]
        if self.turns[-1]["role"] == "assistant" and last["type"] == "text":
            last["text"] = last["text"].rstrip()


def _with_thinking(message: Json, said: list[Json], carried: list[carrier.Placed]) -> list[Json]:
    """Return the said blocks with the thinking before the text that came after it."""
    if not carried:
        returned = message.get("thinking_blocks")
        blocks = returned if isinstance(returned, list) else []
        return [block for block in blocks if carrier.thinking(block)] + said
    text = "".join(block["text"] for block in said)
    result: list[Json] = []
    done = 0
    for at, block in carried:
        if text[done:at].strip():
            result.append({"type": "text", "text": text[done:at]})
            done = at
        result.append(block)
    if done == 0:
        return result + said
    return [*result, {"type": "text", "text": text[done:]}] if text[done:].strip() else result


def _arguments(value: Any, where: str) -> Json:
    """Return a call's arguments; broken ones are refused, because `{}` would hide a fault."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise invalid(where, "expected the JSON text of an object")
    return value


def parts(content: Any, where: str, *, text_only: bool = False) -> list[Json]:
    """Return a message's content as blocks, blank text left out, which Anthropic refuses."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for at, value in enumerate(listed(content, where)):
        part = table(value, f"{where}[{at}]")
        block = _part(part, f"{where}[{at}]", text_only=text_only)
        if block is not None:
            blocks.append(_cached(block, part))
    return blocks


def _part(part: Json, where: str, *, text_only: bool) -> Json | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise invalid(f"{where}.{kind}", "expected a string")
        return {"type": "text", "text": text} if text.strip() else None
    if kind == "image_url" and not text_only:
        return _image(part, where)
    if kind == "file" and not text_only:
        return _document(table(part.get("file"), f"{where}.file"), f"{where}.file")
    raise Unsupported(f"This upstream takes no content of type {kind!r} here.", param=where)


def _image(part: Json, where: str) -> Json:
    where = f"{where}.image_url"
    image = part.get("image_url")
    url = image if isinstance(image, str) else table(image, where).get("url")
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, f"{where}.url")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in IMAGES:
        raise Unsupported(f"This upstream takes no {media_type} images.", param=f"{where}.url")
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


def _document(file: Json, where: str) -> Json:
    data = file.get("file_data")
    if data is None:
        raise Unsupported("This upstream knows no uploaded files.", param=f"{where}.file_id")
    block: Json = {"type": "document", "source": _source(data, f"{where}.file_data")}
    if isinstance(file.get("filename"), str) and file["filename"].strip():
        block["title"] = file["filename"]
    return block


def _source(value: Any, where: str) -> Json:
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        return {"type": "url", "url": value}
    media_type, data = _data_url(value, where)
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": data}
    if media_type != "text/plain":
        raise Unsupported(f"This upstream takes no {media_type} files.", param=where)
    try:
        text = base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(where, "expected UTF-8 text in base64") from None
    return {"type": "text", "media_type": media_type, "data": text}


def _data_url(value: Any, where: str) -> tuple[str, str]:
    """Return media type and base64 text; the text is not decoded, as it may be megabytes."""
    found = _DATA_URL.match(value) if isinstance(value, str) else None
    if found is None or found.end() == len(value):
        raise invalid(where, "expected an http address or 'data:TYPE;base64,DATA'")
    return found.group(1).lower(), value[found.end() :]


def _cached(block: Json, source: Json) -> Json:
    """Return the block, marked as the end of a cached prefix where the client marked its own."""
    if isinstance(source.get("cache_control"), dict):
        block["cache_control"] = source["cache_control"]
    elif source.get("prompt_cache_breakpoint"):
        block["cache_control"] = {"type": "ephemeral"}
    return block
