"""OpenAI-shaped answers to OpenAI-shaped requests. Pure, apart from the time in `created`."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from ezkielyna_simulator import samples
from ezkielyna_simulator.script import Script

MODELS = ("sim-gpt", "sim-reasoning", "sim-embedding", "sim-image")
DONE = b"data: [DONE]\n\n"

MOST_DIMENSIONS = 3_072
MOST_INPUTS = 2_048
"""As OpenAI has them; a vector is computed in one go, while every other request waits."""

Document = dict[str, Any]


class Refused(Exception):
    """A request that is answered with an error of this status."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param

    def body(self) -> bytes:
        """Return OpenAI's error document."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = "requests" if self.status == 429 else kind
        code = {404: "model_not_found", 429: "rate_limit_exceeded"}.get(self.status)
        error = {"message": self.message, "type": kind, "param": self.param, "code": code}
        return orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: what is said, token by token, and how it ends."""

    index: int
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    call: tuple[str, str] | None = None
    finish_reason: str = "stop"

    @property
    def tokens(self) -> int:
        """How many tokens it has; a call counts its arguments."""
        called = samples.tokens("".join(self.call)) if self.call else 0
        return len(self.content) + len(self.reasoning) + called


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sends: one body, or the events of a stream."""

    body: bytes = b""
    events: list[bytes] | None = None


def models() -> bytes:
    """Return the list of models."""
    items = [
        {"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in MODELS
    ]
    return orjson.dumps({"object": "list", "data": items})


def chat(request: Document, script: Script) -> Answer:
    """Answer POST /chat/completions."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "'messages' must be a list with a message in it.", "messages")
    prompt = _last(messages)
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    spoken = [
        _choice(request, prompt, script, index, limit) for index in range(request.get("n") or 1)
    ]
    counted = sum(4 + samples.tokens(_text(message)) for message in messages)
    frame = Frame(request, "chat.completion", counted, spoken, script)
    if request.get("stream"):
        return Answer(events=list(_streamed(frame, _deltas)))
    return Answer(frame.document([_message(choice) for choice in spoken]))


