"""Generations: Gemini's answers, plain or streamed, as OpenAI's.

Each event of a stream is an answer of its own with new parts and cumulative usage.
"""

from __future__ import annotations

from ezkielyna import UpstreamError, UpstreamRequest, Usage
from ezkielyna.dialect import (
    CUT,
    Chat,
    ChatExchange,
    Choice,
    Json,
    count,
    made_up_id,
    mapping,
    objects,
    scored_token,
    unix_time,
    word,
)
from ezkielyna_gemini import errors
from ezkielyna_gemini.grounding import notes_of
from ezkielyna_gemini.signatures import carrier
from ezkielyna_gemini.usage import usage_of

_FILTERED = frozenset({
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
})  # fmt: skip
_MALFORMED = frozenset({
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
})  # fmt: skip
"""The model tried to call a function and failed."""


class GeminiExchange(ChatExchange):
    """One chat or legacy completion; `carry` says that ids of calls carry thought signatures."""

    explained = staticmethod(errors.explained)

    def __init__(self, request: UpstreamRequest, chat: Chat, model: str, *, carry: bool) -> None:
        super().__init__(request, chat)
        self._model = model
        self._carry = carry
        self._seed = ""
        self._metadata: Json = {}
        self._reasons: dict[int, str] = {}
        self._signatures: dict[int, str] = {}
        self._grounds: dict[int, Json] = {}

    def reported(self) -> Usage | None:
        """Return what Google reported last: every event repeats it, so it is read when wanted."""
        images = sum(len(choice.images) for choice in self.telling.choices.values())
        return usage_of(self._metadata, images) if self._metadata else None

    def told(self, document: Json) -> None:
        """Tell a whole answer, wrapped in an array or not."""
        self.event(document[0] if isinstance(document, list) else document)
        self._finish_all("The upstream sent no answer.")

    def event(self, document: Json) -> None:
        """Tell the new parts of an event."""
        if "error" in document:
            raise errors.explained(document, 200, None) or UpstreamError(CUT)
        if not self.telling.begun:
            self._begin(document)
        metadata = document.get("usageMetadata")
        if isinstance(metadata, dict):
            self._metadata = metadata
        for candidate in objects(document.get("candidates")):
            self._candidate(candidate)
        if "promptFeedback" in document:
            self._blocked(word(mapping(document["promptFeedback"]).get("blockReason")))

    def finish(self) -> None:
        """Tell the finish of every choice: Gemini's reasons may be followed by more text."""
        if self.telling.choices.keys() > self._reasons.keys():
            raise UpstreamError(CUT)
        self._finish_all(CUT)
        self.end()

    def _finish_all(self, nothing: str) -> None:
        choices = list(self.telling.choices.values())
        if not choices:
            raise UpstreamError(nothing)
        reasons = [self._reasons.get(choice.index, "") for choice in choices]
        if _MALFORMED.issuperset(reasons) and not any(choice.spoke for choice in choices):
            raise UpstreamError("The upstream's model made a malformed function call; try again.")
        for choice, reason in zip(choices, reasons, strict=True):
            for note in notes_of(self._grounds.get(choice.index, {}), "".join(choice.texts)):
                self.telling.cite(choice, note)
            if choice.index in self._signatures and not choice.calls:
                signed = {"thought_signature": self._signatures[choice.index]}
                choice.extra["extra_content"] = {"google": signed}
            self.telling.finish(choice, _finish(choice, reason))

    def _begin(self, document: Json) -> None:
        self._seed = word(document.get("responseId")) or made_up_id(self.request.body)
        model = word(document.get("modelVersion")) or self._model
        self.telling.begin(self._seed, model, self.created or unix_time(document.get("createTime")))

    def _blocked(self, reason: str | None) -> None:
        if reason:
            choice = self.telling.choice(called=True)
            self._reasons[choice.index] = reason
            self.telling.refuse(choice, f"Blocked by Gemini: {reason}")

    def _candidate(self, candidate: Json) -> None:
        content = candidate.get("content")
        parts = objects(content.get("parts")) if isinstance(content, dict) else []
        index = count(candidate.get("index"))
        choice = self.telling.choices.get(index)
        if choice is None:
            called = bool(parts) and "functionCall" in parts[0]
            choice = self.telling.choice(index, called=called)
        tokens = _tokens(candidate) if "logprobsResult" in candidate else []
        for part in parts:
            text = part.get("text")
            if not text or part.get("thought") or not isinstance(text, str):
                self._special(choice, part)
            elif tokens:
                self.telling.say_scored(choice, text, tokens)
                tokens = []
            else:
                self.telling.say(choice, text)
            if "thoughtSignature" in part and (signature := word(part["thoughtSignature"])):
                self._signatures[index] = signature
        if "finishReason" in candidate and (reason := word(candidate["finishReason"])):
            self._reasons[index] = reason
        if "groundingMetadata" in candidate or "citationMetadata" in candidate:
            self._grounds[index] = self._grounds.get(index, {}) | candidate

    def _special(self, choice: Choice, part: Json) -> None:
        """Tell a part that is no text; unknown ones say nothing."""
        thought, function = word(part.get("text")), mapping(part.get("functionCall"))
        image = mapping(part.get("inlineData"))
        if part.get("thought"):
            if thought:
                self.telling.think(choice, thought)
        elif name := word(function.get("name")):
            self._call(choice, name, function, word(part.get("thoughtSignature")))
        elif image:
            mime, data = image.get("mimeType", "image/png"), image.get("data", "")
            self.telling.show(choice, f"data:{mime};base64,{data}")

    def _call(self, choice: Choice, name: str, function: Json, signature: str | None) -> None:
        own = word(function.get("id"))
        made = own or f"call_{made_up_id(self._seed, choice.index, len(choice.calls), name)}"
        made = carrier(made, own=own is not None, signature=signature if self._carry else None)
        signed = {"google": {"thought_signature": signature}}
        extra: Json = {"extra_content": signed} if signature else {}
        self.telling.call_whole(choice, made, name, mapping(function.get("args")), **extra)


def _finish(choice: Choice, reason: str) -> str:
    """Return OpenAI's word. Gemini says STOP after calls too, so all of the answer counts."""
    if choice.refusal or reason in _FILTERED:
        return "content_filter"
    if reason == "MAX_TOKENS":
        return "length"
    if choice.calls:
        return "tool_calls"
    return "content_filter" if reason == "OTHER" and not choice.spoke else "stop"


def _tokens(candidate: Json) -> list[Json]:
    """Return the candidate's log probabilities, token by token, as OpenAI has them."""
    result = mapping(candidate.get("logprobsResult"))
    tops = [objects(top.get("candidates")) for top in objects(result.get("topCandidates"))]
    found = []
    for position, chosen in enumerate(objects(result.get("chosenCandidates"))):
        top = tops[position] if position < len(tops) else []
        found.append(_scored(chosen, [_scored(each) for each in top]))
    return found


def _scored(chosen: Json, top: list[Json] | None = None) -> Json:
    return scored_token(str(chosen.get("token", "")), chosen.get("logProbability"), top)
