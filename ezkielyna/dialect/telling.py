"""Answers in OpenAI's words: chunk by chunk while a model speaks, or as one whole document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ezkielyna.contract.money import Nano, usd_json
from ezkielyna.contract.provider import Delivered
from ezkielyna.contract.requests import CompletionRequest
from ezkielyna.contract.usage import Usage, chat_usage
from ezkielyna.dialect.chat import Chat
from ezkielyna.dialect.reading import Json

DONE = b"data: [DONE]\n\n"
BYTES_PER_TOKEN = 4
_TOLD_APART = 4096


@dataclass(frozen=True, slots=True)
class Style:
    """In which form a client wants its answer.

    `legacy` is the endpoint /completions, `functions` the deprecated style of calls, `custom` the
    names of tools of free text, `single` at most one call.
    """

    legacy: bool
    functions: bool
    single: bool
    streamed: bool
    wants_usage: bool
    custom: frozenset[str]

    @classmethod
    def of(cls, chat: Chat) -> Style:
        """Return the style of the answer to a chat."""
        return cls(
            legacy=isinstance(chat.request, CompletionRequest),
            functions=chat.tools.legacy,
            single=chat.tools.single,
            streamed=chat.request.streamed,
            wants_usage=chat.request.wants_usage,
            custom=chat.tools.custom,
        )


class ToolCall:
    """A call while it is told. `at` counts the calls of its choice; `id` is the client's."""

    __slots__ = ("at", "custom", "extra", "fragments", "id", "name")

    def __init__(self, at: int, identifier: str, name: str, *, custom: bool, extra: Json) -> None:
        self.at = at
        self.id = identifier
        self.name = name
        self.custom = custom
        self.extra = extra
        self.fragments: list[str] = []

    @property
    def arguments(self) -> str:
        """The arguments, or the free text, so far."""
        return "".join(self.fragments)

    def document(self, given: str) -> Json:
        """Return the call as OpenAI writes it, with these arguments."""
        kind, content = ("custom", "input") if self.custom else ("function", "arguments")
        inner = {"name": self.name, content: given}
        return {"id": self.id, "type": kind, kind: inner, **self.extra}


class Choice:
    """What one choice has said so far. `extra` are further fields of a whole message."""

    __slots__ = (
        "annotations", "before", "calls", "extra", "images", "index", "reason", "reasoning",
        "refusal", "texts", "tokens",
    )  # fmt: skip

    def __init__(self, index: int, before: bytes) -> None:
        self.index = index
        self.before = before
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.images: list[Json] = []
        self.annotations: list[Json] = []
        self.tokens: list[Json] = []
        self.refusal: str | None = None
        self.reason = ""
        self.extra: Json = {}

    @property
    def spoke(self) -> bool:
        """True when there is something to deliver."""
        return bool(self.texts or self.calls or self.images)


