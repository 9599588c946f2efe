"""Messages: from OpenAI's turns to Gemini's `systemInstruction` and `contents`."""

from __future__ import annotations

import orjson

from ezkielyna.dialect import Call, Json, Part, Turn, append, mapping, unsupported, word
from ezkielyna_gemini.models import Traits
from ezkielyna_gemini.signatures import DUMMY, opened

_BLANK = " "
"""Stands for a user's turn that Gemini needs and the client did not send."""

READ_BY_GOOGLE = (
    "https://generativelanguage.googleapis.com/",
    "https://www.youtube.com/",
    "https://youtube.com/",
    "https://youtu.be/",
)


class Conversation:
    """Writes turns; then `system` and `contents` are what Gemini takes.

    Neighbours of one role are merged, all results of a turn stand in the order of its calls.
    """

    def __init__(self, turns: list[Turn], traits: Traits) -> None:
        """Write all turns; raises Unsupported naming the part."""
        self.system: list[Json] = []
        self.contents: list[Json] = []
        self._newest = traits.newest
        for turn in turns:
            if turn.role == "system":
                self.system += parts_of(turn.parts)
            elif turn.role == "user":
                append(self.contents, "user", parts_of(turn.parts), "parts")
            else:
                self._assistant(turn)
        if not self.contents or "functionCall" in self.contents[0]["parts"][0]:
            self.contents.insert(0, {"role": "user", "parts": [{"text": _BLANK}]})

    def _assistant(self, turn: Turn) -> None:
        """Write text, calls and results; thoughts are never sent back, signatures are."""
        parts = parts_of(turn.parts)
        signature = _signature(turn.given)
        if parts and signature:
            parts[-1]["thoughtSignature"] = signature
        calls = [_call(call) for call in turn.calls]
        if calls and self._newest:
            calls[0].setdefault("thoughtSignature", DUMMY)
        append(self.contents, "model", parts + calls, "parts")
        self._results(turn.calls)

    def _results(self, calls: list[Call]) -> None:
        media: list[Json] = []
        parts: list[Json] = []
        for call in calls:
            texts = [part.text for part in call.result]
            response: Json = {"name": call.name, "response": _outcome("".join(texts))}
            own = opened(call.id).own
            if own:
                response["id"] = own
            shown = parts_of([part for part in call.result if part.kind != "text"])
            if shown and self._newest:
                response["parts"] = shown
            else:
                media += shown
            parts.append({"functionResponse": response})
        append(self.contents, "user", parts + media, "parts")


def parts_of(parts: list[Part]) -> list[Json]:
    """Return parts as Gemini writes them."""
    return [_part(part) for part in parts]


def _part(part: Part) -> Json:
    if part.kind == "text":
        return {"text": part.text}
    if part.source:
        return {"inlineData": {"mimeType": part.mime, "data": part.quoted}}
    address = part.url or part.id
    if address.startswith(READ_BY_GOOGLE):
        return {"fileData": {"fileUri": address}}
    # What the core did not fetch Google would guess.
    raise unsupported(part.where, "this address; send the content as a data URL")


def _call(call: Call) -> Json:
    carried = opened(call.id)
    function: Json = {"name": call.name, "args": call.arguments}
    if carried.own:
        function["id"] = carried.own
    signature = _signature(call.given) or carried.signature
    part: Json = {"functionCall": function}
    if signature:
        part["thoughtSignature"] = signature
    return part


def _signature(holder: Json) -> str | None:
    google = mapping(mapping(holder.get("extra_content")).get("google"))
    return word(google.get("thought_signature"))


def _outcome(text: str) -> Json:
    """Return a result as the object that Gemini wants."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"output": text}
