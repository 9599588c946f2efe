"""Messages: from OpenAI's list to turns in which every tool call has its result.

Nothing here is an upstream's: whoever translates walks the turns and writes them its own way.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from ezkielyna.contract.errors import InvalidRequest
from ezkielyna.contract.members import beginnings
from ezkielyna.contract.requests import ApiRequest, ChatRequest, Media
from ezkielyna.dialect.quoted import LONG, Quoted
from ezkielyna.dialect.reading import Json, invalid, listed, table, text, unsupported

Kind = Literal["text", "image", "audio", "file"]
Role = Literal["system", "user", "assistant"]

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.ASCII)
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


@dataclass(slots=True)
class Part:
    """One part of a message's content.

    A part that is no text has data of type `mime`, or an http address in `url`, or the `id` of a
    file that was uploaded before. `given` is the client's object, for extensions; `where` names it
    in errors.
    """

    kind: Kind
    where: str
    given: Json
    text: str = ""
    mime: str = ""
    url: str = ""
    id: str = ""
    name: str = ""
    source: str = ""
    offset: int = 0

    @property
    def data(self) -> str:
        """Base64 as the client sent it: a copy, of megabytes perhaps; else empty."""
        return self.source[self.offset :]

    @property
    def quoted(self) -> str | Quoted:
        """The data as a value for `encoded`, which copies it only once."""
        long = len(self.source) - self.offset > LONG
        return Quoted(self.source, self.offset) if long else self.data

    def decoded(self) -> str:
        """Return the text that the data is; raises InvalidRequest where it is none."""
        try:
            return base64.b64decode(self.data).decode()
        except ValueError:
            raise invalid(self.where, "expected UTF-8 text in base64") from None


@dataclass(slots=True)
class Call:
    """A tool call of the history and its result.

    `id` is the client's; empty for the deprecated functions, which have none. The arguments of a
    custom tool are `{"input": text}`. `result` and `result_given` are the content of the message
    that answered it, and that message.
    """

    id: str
    name: str
    arguments: Json
    where: str
    given: Json
    result: list[Part] = field(default_factory=list)
    result_given: Json | None = None


@dataclass(slots=True)
class Turn:
    """What one message says; an assistant's turn holds its calls with their results.

    `results` are the same calls, in the order in which they were answered.
    """

    role: Role
    parts: list[Part]
    where: str
    given: Json
    calls: list[Call] = field(default_factory=list)
    results: list[Call] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text of the turn."""
        return "".join(part.text for part in self.parts)


def conversation(messages: list[Json]) -> list[Turn]:
    """Return the turns of the messages, in their order.

    Raises InvalidRequest or Unsupported naming the place: an unknown role, a call that is not
    answered before the conversation goes on, a result without its call, arguments that are no JSON
    object, a part of unknown type. Only users and tools can show more than text.
    """
    walk = _Walk()
    for at, message in enumerate(messages):
        walk.read(message, f"messages[{at}]")
    walk.all_answered(f"messages[{len(messages) - 1}]")
    return walk.turns


def addresses(request: ApiRequest, read: tuple[str, ...]) -> dict[str, str]:
    """Return the addresses of a chat's images, each with its place, for `Provider.needs`.

    Those that begin with one of `read` are left out: the upstream reads them itself. Raises what
    `conversation` raises.
    """
    if not isinstance(request, ChatRequest) or not beginnings(request.body, b"http"):
        return {}
    images = (part for part in _media(conversation(request.messages)) if part.kind == "image")
    return {
        image.url: image.where for image in images if image.url and not image.url.startswith(read)
    }


def fill(turns: list[Turn], media: Mapping[str, Media]) -> None:
    """Give the parts their data that the core fetched."""
    for part in _media(turns):
        found = media.get(part.url)
        if found is not None:
            part.mime, part.source = found.mime, base64.b64encode(found.data).decode()


def _media(turns: list[Turn]) -> Iterator[Part]:
    for turn in turns:
        yield from turn.parts
        for call in turn.calls:
            yield from call.result