def completion(request: Document, script: Script) -> Answer:
    """Answer POST /completions; several prompts have `n` answers each."""
    prompts = _prompts(request.get("prompt", ""))
    limit = request.get("max_tokens", 16)
    count = request.get("n") or 1
    spoken = [
        _bounded(index, samples.text(prompts[index // count], script.seed, index), script, limit)
        for index in range(len(prompts) * count)
    ]
    counted = sum(samples.tokens(prompt) for prompt in prompts)
    frame = Frame(request, "text_completion", counted, spoken, script)
    if request.get("stream"):
        return Answer(events=list(_streamed(frame, _texts)))
    return Answer(
        frame.document(
            [
                _member(choice.index, {"text": "".join(choice.content)}, choice.finish_reason)
                for choice in spoken
            ]
        )
    )


def embeddings(request: Document, script: Script) -> Answer:
    """Answer POST /embeddings with vectors of length one."""
    inputs = _prompts(request.get("input", ""))
    if len(inputs) > MOST_INPUTS:
        raise Refused(400, f"'input' may hold {MOST_INPUTS:,} texts at the most.", "input")
    size = request.get("dimensions") or 256
    if not 1 <= size <= MOST_DIMENSIONS:
        raise Refused(400, f"'dimensions' must be from 1 to {MOST_DIMENSIONS:,}.", "dimensions")
    as_text = request.get("encoding_format") == "base64"
    data = []
    for index, content in enumerate(inputs):
        vector: Any = samples.vector(content, size, script.seed)
        if as_text:
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    counted = sum(samples.tokens(content) for content in inputs)
    document: Document = {"object": "list", "data": data, "model": request.get("model")}
    if script.usage:
        document["usage"] = {"prompt_tokens": counted, "total_tokens": counted}
    return Answer(orjson.dumps(document))


def images(request: Document, script: Script) -> Answer:
    """Answer POST /images/generations with small pictures; never with an address."""
    prompt = str(request.get("prompt", ""))
    drawn = [
        base64.b64encode(samples.picture(prompt, script.seed, number)).decode()
        for number in range(request.get("n") or 1)
    ]
    shared = {"background": "opaque", "output_format": "png", "quality": "low", "size": "64x64"}
    usage = _image_usage(samples.tokens(prompt), len(drawn))
    if request.get("stream"):
        return Answer(events=_image_events(drawn, shared, usage, request))
    data = [{"b64_json": picture} for picture in drawn]
    document: Document = {"created": int(time.time()), **shared, "data": data}
    if script.usage:
        document["usage"] = usage
    return Answer(orjson.dumps(document))


ENDPOINTS: dict[str, Callable[[Document, Script], Answer]] = {
    "/chat/completions": chat,
    "/completions": completion,
    "/embeddings": embeddings,
    "/images/generations": images,
}


class Frame:
    """What the chunks of one answer share."""

    __slots__ = ("_request", "_shared", "_usage", "asked", "choices")

    def __init__(
        self, request: Document, kind: str, counted: int, choices: list[Choice], script: Script
    ) -> None:
        self._request = request
        self.choices = choices
        options = request.get("stream_options") or {}
        self.asked = bool(options.get("include_usage")) and script.usage
        number = samples.digest(orjson.dumps(request).decode(), script.seed, 0)
        prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
        chunk = ".chunk" if request.get("stream") and kind == "chat.completion" else ""
        self._shared = {
            "id": f"{prefix}-{number % 16**24:024x}",
            "object": kind + chunk,
            "created": int(time.time()),
            "model": request.get("model"),
        }
        self._usage = _usage(counted, choices) if script.usage else None

    def document(self, choices: list[Document]) -> bytes:
        """Return a plain answer."""
        document = {**self._shared, "choices": choices}
        if self._usage is not None:
            document["usage"] = self._usage
        return orjson.dumps(document)

    def chunk(self, choice: Document) -> bytes:
        """Return an event; with a usage of null, where usage is asked for, as OpenAI does."""
        document: Document = {**self._shared, "choices": [choice]}
        if self.asked:
            document["usage"] = None
        return b"data: " + orjson.dumps(document) + b"\n\n"

    def usage_chunk(self) -> bytes:
        """Return the last chunk, which has the usage and no choice."""
        document: Document = {**self._shared, "choices": [], "usage": self._usage}
        return b"data: " + orjson.dumps(document) + b"\n\n"


def _streamed(
    frame: Frame, parts: Callable[[Choice], Iterator[tuple[Document, str | None]]]
) -> Iterator[bytes]:
    for choice in frame.choices:
        for body, finish in parts(choice):
            yield frame.chunk(_member(choice.index, body, finish))
    if frame.asked:
        yield frame.usage_chunk()
    yield DONE


def _deltas(choice: Choice) -> Iterator[tuple[Document, str | None]]:
    content = None if choice.call else ""
    yield {"delta": {"role": "assistant", "content": content, "refusal": None}}, None
    for piece in choice.reasoning:
        yield {"delta": {"reasoning_content": piece}}, None
    for piece in choice.content:
        yield {"delta": {"content": piece}}, None
    if choice.call:
        function = {"name": choice.call[0], "arguments": ""}
        start = {"index": 0, "id": _call_id(choice), "type": "function", "function": function}
        yield {"delta": {"tool_calls": [start]}}, None
        rest = {"index": 0, "function": {"arguments": choice.call[1]}}
        yield {"delta": {"tool_calls": [rest]}}, None
    yield {"delta": {}}, choice.finish_reason


def _texts(choice: Choice) -> Iterator[tuple[Document, str | None]]:
    for piece in choice.content:
        yield {"text": piece}, None
    yield {"text": ""}, choice.finish_reason


def _message(choice: Choice) -> Document:
    message: Document = {"role": "assistant", "content": "".join(choice.content), "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.call:
        function = {"name": choice.call[0], "arguments": choice.call[1]}
        message["content"] = None
        message["tool_calls"] = [{"id": _call_id(choice), "type": "function", "function": function}]
    return _member(choice.index, {"message": message}, choice.finish_reason)


def _member(index: int, body: Document, finish: str | None) -> Document:
    return {"index": index, **body, "logprobs": None, "finish_reason": finish}


def _choice(
    request: Document, prompt: str, script: Script, index: int, limit: int | None
) -> Choice:
    called = _forced_call(request)
    if called is not None:
        named = isinstance(request.get("tool_choice"), dict)
        return Choice(index, call=called, finish_reason="stop" if named else "tool_calls")
    form = request.get("response_format") or {}
    if form.get("type") in ("json_object", "json_schema"):
        schema = (form.get("json_schema") or {}).get("schema")
        sample = samples.value(schema) if schema else {"simulated": True, "said": prompt[:80]}
        return _bounded(index, orjson.dumps(sample).decode(), Script(), limit)
    thinking = []
    if "reason" in str(request.get("model")):
        thinking = samples.pieces(samples.thought(prompt))
    content = samples.text(prompt, script.seed, index)
    for stop in _stops(request):
        content = content.partition(stop)[0]
    return _bounded(index, content, script, limit, thinking)


def _bounded(
    index: int, content: str, script: Script, limit: int | None, thinking: list[str] | None = None
) -> Choice:
    """Return the choice within the client's limit, which reasoning counts towards."""
    reasoning, said = thinking or [], samples.pieces(content, script.tokens)
    if limit is None or len(reasoning) + len(said) <= limit:
        return Choice(index, said, reasoning)
    reasoning = reasoning[:limit]
    return Choice(index, said[: limit - len(reasoning)], reasoning, finish_reason="length")


def _forced_call(request: Document) -> tuple[str, str] | None:
    """Return the call that `tool_choice` demands: a name, and arguments that fit its schema."""
    tools = [tool.get("function") or {} for tool in request.get("tools") or []]
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        tools = [tool for tool in tools if tool.get("name") == name]
    elif choice != "required":
        return None
    if not tools:
        raise Refused(400, "'tool_choice' demands a tool that is not in 'tools'.", "tool_choice")
    arguments = samples.value(tools[0].get("parameters") or {"type": "object"})
    return tools[0].get("name", ""), orjson.dumps(arguments).decode()


def _usage(counted: int, choices: list[Choice]) -> Document:
    said = sum(choice.tokens for choice in choices)
    thought = sum(len(choice.reasoning) for choice in choices)
    return {
        "prompt_tokens": counted,
        "completion_tokens": said,
        "total_tokens": counted + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def _image_usage(prompt: int, drawn: int) -> Document:
    made = 16 * drawn
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"text_tokens": prompt, "image_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": prompt + made,
    }


def _image_events(
    drawn: list[str], shared: Document, usage: Document, request: Document
) -> list[bytes]:
    document = {"created_at": int(time.time()), **shared, "b64_json": drawn[0]}
    events = [
        _named("image_generation.partial_image", {**document, "partial_image_index": index})
        for index in range(request.get("partial_images") or 0)
    ]
    return [*events, _named("image_generation.completed", {**document, "usage": usage})]


def _named(name: str, document: Document) -> bytes:
    body = orjson.dumps({"type": name, **document})
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


def _call_id(choice: Choice) -> str:
    return f"call_simulated{choice.index:012d}"


def _stops(request: Document) -> list[str]:
    """Return what ends the text; an empty text among them ends nothing."""
    stop = request.get("stop") or []
    return [text for text in ([stop] if isinstance(stop, str) else stop) if text]


def _prompts(prompt: Any) -> list[str]:
    """Return the prompts as texts; token ids stand for a word each."""
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [" ".join(map(str, prompt))]
    return [_prompts(part)[0] for part in prompt] or [""]


def _last(messages: list[Document]) -> str:
    spoken = [message for message in messages if message.get("role") == "user"]
    return _text((spoken or messages)[-1])


def _text(message: Document) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")