class Telling:
    """Tells one answer; the order of calls is the order of what the model said.

    `begin` comes first. `take` returns the chunks since the last time; nothing is held back, but
    for the input of custom tools, which is only known when its JSON is whole. An answer that is not
    streamed makes no chunks; `whole` returns it. `size` is about how many bytes were told.
    """

    def __init__(self, style: Style) -> None:
        self.style = style
        self.choices: dict[int, Choice] = {}
        self.size = 0
        self.begun = False
        self._out: list[bytes] = []
        self._head = self._tail = self._text_tail = b""
        self._identity: Json = {}

    def begin(self, identifier: str, model: str, created: int) -> None:
        """Say which answer this is; `created` is its Unix time. A second time changes nothing."""
        if self.begun:
            return
        self.begun = True
        legacy = self.style.legacy
        prefix = "cmpl-" if legacy else "chatcmpl-"
        chunk = "text_completion" if legacy else "chat.completion.chunk"
        self._identity = {
            "id": identifier if identifier.startswith(prefix) else prefix + identifier,
            "object": chunk if self.style.streamed else chunk.removesuffix(".chunk"),
            "created": created,
            "model": model,
        }
        self._head = b"data: " + orjson.dumps(self._identity)[:-1] + b',"choices":[{"index":'
        self._tail = b'],"usage":null}\n\n' if self.style.wants_usage else b"]}\n\n"
        end = b',"logprobs":null,"finish_reason":null}' + self._tail
        self._text_tail = end if legacy else b"}" + end

    def choice(self, index: int = 0, *, called: bool = False) -> Choice:
        """Return a choice; the first time its role is told. `called`: it begins with a call."""
        found = self.choices.get(index)
        if found is not None:
            return found
        kind = b',"text":' if self.style.legacy else b',"delta":{"content":'
        made = self.choices[index] = Choice(index, b"%b%d%b" % (self._head, index, kind))
        first: Json = {"content": None} if called else {"content": "", "refusal": None}
        self.add(made, {"role": "assistant", **first})
        return made

    def say(self, choice: Choice, text: str) -> None:
        """Tell text. Nearly all of a stream goes this way: chunks are put together from bytes."""
        encoded = orjson.dumps(text)
        choice.texts.append(text)
        self.size += len(encoded) - 2
        if self.style.streamed:
            self._out.append(choice.before + encoded + self._text_tail)

    def say_scored(self, choice: Choice, text: str, tokens: list[Json]) -> None:
        """Tell text with the log probabilities of its tokens."""
        choice.texts.append(text)
        choice.tokens += tokens
        self.size += len(text.encode())
        self.add(choice, {"content": text}, tokens)

    def think(self, choice: Choice, text: str) -> None:
        """Tell reasoning."""
        choice.reasoning.append(text)
        self.size += len(text.encode())
        self.add(choice, {"reasoning_content": text})

    def refuse(self, choice: Choice, why: str) -> None:
        """Tell that and why the model, or its guard, refused."""
        choice.refusal = why
        self.add(choice, {"refusal": why})

    def show(self, choice: Choice, url: str) -> None:
        """Tell an image, in the shape that other gateways have made common."""
        image = {"type": "image_url", "image_url": {"url": url}, "index": len(choice.images)}
        choice.images.append(image)
        self.add(choice, {"images": [image]})

    def cite(self, choice: Choice, annotation: Json) -> None:
        """Tell an annotation of the text, such as `url_citation` gives."""
        choice.annotations.append(annotation)
        self.add(choice, {"annotations": [annotation]})

    def call(self, choice: Choice, identifier: str, name: str, **extra: Any) -> ToolCall | None:
        """Begin a call whose arguments come in pieces; None where the client wants no more.

        `argue` tells the pieces and `called` ends it. `extra` are further fields of the call.
        """
        made = self._called(choice, identifier, name, extra)
        if made is not None:
            self._tell_call(choice, made, "")
        return made

    def argue(self, choice: Choice, call: ToolCall, fragment: str) -> None:
        """Tell a piece of a call's arguments; those of a custom tool wait for their end."""
        call.fragments.append(fragment)
        self.size += len(fragment.encode())
        if not call.custom:
            self._tell_arguments(choice, call, fragment)

    def called(self, choice: Choice, call: ToolCall, given: Json | None = None) -> None:
        """End a call. Where no arguments came, they are what the upstream gave at its start."""
        if not call.fragments:
            self.argue(choice, call, _dumped(given or {}))
        if call.custom:
            call.fragments = [free_text(call.arguments)]
            self._tell_arguments(choice, call, call.arguments)

    def call_whole(
        self, choice: Choice, identifier: str, name: str, arguments: Json, **extra: Any
    ) -> None:
        """Tell a call in one piece."""
        made = self._called(choice, identifier, name, extra)
        if made is not None:
            given = _dumped(arguments)
            made.fragments = [free_text(given) if made.custom else given]
            self.size += len(made.arguments.encode())
            self._tell_call(choice, made, made.arguments)

    def add(self, choice: Choice, delta: Json, tokens: list[Json] | None = None) -> None:
        """Tell a delta of any kind; legacy completions have text only."""
        if self.style.legacy:
            if delta.get("role") or "content" not in delta:
                return
            self._emit(choice, {"text": delta["content"]}, tokens, None)
        else:
            self._emit(choice, {"delta": delta}, tokens, None)

    def finish(self, choice: Choice, reason: str) -> None:
        """Tell why a choice ended, once, after all it said; `reason` is OpenAI's word."""
        if reason == "tool_calls":
            style = "function_call" if self.style.functions else reason
            reason = style if choice.calls else "stop"
        choice.reason = reason
        last: Json = {"text": ""} if self.style.legacy else {"delta": {}}
        self._emit(choice, last, None, reason)

    def end(self, usage: Json | None) -> None:
        """Tell the usage, where the client asked for it and there is one, and the end."""
        if self.style.wants_usage and usage is not None:
            chunk = {**self._identity, "choices": [], "usage": usage}
            self._out.append(b"data: " + orjson.dumps(chunk) + b"\n\n")
        self._out.append(DONE)

    def take(self) -> bytes:
        """Return the chunks that were told since the last time."""
        out = self._out
        if len(out) == 1:
            return out.pop()
        joined = b"".join(out)
        out.clear()
        return joined

    def whole(self, usage: Json | None) -> bytes:
        """Return the whole answer."""
        choices = [self._whole(choice) for choice in self.choices.values()]
        shown = {} if usage is None else {"usage": usage}
        return orjson.dumps({**self._identity, "choices": choices, **shown})

    def delivered(self) -> Delivered:
        """Return what was told so far, over all choices."""
        choices = self.choices.values()
        return Delivered(
            "".join(text for choice in choices for text in choice.texts),
            "".join(text for choice in choices for text in choice.reasoning),
            "".join(call.name + call.arguments for choice in choices for call in choice.calls),
        )

    def progress(self) -> int:
        """Return how many tokens so many bytes usually are."""
        return self.size // BYTES_PER_TOKEN

    def _called(self, choice: Choice, identifier: str, name: str, extra: Json) -> ToolCall | None:
        if choice.calls and self.style.single:
            return None
        custom = name in self.style.custom
        made = ToolCall(len(choice.calls), identifier, name, custom=custom, extra=extra)
        choice.calls.append(made)
        self.size += len(name.encode())
        return made

    def _tell_call(self, choice: Choice, call: ToolCall, given: str) -> None:
        if self.style.functions:
            self.add(choice, {"function_call": {"name": call.name, "arguments": given}})
        else:
            self.add(choice, {"tool_calls": [{"index": call.at, **call.document(given)}]})

    def _tell_arguments(self, choice: Choice, call: ToolCall, fragment: str) -> None:
        if self.style.functions:
            self.add(choice, {"function_call": {"arguments": fragment}})
        else:
            kind, content = ("custom", "input") if call.custom else ("function", "arguments")
            self.add(choice, {"tool_calls": [{"index": call.at, kind: {content: fragment}}]})

    def _emit(
        self, choice: Choice, payload: Json, tokens: list[Json] | None, reason: str | None
    ) -> None:
        if self.style.streamed:
            payload["logprobs"] = {"content": tokens, "refusal": None} if tokens else None
            payload["finish_reason"] = reason
            self._out.append(
                b"%b%d,%b%b" % (self._head, choice.index, orjson.dumps(payload)[1:], self._tail)
            )

    def _whole(self, choice: Choice) -> Json:
        text = "".join(choice.texts)
        logprobs = {"content": choice.tokens, "refusal": None} if choice.tokens else None
        end = {"index": choice.index, "logprobs": logprobs, "finish_reason": choice.reason}
        if self.style.legacy:
            return {"text": text, **end}
        silent = choice.calls or choice.refusal
        message: Json = {"role": "assistant", "content": text if text or not silent else None}
        message["refusal"] = choice.refusal
        calls = [call.document(call.arguments) for call in choice.calls]
        if calls and self.style.functions:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if choice.images:
            message["images"] = choice.images
        if choice.annotations:
            message["annotations"] = choice.annotations
        return {"message": {**message, **choice.extra}, **end}