class _Walk:
    """Reads one message after the other; `_waiting` are the calls that have no result yet."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._caller: Turn | None = None
        self._waiting: list[Call] = []

    def read(self, message: Json, where: str) -> None:
        role = message["role"]
        if role in ("tool", "function"):
            self._result(message, where)
            return
        if role not in _ROLES:
            raise invalid(f"{where}.role", f"unknown role {role!r}")
        own = _ROLES[role]
        if own != "system":  # instructions may stand between calls and their results
            self.all_answered(where)
        said = parts_of(message.get("content"), f"{where}.content", text_only=own != "user")
        turn = Turn(own, said, where, message)
        if own == "assistant":
            self._answer(turn)
        self.turns.append(turn)

    def _answer(self, turn: Turn) -> None:
        message, where = turn.given, turn.where
        if message.get("audio") is not None:
            raise unsupported(f"{where}.audio", "audio of an earlier answer")
        if not turn.parts and isinstance(message.get("refusal"), str):
            turn.parts = parts_of(message["refusal"], f"{where}.refusal")
        calls = listed(message.get("tool_calls") or [], f"{where}.tool_calls")
        for at, given in enumerate(calls):
            place = f"{where}.tool_calls[{at}]"
            call = table(given, place)
            turn.calls.append(_call(call, text(call.get("id"), f"{place}.id"), place))
        if not calls and message.get("function_call") is not None:
            old = {"type": "function", "function": message["function_call"]}
            turn.calls.append(_call(old, "", f"{where}.function_call"))
        self._caller, self._waiting = turn, list(turn.calls)

    def _result(self, message: Json, where: str) -> None:
        name = "tool_call_id" if message["role"] == "tool" else "name"
        wanted = text(message.get(name), f"{where}.{name}")
        for call in self._waiting:
            if wanted == (call.id if name == "tool_call_id" else call.name):
                break
        else:
            raise InvalidRequest(
                f"'{where}' answers no call of the assistant message before it.",
                param=f"{where}.{name}",
            )
        assert self._caller is not None
        call.result = parts_of(message.get("content"), f"{where}.content")
        call.result_given = message
        self._waiting.remove(call)
        self._caller.results.append(call)

    def all_answered(self, where: str) -> None:
        if self._waiting:
            call = self._waiting[0]
            raise InvalidRequest(
                f"The call of {call.name!r} in '{call.where}' has no result before this message.",
                param=where,
            )


def append(turns: list[Json], role: str, said: list[Json], key: str) -> None:
    """Add what a role says to an upstream's messages: neighbours of one role become one.

    `key` is the upstream's name for the content of a message.
    """
    if turns and turns[-1]["role"] == role:
        turns[-1][key] += said
    elif said:
        turns.append({"role": role, key: said})


def parts_of(content: Any, where: str, *, text_only: bool = False) -> list[Part]:
    """Return a message's content as parts, empty text left out.

    Raises InvalidRequest and Unsupported naming the part.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Part("text", where, {}, text=content)]
    found = []
    for at, value in enumerate(listed(content, where)):
        part = _part(table(value, f"{where}[{at}]"), f"{where}[{at}]")
        if text_only and part.kind != "text":
            raise unsupported(part.where, "anything but text here")
        if part.kind != "text" or part.text:
            found.append(part)
    return found


def _part(given: Json, where: str) -> Part:
    kind = given.get("type")
    if kind in ("text", "refusal"):
        return Part("text", where, given, text=text(given.get(kind), f"{where}.{kind}"))
    if kind == "image_url":
        image = given.get("image_url")
        url = image if isinstance(image, str) else table(image, f"{where}.image_url").get("url")
        return _source(Part("image", where, given), url, f"{where}.image_url.url")
    if kind == "input_audio":
        sound = table(given.get("input_audio"), f"{where}.input_audio")
        mime = _SOUNDS.get(str(sound.get("format")))
        if mime is None:
            raise invalid(f"{where}.input_audio.format", "expected 'wav' or 'mp3'")
        data = text(sound.get("data"), f"{where}.input_audio.data")
        return Part("audio", where, given, mime=mime, source=data)
    if kind == "file":
        return _file(Part("file", where, given), table(given.get("file"), f"{where}.file"))
    raise unsupported(where, f"content of type {kind!r}")


def _file(part: Part, file: Json) -> Part:
    name = file.get("filename")
    part.name = name.strip() if isinstance(name, str) else ""
    if file.get("file_data") is not None:
        return _source(part, file["file_data"], f"{part.where}.file.file_data")
    if file.get("file_id") is None:
        raise invalid(f"{part.where}.file", "expected 'file_data', a data URL")
    part.id = text(file["file_id"], f"{part.where}.file.file_id")
    return part


def _source(part: Part, url: Any, where: str) -> Part:
    part.where = where
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        part.url = url
        return part
    found = _DATA_URL.match(url) if isinstance(url, str) else None
    if found is None or found.end() == len(url):
        raise invalid(where, "expected an http address or a data URL, 'data:TYPE;base64,DATA'")
    part.mime = found[1].lower().replace("image/jpg", "image/jpeg")
    part.source, part.offset = url, found.end()
    return part


def _call(given: Json, identifier: str, where: str) -> Call:
    kind = "custom" if given.get("type") == "custom" else "function"
    inner = table(given.get(kind), f"{where}.{kind}")
    name = text(inner.get("name"), f"{where}.{kind}.name")
    if kind == "custom":
        arguments: Json = {"input": text(inner.get("input") or "", f"{where}.custom.input")}
    else:
        arguments = _arguments(inner.get("arguments"), f"{where}.function.arguments")
    return Call(identifier, name, arguments, where, given)


def _arguments(value: Any, where: str) -> Json:
    """Return a call's arguments; broken ones are refused, because `{}` would hide a fault."""
    try:
        given = orjson.loads(value) if isinstance(value, str) and value else value or {}
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise invalid(where, "expected the JSON text of an object")
    return given
