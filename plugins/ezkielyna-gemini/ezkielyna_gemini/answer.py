"""Gemini's whole answers as OpenAI's, and the parts that streams are made of too."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from ezkielyna import UpstreamError
from ezkielyna_gemini.errors import UNREADABLE
from ezkielyna_gemini.fields import count, mapping, objects, word
from ezkielyna_gemini.signatures import carrier

_FILTERED = frozenset({
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
})  # fmt: skip
MALFORMED = frozenset({
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
})  # fmt: skip
"""The model tried to call a function and failed."""


@dataclass(frozen=True, slots=True)
class Style:
    """How this client wants tool calls: in the deprecated style, which are free text, whether only
    the first is wanted, and whether ids carry thought signatures. `seed` makes invented ids.
    """

    custom: frozenset[str] = frozenset()
    legacy: bool = False
    single: bool = False
    carry: bool = True
    seed: str = ""

    def seeded(self, seed: str) -> Style:
        """Return the style for the answer of this id."""
        return replace(self, seed=seed)


@dataclass(slots=True)
class Choice:
    """What one candidate has said so far."""

    index: int
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    signature: str | None = None
    reason: str | None = None
    refusal: str | None = None
    head: bytes = b""

    @property
    def spoke(self) -> bool:
        """True when there is something to deliver."""
        return bool(self.texts or self.calls or self.images)

    def call(self, part: dict[str, Any], style: Style) -> dict[str, Any] | None:
        """Return the next tool call for the client, with its place among all of the answer's;
        None where the client wants but one.
        """
        if self.calls and (style.single or style.legacy):
            return None
        made = _tool_call(part, style, self.index, len(self.calls))
        self.calls.append(made)
        return made

    def arguments(self) -> list[str]:
        """Return the names and arguments of the calls, one after the other."""
        functions = [call.get("function") or call["custom"] for call in self.calls]
        return [str(text) for function in functions for text in function.values()]

    def image(self, part: dict[str, Any]) -> dict[str, Any]:
        """Return an image in the shape that other gateways have made common."""
        data = mapping(part["inlineData"])
        url = f"data:{data.get('mimeType', 'image/png')};base64,{data.get('data', '')}"
        made = {"type": "image_url", "image_url": {"url": url}, "index": len(self.images)}
        self.images.append(made)
        return made

    def add(self, candidate: dict[str, Any], style: Style) -> None:
        """Take a whole candidate in."""
        for part in objects(mapping(candidate.get("content")).get("parts")):
            text = part.get("text")
            if isinstance(text, str):
                if text:
                    (self.thoughts if part.get("thought") else self.texts).append(text)
                self.signature = word(part.get("thoughtSignature")) or self.signature
            elif mapping(part.get("functionCall")).get("name"):
                self.call(part, style)
            elif "inlineData" in part and not part.get("thought"):
                self.image(part)
        self.tokens += log_probabilities(candidate)
        self.reason = word(candidate.get("finishReason")) or self.reason

    def message(self, style: Style) -> dict[str, Any]:
        """Return OpenAI's `message`."""
        content = None if self.refusal or (self.calls and not self.texts) else "".join(self.texts)
        made: dict[str, Any] = {"role": "assistant", "content": content, "refusal": self.refusal}
        if self.calls and style.legacy:
            made["function_call"] = self.calls[0]["function"]
        elif self.calls:
            made["tool_calls"] = self.calls
        if self.thoughts:
            made["reasoning_content"] = "".join(self.thoughts)
        if self.images:
            made["images"] = self.images
        if self.signature and not self.calls:
            made["extra_content"] = {"google": {"thought_signature": self.signature}}
        return made

    def finish_reason(self, style: Style) -> str:
        """Return OpenAI's word. Gemini says STOP after calls too, so all of the answer counts."""
        if self.refusal or self.reason in _FILTERED:
            return "content_filter"
        if self.reason == "MAX_TOKENS":
            return "length"
        if self.calls:
            return "function_call" if style.legacy else "tool_calls"
        return "content_filter" if self.reason == "OTHER" and not self.spoke else "stop"


def choices_of(document: dict[str, Any], style: Style) -> list[Choice]:
    """Return the choices of a whole answer; a blocked prompt gives one with a refusal.

    Raises UpstreamError where there is neither an answer nor a block.
    """
    found: list[Choice] = []
    for candidate in objects(document.get("candidates")):
        choice = Choice(count(candidate.get("index")))
        choice.add(candidate, style)
        found.append(choice)
    blocked = block_of(document)
    if blocked and not found:
        found.append(Choice(0, refusal=blocked))
    if not found:
        raise UpstreamError("The upstream sent no answer.")
    checked(found)
    return found


def checked(choices: list[Choice]) -> None:
    """Raise UpstreamError where all that came of the answer is a failed call of a function."""
    if any(choice.spoke or choice.reason not in MALFORMED for choice in choices):
        return
    raise UpstreamError("The upstream's model made a malformed function call; try again.")


def block_of(document: dict[str, Any]) -> str | None:
    """Return the refusal of a blocked prompt."""
    reason = word(mapping(document.get("promptFeedback")).get("blockReason"))
    return f"Blocked by Gemini: {reason}" if reason else None


def identity(document: dict[str, Any], model: str, seed: bytes) -> tuple[str, str]:
    """Return the answer's id, without OpenAI's prefix, and the resolved name of its model."""
    found = word(document.get("responseId"))
    found = found or hashlib.blake2b(seed, digest_size=12).hexdigest()
    return found, word(document.get("modelVersion")) or model


def made_at(document: dict[str, Any]) -> int:
    """Return the answer's time in Unix seconds, 0 where Google does not say."""
    try:
        return int(datetime.fromisoformat(str(document.get("createTime"))).timestamp())
    except ValueError:
        return 0


def log_probabilities(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidate's log probabilities, token by token, as OpenAI has them."""
    result = mapping(candidate.get("logprobsResult"))
    tops = [objects(top.get("candidates")) for top in objects(result.get("topCandidates"))]
    found = []
    for position, chosen in enumerate(objects(result.get("chosenCandidates"))):
        top = tops[position] if position < len(tops) else []
        found.append(_token(chosen) | {"top_logprobs": [_token(each) for each in top]})
    return found


def _token(chosen: dict[str, Any]) -> dict[str, Any]:
    text, likely = str(chosen.get("token", "")), chosen.get("logProbability", 0.0)
    number = float(likely) if isinstance(likely, int | float) else 0.0
    return {"token": text, "logprob": number, "bytes": list(text.encode())}


def _tool_call(part: dict[str, Any], style: Style, choice: int, ordinal: int) -> dict[str, Any]:
    function = part["functionCall"]
    name, arguments = str(function.get("name", "")), mapping(function.get("args"))
    own, signature = word(function.get("id")), word(part.get("thoughtSignature"))
    identifier = own or f"call_{_digest(style.seed, choice, ordinal, name)}"
    carried = signature if style.carry else None
    made: dict[str, Any] = {"id": carrier(identifier, own=own is not None, signature=carried)}
    if name in style.custom:
        made |= {"type": "custom", "custom": {"name": name, "input": _input(arguments)}}
    else:
        function = {"name": name, "arguments": _dumped(arguments)}
        made |= {"type": "function", "function": function}
    if signature:
        made["extra_content"] = {"google": {"thought_signature": signature}}
    return made


def _input(arguments: dict[str, Any]) -> str:
    text = arguments.get("input")
    return text if isinstance(text, str) else _dumped(arguments)


def _dumped(arguments: dict[str, Any]) -> str:
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        raise UpstreamError(UNREADABLE) from None


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