def shown_usage(usage: Usage | None, price: Callable[[Usage], Nano] | None) -> Json | None:
    """Return the usage as a client sees it, with its cost; None where it is not to be believed.

    Without any it is all zeros, and has no cost.
    """
    if usage is None:
        return chat_usage(Usage())
    if not usage.plausible:
        return None
    cost = {} if price is None else {"cost": usd_json(price(usage))}
    return {**chat_usage(usage), **cost}


def url_citation(url: str, title: str, start: int, end: int) -> Json:
    """Return the annotation for characters `start` to `end` of the text that came from a page."""
    cited = {"start_index": start, "end_index": end, "url": url, "title": title}
    return {"type": "url_citation", "url_citation": cited}


def scored_token(token: str, logprob: Any, top: list[Json] | None = None) -> Json:
    """Return a token with its log probability, 0 for what is none, and the alternatives to it."""
    number = float(logprob) if isinstance(logprob, int | float) else 0.0
    scored: Json = {"token": token, "logprob": number, "bytes": list(token.encode())}
    return scored if top is None else {**scored, "top_logprobs": top}


def unix_time(stated: Any) -> int:
    """Return an RFC 3339 time in Unix seconds, 0 for what is none."""
    try:
        return int(datetime.fromisoformat(str(stated)).timestamp())
    except ValueError:
        return 0


def made_up_id(*parts: Any) -> str:
    """Return an id for what its upstream gave none: of the same parts always the same.

    Of long bytes only size and end count, as they may be an image: a chat grows at its end.
    """
    short = [
        (len(part), part[-_TOLD_APART:]) if isinstance(part, bytes) else part for part in parts
    ]
    return hashlib.blake2b(repr(short).encode(), digest_size=12).hexdigest()


def free_text(arguments: str) -> str:
    """Return the input of a custom tool: the one string among its arguments, else all of them."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    found = given.get("input") if isinstance(given, dict) else None
    return found if isinstance(found, str) else arguments


def _dumped(arguments: Json) -> str:
    return orjson.dumps(arguments).decode()
