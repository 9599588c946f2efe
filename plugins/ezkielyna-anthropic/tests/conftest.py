"""What the tests know of Anthropic, by other means than the plugin."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from anthropic_words import FINISH, Json, message_of
from ezkielyna.testing.recordings import Recording
from ezkielyna.testing.said import Said, parsed, tokens_of
from ezkielyna.testing.translated import NoCounterpart

FOLDER = "anthropic/pydantic-ai/test_anthropic__"
UNSAID = {
    f"{FOLDER}test_anthropic_explicit_effort_xhigh_unsupported_model_errors.yaml:0": (
        "an effort that the model lacks is lowered to one it has, not passed on to fail"
    ),
    "anthropic/llm-anthropic/test_anthropic__test_sonnet_46_effort_without_thinking.yaml:0": (
        "effort without thinking: reasoning_effort asks for both"
    ),
}


class AnthropicDialect:
    """Requests and answers of `/messages`."""

    model = "claude-opus-4-6"
    tables: Json = {
        "plugins": ["openai", "anthropic"],
        "providers": {
            "lab": {"kind": "anthropic", "system_in_place": True, "show_thinking": False}
        },
    }

    def asked(self, recording: Recording) -> Json:
        if recording.id in UNSAID:
            raise NoCounterpart(UNSAID[recording.id])
        return openai_of(orjson.loads(recording.request.body or b""))

    def normal(self, body: Json) -> Json:
        return normalised(body)

    def wire(self, recording: Recording) -> bytes:
        return recording.response.body

    def status(self, recording: Recording) -> int:
        return {401: 502, 404: 400}.get(recording.status, recording.status)

    def said(self, recording: Recording) -> Said:
        message = message_of(recording)
        said = Said({0: ""}, model=message["model"], finish={0: FINISH[message["stop_reason"]]})
        said.refused = bool((message.get("stop_details") or {}).get("explanation"))
        for block in message["content"]:
            match block["type"]:
                case "text":
                    said.texts[0] += block["text"]
                case "thinking":
                    said.reasoning += block["thinking"]
                case "tool_use":
                    raw = block.get("raw") or orjson.dumps(block["input"]).decode()
                    said.calls.append((block["name"], parsed(raw)))
        usage = {name: count or 0 for name, count in message["usage"].items()}
        read = usage.get("cache_read_input_tokens", 0)
        written = usage.get("cache_creation_input_tokens", 0)
        thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
        prompt = usage["input_tokens"] + read + written
        said.tokens = tokens_of(prompt, usage["output_tokens"], read, written, thinking)
        return said


@pytest.fixture(scope="session")
def dialect() -> AnthropicDialect:
    return AnthropicDialect()


def openai_of(recorded: Json) -> Json:
    """Return the OpenAI request whose translation should be the recorded one."""
    asked: Json = {"model": recorded["model"], "max_completion_tokens": recorded["max_tokens"]}
    system = recorded.get("system") or []
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    asked["messages"] = [{"role": "developer", "content": [plain(block)]} for block in blocks]
    for message in recorded["messages"]:
        asked["messages"] += messages_of(message)
    for theirs, ours in {"stop_sequences": "stop", "stream": "stream", "top_p": "top_p"}.items():
        if recorded.get(theirs) is not None:
            asked[ours] = recorded[theirs]
    for same in ("temperature", "thinking", "cache_control", "top_k"):
        if recorded.get(same) is not None:
            asked[same] = recorded[same]
    if recorded.get("tools"):
        asked["tools"] = [tool_of(tool) for tool in recorded["tools"]]
    asked |= choice_of(recorded.get("tool_choice") or {})
    config = recorded.get("output_config", {})
    form = config.get("format", recorded.get("output_format"))
    if form:
        wanted = {"name": "answer", "strict": True, "schema": form["schema"]}
        asked["response_format"] = {"type": "json_schema", "json_schema": wanted}
    if "effort" in config:
        asked["reasoning_effort"] = config["effort"]
    if "metadata" in recorded:
        asked["user"] = recorded["metadata"]["user_id"]
    return asked


def messages_of(message: Json) -> list[Json]:
    content = message["content"]
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    if message["role"] == "assistant":
        return [assistant_of(content)]
    results = [result_of(block) for block in content if block["type"] == "tool_result"]
    rest = [part_of(block) for block in content if block["type"] != "tool_result"]
    return results + ([{"role": message["role"], "content": rest}] if rest else [])


def assistant_of(blocks: list[Json]) -> Json:
    message: Json = {"role": "assistant", "content": None}
    texts = [plain(block) for block in blocks if block["type"] == "text"]
    thoughts = [block for block in blocks if block["type"].endswith("thinking")]
    if texts:
        message["content"] = texts
    if thoughts:
        message["thinking_blocks"] = thoughts
    calls = [block for block in blocks if block["type"] == "tool_use"]
    if calls:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": orjson.dumps(call["input"]).decode(),
                },
                **marked(call),
            }
            for call in calls
        ]
    return message


def result_of(block: Json) -> Json:
    content = block.get("content", "")
    if isinstance(content, list):
        content = [part_of(part) for part in content]
    failed = {"is_error": True} if block.get("is_error") else {}
    own = {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}
    return own | failed | marked(block)


def part_of(block: Json) -> Json:
    source = block.get("source", {})
    match block["type"], source.get("type"):
        case "text", _:
            return plain(block)
        case "image", "url":
            return {"type": "image_url", "image_url": {"url": source["url"]}}
        case "image", "base64":
            url = f"data:{source['media_type']};base64,{source['data']}"
            return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
        case "document", "url":
            return {"type": "file", "file": {"file_data": source["url"]}}
        case "document", "base64":
            url = f"data:{source['media_type']};base64,{source['data']}"
            return {"type": "file", "file": {"file_data": url}}
        case "document", "text":
            data = base64.b64encode(source["data"].encode()).decode()
            url = f"data:text/plain;base64,{data}"
            return {"type": "file", "file": {"file_data": url}}
    raise AssertionError(block)


def plain(block: Json) -> Json:
    return {"type": "text", "text": block["text"]} | marked(block)


def marked(block: Json) -> Json:
    return {"cache_control": block["cache_control"]} if block.get("cache_control") else {}


def tool_of(tool: Json) -> Json:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    for key in ("description", "strict"):
        if tool.get(key) is not None:
            function[key] = tool[key]
    return {"type": "function", "function": function} | marked(tool)


def choice_of(choice: Json) -> Json:
    asked: Json = {}
    match choice.get("type"):
        case "any":
            asked["tool_choice"] = "required"
        case "tool":
            asked["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        case str(word):
            asked["tool_choice"] = word
    if choice.get("disable_parallel_tool_use"):
        asked["parallel_tool_calls"] = False
    return asked


def normalised(body: Json) -> Json:
    """Return a request without the differences that mean nothing to the upstream."""
    body = without_nulls(body)
    if isinstance(body.get("system"), str):
        body["system"] = [{"type": "text", "text": body["system"]}]
    turns: list[Json] = []
    for message in body["messages"]:
        blocks = [normal_block(block) for block in blocks_of(message["content"])]
        blocks = [block for block in blocks if block.get("text", "x").strip()]
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": blocks})
    body["messages"] = turns
    choice = body.get("tool_choice", {})
    if choice.get("disable_parallel_tool_use") is False:
        del choice["disable_parallel_tool_use"]
    if choice == {"type": "auto"}:
        del body["tool_choice"]
    if body.get("stream") is False:
        del body["stream"]
    if body.get("temperature") == 1:
        del body["temperature"]  # the default
    if "output_format" in body:
        body.setdefault("output_config", {})["format"] = body.pop("output_format")
    for tool in body.get("tools", []):
        if tool.get("strict") is False:
            del tool["strict"]
    return body


def normal_block(block: Json) -> Json:
    if block["type"] == "tool_result":
        block = {**block, "content": blocks_of(block.get("content", ""))}
        if block.get("is_error") is False:
            del block["is_error"]
    return block


def blocks_of(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
