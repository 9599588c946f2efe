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
    put,
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

_VALUES = ("stringValue", "numberValue", "boolValue")
"""What a piece of arguments may hold; anything else is null."""


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
        self._open: dict[int, Json] = {}

    def reported(self) -> Usage | None:
        """Return what Google reported last: every event repeats it, so it is read when wanted.

        Early events leave out the output, and some everything: what is missing is estimated, here
        or by the core, should the stream be cut.
        """
        if not count(self._metadata.get("promptTokenCount")):
            return None
        images = sum(len(choice.images) for choice in self.telling.choices.values())
        usage = usage_of(self._metadata, images)
        if usage.output_total or self.ended or not self.telling.size:
            return usage
        return usage._replace(output=max(1, self.progress()), source="estimated")

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
        if reason := word(mapping(document.get("promptFeedback")).get("blockReason")):
            choice = self.telling.choice(called=True)
            self._reasons[choice.index] = reason
            self.telling.refuse(choice, f"Blocked by Gemini: {reason}")

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
            self._complete(choice)
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
        thought, image = word(part.get("text")), mapping(part.get("inlineData"))
        if part.get("thought"):
            if thought:
                self.telling.think(choice, thought)
        elif "functionCall" in part:
            signature = word(part.get("thoughtSignature"))
            self._function(choice, mapping(part["functionCall"]), signature)
        elif image:
            mime, data = image.get("mimeType", "image/png"), image.get("data", "")
            self.telling.show(choice, f"data:{mime};base64,{data}")

    def _function(self, choice: Choice, function: Json, signature: str | None) -> None:
        """Tell a call once it is complete. Vertex AI may send its arguments as values at paths, in
        any order, which JSON text cannot follow.
        """
        if "name" in function:
            self._complete(choice)
            self._open[choice.index] = {**function, "args": mapping(function.get("args"))}
            self._open[choice.index]["signature"] = signature
        opened = self._open.get(choice.index, {})
        for piece in objects(function.get("partialArgs")):
            value = next((piece[kind] for kind in _VALUES if kind in piece), None)
            put(opened["args"], piece["jsonPath"], value)
        if function.get("willContinue") is not True:
            self._complete(choice)

    def _complete(self, choice: Choice) -> None:
        call = self._open.pop(choice.index, {})
        if name := word(call.get("name")):
            own, signature = word(call.get("id")), call["signature"]
            made = own or f"call_{made_up_id(self._seed, choice.index, len(choice.calls), name)}"
            made = carrier(made, own=own is not None, signature=signature if self._carry else None)
            signed = {"google": {"thought_signature": signature}}
            extra: Json = {"extra_content": signed} if signature else {}
            self.telling.call_whole(choice, made, name, call["args"], **extra)


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
    chosen, tops = objects(result.get("chosenCandidates")), objects(result.get("topCandidates"))
    tops += [{}] * (len(chosen) - len(tops))
    return [
        _scored(one, [_scored(each) for each in objects(top.get("candidates"))])
        for one, top in zip(chosen, tops, strict=False)
    ]


def _scored(chosen: Json, top: list[Json] | None = None) -> Json:
    return scored_token(str(chosen.get("token", "")), chosen.get("logProbability"), top)
