"""Messages: from OpenAI's turns to Anthropic's `system` and alternating messages."""

from __future__ import annotations

import re

from ezkielyna.dialect import Call, Json, Part, Turn, append, named, unsupported
from ezkielyna_anthropic import carrier

OPENING: Json = {"type": "text", "text": "(The conversation begins here.)"}
"""Stands in for the user's words where Anthropic wants some and the client sent none."""

TOOL_NAMES = re.compile(r"[a-zA-Z0-9_-]{1,128}")
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
FILES = frozenset({"application/pdf", "text/plain"})

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


class Conversation:
    """Writes turns; then `system` and `turns` are what Anthropic takes.

    Results come first in the message after their calls, no id occurs twice, no text is blank.
    `tools` are the names of the tools that were called.
    """

    def __init__(self, turns: list[Turn], *, system_in_place: bool) -> None:
        """Write all turns; raises InvalidRequest or Unsupported naming the place."""
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.tools: set[str] = set()
        self._used: set[str] = set()
        for turn in turns:
            if turn.role == "system" and not (system_in_place and self.turns):
                self.system += blocks_of(turn.parts)
            elif turn.role == "assistant":
                self._assistant(turn)
            else:
                append(self.turns, turn.role, blocks_of(turn.parts), "content")
        if not self.turns or self.turns[0]["role"] != "user":
            self.turns.insert(0, {"role": "user", "content": [OPENING]})
        last = self.turns[-1]["content"][-1]
        if self.turns[-1]["role"] == "assistant" and last["type"] == "text":
            last["text"] = last["text"].rstrip()  # a prefill may not end in blanks

    def _assistant(self, turn: Turn) -> None:
        """Write thinking and text, then the calls, and their results as the user's."""
        blocks: list[Json] = []
        first: list[carrier.Placed] = []
        ids: dict[int, str] = {}
        for at, call in enumerate(turn.calls):
            bare, carried = carrier.unpacked(call.id or "function_call")
            if at == 0:
                first = carried
            else:
                blocks += [thought for _, thought in carried]
            ids[id(call)] = self._fresh(bare)
            blocks.append(self._call(call, ids[id(call)]))
        append(self.turns, "assistant", _with_thinking(turn, first) + blocks, "content")
        results = [_result(call, ids[id(call)]) for call in turn.results]
        append(self.turns, "user", results, "content")

    def _call(self, call: Call, own: str) -> Json:
        name = named(call.name, TOOL_NAMES, f"{call.where}.function.name")
        self.tools.add(name)
        block = {"type": "tool_use", "id": own, "name": name, "input": call.arguments}
        return marked(block, call.given)

    def _fresh(self, bare: str) -> str:
        """Return the id as Anthropic takes it: of its alphabet, and never twice."""
        base = fresh = _NOT_IN_IDS.sub("_", bare) or "call"
        again = 1
        while fresh in self._used:
            again += 1
            fresh = f"{base}_{again}"
        self._used.add(fresh)
        return fresh


def marked(block: Json, given: Json) -> Json:
    """Return the block with the `cache_control` of the client's object."""
    if isinstance(given.get("cache_control"), dict):
        block["cache_control"] = given["cache_control"]
    elif given.get("prompt_cache_breakpoint"):
        block["cache_control"] = {"type": "ephemeral"}
    return block


def blocks_of(parts: list[Part]) -> list[Json]:
    """Return parts as blocks, blank text left out, which Anthropic refuses."""
    kept = [part for part in parts if part.kind != "text" or part.text.strip()]
    return [marked(_block(part), part.given) for part in kept]


def _block(part: Part) -> Json:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "audio":
        raise unsupported(part.where, "audio here")
    if part.id:
        raise unsupported(f"{part.where}.file.file_id", "files that were uploaded before")
    if part.kind == "image":
        return {"type": "image", "source": _source(part, IMAGES)}
    block: Json = {"type": "document", "source": _source(part, FILES)}
    if part.name:
        block["title"] = part.name
    if isinstance(part.given.get("citations"), dict):
        block["citations"] = part.given["citations"]
    return block


def _source(part: Part, allowed: frozenset[str]) -> Json:
    if part.url:
        return {"type": "url", "url": part.url}
    if part.mime not in allowed:
        raise unsupported(part.where, f"data of type {part.mime}")
    if part.mime == "text/plain":
        return {"type": "text", "media_type": part.mime, "data": part.decoded()}
    return {"type": "base64", "media_type": part.mime, "data": part.quoted}


def _result(call: Call, own: str) -> Json:
    given = call.result_given or {}
    block: Json = {"type": "tool_result", "tool_use_id": own}
    content = blocks_of(call.result)
    if content:
        block["content"] = content
    if given.get("is_error") is True:
        block["is_error"] = True
    return marked(block, given)


def _with_thinking(turn: Turn, carried: list[carrier.Placed]) -> list[Json]:
    """Return the said blocks with the thinking before the text that came after it."""
    said = blocks_of(turn.parts)
    if not carried:
        returned = turn.given.get("thinking_blocks")
        blocks = returned if isinstance(returned, list) else []
        return [block for block in blocks if carrier.thinking(block)] + said
    if not any(at for at, _ in carried):
        return [block for _, block in carried] + said
    text = "".join(block["text"] for block in said)
    result: list[Json] = []
    done = 0
    for at, block in carried:
        if text[done:at].strip():
            result.append({"type": "text", "text": text[done:at]})
            done = at
        result.append(block)
    return result + ([{"type": "text", "text": text[done:]}] if text[done:].strip() else [])
