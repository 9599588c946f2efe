"""One generation, plain or streamed, as OpenAI's chat or legacy completion.

Each event of Gemini is an answer of its own with new parts and cumulative usage. Texts, which are
nearly all of a stream, are put together from bytes; nothing else is on that path.
"""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna import (
    ApiRequest,
    Delivered,
    Event,
    EventReader,
    Headers,
    UpstreamError,
    UpstreamRequest,
    Usage,
)
from ezkielyna_gemini.answer import (
    Choice,
    Style,
    block_of,
    checked,
    choices_of,
    identity,
    log_probabilities,
    made_at,
)
from ezkielyna_gemini.errors import CUT, UNREADABLE, error_of, reported
from ezkielyna_gemini.exchange import GeminiExchange
from ezkielyna_gemini.fields import count, mapping, objects, word
from ezkielyna_gemini.usage import shown, usage_of

_BYTES_A_TOKEN = 4


class ChatExchange(GeminiExchange):
    """One chat completion."""

    KIND, CHUNK, PREFIX = "chat.completion", "chat.completion.chunk", "chatcmpl-"
    TEXT_HEAD, TEXT_TAIL = b',"delta":{"content":', b"}"

    def __init__(
        self, asked: ApiRequest, request: UpstreamRequest, model: str, style: Style
    ) -> None:
        super().__init__(asked, request, model)
        self._style = style
        self._reader = EventReader()
        self._choices: dict[int, Choice] = {}
        self._error: UpstreamError | None = None
        self._metadata: dict[str, Any] = {}
        self._id = self._resolved = ""
        self._head = self._tail = self._end = b""
        self._bytes = 0

    @property
    def usage(self) -> Usage | None:  # type: ignore[override]  # nobody else writes it
        """What Google reported last: every event repeats it, so it is read only when wanted."""
        images = sum(len(choice.images) for choice in self._choices.values())
        return usage_of(self._metadata, images) if self._metadata else None

    def feed(self, data: bytes) -> bytes:
        """Return the chunks for the events that these bytes complete."""
        return self._translated(self._reader.feed(data))

    def close(self) -> bytes:
        """Return the finish of every choice, the usage chunk if asked for, and `[DONE]`."""
        out = [self._translated(self._reader.close())]
        if self._error:
            raise self._error
        choices = list(self._choices.values())
        if not choices or not all(choice.reason or choice.refusal for choice in choices):
            raise UpstreamError(CUT)
        checked(choices)
        for choice in choices:
            self._emit(choice, {}, out, reason=choice.finish_reason(self._style))
        if self._asked.wants_usage and self.usage is not None:
            document = self._document(self.CHUNK, []) | {"usage": shown(self)}
            out.append(b"data: " + orjson.dumps(document) + b"\n\n")
        return b"".join([*out, b"data: [DONE]\n\n"])

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the whole completion."""
        document = self._read(body)
        self._begin(document)
        choices = choices_of(document, self._style)
        self._choices = {choice.index: choice for choice in choices}
        self._metadata = mapping(document.get("usageMetadata"))
        made = self._document(self.KIND, [self._whole(choice) for choice in choices])
        return orjson.dumps(made | {"usage": shown(self)})

    def delivered(self) -> Delivered:
        """Return all that was handed on, over all choices."""
        choices = self._choices.values()
        return Delivered(
            "".join(text for choice in choices for text in choice.texts),
            "".join(text for choice in choices for text in choice.thoughts),
            "".join(text for choice in choices for text in choice.arguments()),
        )

    def progress(self) -> int:
        """Return how many tokens so many bytes usually are."""
        return self._bytes // _BYTES_A_TOKEN

    def _translated(self, events: list[Event]) -> bytes:
        """Return the events' chunks. An error waits until what came before it is handed on."""
        if self._error:
            raise self._error
        out: list[bytes] = []
        for event in events:
            self._error = self._event(event.data, out)
            if self._error:
                break
        if self._error and not out:
            raise self._error
        return b"".join(out)

    def _event(self, data: bytes, out: list[bytes]) -> UpstreamError | None:
        """Translate one event, or return the error that it is."""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return UpstreamError(UNREADABLE)
        if not isinstance(document, dict) or document.get("error"):
            error = reported(document)
            return error_of(error) if error else UpstreamError(UNREADABLE)
        if not self._head:
            self._begin(document)
        metadata = document.get("usageMetadata")
        if isinstance(metadata, dict):
            self._metadata = metadata
        try:
            for candidate in objects(document.get("candidates")):
                self._candidate(candidate, out)
        except UpstreamError as error:
            return error
        if "promptFeedback" in document:
            self._block(block_of(document), out)
        return None

    def _begin(self, document: dict[str, Any]) -> None:
        identifier, self._resolved = identity(document, self._model, self.request.body)
        self._style = self._style.seeded(identifier)
        self._id = self.PREFIX + identifier
        self.created = self.created or made_at(document)
        head = orjson.dumps(self._document(self.CHUNK, [])).removesuffix(b"]}")
        self._head = b"data: " + head + b'{"index":'
        self._end = b'],"usage":null}\n\n' if self._asked.wants_usage else b"]}\n\n"
        self._tail = self.TEXT_TAIL + b',"logprobs":null,"finish_reason":null}' + self._end

    def _document(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self.created,
            "model": self._resolved,
            "choices": choices,
        }

    def _candidate(self, candidate: dict[str, Any], out: list[bytes]) -> None:
        content = candidate.get("content")
        parts = objects(content.get("parts")) if isinstance(content, dict) else []
        index = count(candidate.get("index"))
        choice = self._choices.get(index)
        if choice is None:
            choice = self._open(index, out, called=any("functionCall" in p for p in parts[:1]))
        tokens = log_probabilities(candidate) if "logprobsResult" in candidate else None
        for part in parts:
            text = part.get("text")
            if text and isinstance(text, str) and not part.get("thought"):
                encoded = orjson.dumps(text)
                choice.texts.append(text)
                self._bytes += len(encoded) - 2
                if tokens:
                    self._emit(choice, {"content": text}, out, tokens=tokens)
                    tokens = None
                else:
                    out.append(choice.head + encoded + self._tail)
            elif text is None or part.get("thought"):
                self._special(choice, part, out)
        if "finishReason" in candidate:
            choice.reason = word(candidate.get("finishReason")) or choice.reason

    def _open(self, index: int, out: list[bytes], *, called: bool) -> Choice:
        choice = self._choices[index] = Choice(index)
        choice.head = self._head + str(index).encode() + self.TEXT_HEAD
        first = {"content": None} if called else {"content": "", "refusal": None}
        self._emit(choice, {"role": "assistant", **first}, out)
        return choice

    def _special(self, choice: Choice, part: dict[str, Any], out: list[bytes]) -> None:
        text, function = word(part.get("text")), part.get("functionCall")
        if part.get("thought"):
            if text:
                choice.thoughts.append(text)
                self._bytes += len(text)
                self._emit(choice, {"reasoning_content": text}, out)
        elif isinstance(function, dict) and function.get("name"):
            self._call(choice, part, out)
        elif "inlineData" in part:
            self._emit(choice, {"images": [choice.image(part)]}, out)

    def _call(self, choice: Choice, part: dict[str, Any], out: list[bytes]) -> None:
        made = choice.call(part, self._style)
        if made is None:
            return
        self._bytes += sum(map(len, choice.arguments()[-2:]))
        if self._style.legacy:
            self._emit(choice, {"function_call": made["function"]}, out)
        else:
            self._emit(choice, {"tool_calls": [{"index": len(choice.calls) - 1} | made]}, out)

    def _block(self, refusal: str | None, out: list[bytes]) -> None:
        if refusal:
            choice = self._choices.get(0) or self._open(0, out, called=True)
            choice.refusal = refusal
            self._emit(choice, {"refusal": refusal}, out)

    def _emit(
        self,
        choice: Choice,
        delta: dict[str, Any],
        out: list[bytes],
        *,
        tokens: list[dict[str, Any]] | None = None,
        reason: str | None = None,
    ) -> None:
        """Add a chunk that is not plain text."""
        payload = self._payload(delta)
        if payload is not None:
            logprobs = {"content": tokens, "refusal": None} if tokens else None
            payload |= {"logprobs": logprobs, "finish_reason": reason}
            index = str(choice.index).encode()
            out.append(self._head + index + b"," + orjson.dumps(payload)[1:] + self._end)

    def _payload(self, delta: dict[str, Any]) -> dict[str, Any] | None:
        return {"delta": delta}

    def _whole(self, choice: Choice) -> dict[str, Any]:
        logprobs = {"content": choice.tokens, "refusal": None} if choice.tokens else None
        return {
            "index": choice.index,
            "message": choice.message(self._style),
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason(self._style),
        }


class CompletionExchange(ChatExchange):
    """One legacy completion, made of a chat. Thoughts are dropped, tool calls cannot occur."""

    KIND, CHUNK, PREFIX = "text_completion", "text_completion", "cmpl-"
    TEXT_HEAD, TEXT_TAIL = b',"text":', b""

    def _payload(self, delta: dict[str, Any]) -> dict[str, Any] | None:
        return None if delta else {"text": ""}

    def _whole(self, choice: Choice) -> dict[str, Any]:
        return {
            "text": "".join(choice.texts),
            "index": choice.index,
            "logprobs": None,
            "finish_reason": choice.finish_reason(self._style),
        }
