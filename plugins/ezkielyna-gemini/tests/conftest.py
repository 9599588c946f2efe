"""What the tests know of Gemini, by other means than the plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from ezkielyna.testing.recordings import Recording
from ezkielyna.testing.said import Said, tokens_of
from ezkielyna.testing.translated import NoCounterpart

Json = dict[str, Any]
DUMMY = "skip_thought_signature_validator"
EFFORTS = {0: "none", 1024: "low", 8192: "medium", 24576: "high"}
LEVELS = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
GOOGLE_TOOLS = ("codeExecution", "googleSearch", "urlContext")
CONFIG = {
    "maxOutputTokens": "max_completion_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "seed": "seed",
    "stopSequences": "stop",
    "candidateCount": "n",
}
MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
FINISH |= {"RECITATION": "content_filter", "PROHIBITED_CONTENT": "content_filter"}


class GeminiDialect:
    """Requests and answers of `generateContent`."""

    model = "gemini-2.5-flash"
    tables: Json = {
        "plugins": ["openai", "gemini"],
        "providers": {"lab": {"kind": "gemini", "google_tools": GOOGLE_TOOLS}},
    }

    def asked(self, recording: Recording) -> Json:
        sent = orjson.loads(recording.request.body or b"")
        if "contents" not in sent:
            raise NoCounterpart("the recording kept no contents")
        return asked(recording, sent)

    def normal(self, body: Json) -> Json:
        return normal(body)

    def wire(self, recording: Recording) -> bytes:
        """Return the body as it comes with `alt=sse`, which this provider always asks for."""
        body = recording.response.body
        if recording.mode == "json-array":
            return b"".join(b"data: %b\r\n\r\n" % orjson.dumps(one) for one in orjson.loads(body))
        return body

    def status(self, recording: Recording) -> int:
        if recording.status == 200:
            return 200
        error = orjson.loads(recording.response.body)["error"]
        if "API key" in error["message"]:
            return 502
        return 429 if error["status"] == "RESOURCE_EXHAUSTED" else 400

    def documents(self, recording: Recording) -> list[Json]:
        if recording.mode == "json":
            return [orjson.loads(recording.response.body)]
        lines = self.wire(recording).replace(b"\r\n", b"\n").split(b"\n")
        return [orjson.loads(line[5:]) for line in lines if line.startswith(b"data:")]

    def said(self, recording: Recording) -> Said:
        said, usage = Said(), {}
        documents = self.documents(recording)
        said.calls = [(call["name"], call.get("args") or {}) for call, _ in calls_of(documents)]
        for document in documents:
            said.model = said.model or document.get("modelVersion", "")
            usage = document.get("usageMetadata", usage)
            if "blockReason" in document.get("promptFeedback", {}):
                said.refused = True
                said.texts, said.finish = {0: ""}, {0: "content_filter"}
            for candidate in document.get("candidates", []):
                take_in(said, candidate)
        if said.calls:
            said.finish = {
                index: "tool_calls" if reason == "stop" else reason
                for index, reason in said.finish.items()
            }
        said.model = said.model or (recording.model or self.model).removeprefix("models/")
        said.tokens = spent(usage)
        return said


def take_in(said: Said, candidate: Json) -> None:
    index = candidate.get("index", 0)
    said.texts.setdefault(index, "")
    said.finish[index] = FINISH.get(candidate.get("finishReason"), "stop")
    for part in candidate.get("content", {}).get("parts", []):
        if part.get("thought"):
            said.reasoning += part.get("text", "")
        elif "text" in part:
            said.texts[index] += part["text"]


def calls_of(documents: list[Json]) -> list[tuple[Json, str | None]]:
    """Return the calls and their signatures; those in pieces are put together."""
    found: list[tuple[Json, str | None]] = []
    candidates = [one for document in documents for one in document.get("candidates", [])]
    for part in [part for one in candidates for part in one.get("content", {}).get("parts", [])]:
        call = part.get("functionCall", {})
        if "name" in call:
            found.append((dict(call), part.get("thoughtSignature")))
        for piece in call.get("partialArgs", []):
            arguments = found[-1][0].setdefault("args", {})
            *way, last = re.findall(r"\w+", piece["jsonPath"])
            for step in way:
                arguments = arguments.setdefault(step, {})
            value = piece.get("stringValue", piece.get("numberValue"))
            arguments[last] = arguments.get(last, "") + value if isinstance(value, str) else value
    for call, _ in found:
        call["args"] = listed(call.get("args", {}))
    return found


def listed(node: Any) -> Any:
    """Return the node with lists where all names are numbers."""
    if not isinstance(node, dict):
        return node
    if node and all(name.isdigit() for name in node):
        return [listed(node[str(at)]) for at in range(len(node))]
    return {name: listed(value) for name, value in node.items()}


@pytest.fixture(scope="session")
def upstream_calls() -> Any:
    return calls_of


def spent(usage: Json) -> dict[str, int]:
    thoughts = usage.get("thoughtsTokenCount", 0)
    return tokens_of(
        usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0),
        usage.get("candidatesTokenCount", 0) + thoughts,
        cached=usage.get("cachedContentTokenCount", 0),
        reasoning=thoughts,
    )


@pytest.fixture(scope="session")
def dialect() -> GeminiDialect:
    return GeminiDialect()


def camel(node: Any) -> Any:
    """Return the request in one spelling: camelCase, without nulls and without defaults."""
    if isinstance(node, list):
        return [camel(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: Json = {}
    for name, value in node.items():
        key = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        opaque = key in ("args", "response", "parameters", "parametersJsonSchema")
        opaque = opaque or key in ("responseSchema", "responseJsonSchema")
        if value is not None and (key, value) not in (("thought", False), ("description", "")):
            made[key] = value if opaque else camel(value)
    return made


def lower(node: Any) -> Any:
    """Return a schema with its types in lower case: Google takes both."""
    if isinstance(node, list):
        return [lower(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else lower(value)
        for key, value in node.items()
    }


def normal(body: Json) -> Json:
    """Return what Gemini reads in a request, however it is spelt."""
    made = camel(body)
    made.pop("model", None)
    contents: list[Json] = []
    for content in made["contents"]:
        parts = [part for part in content["parts"] if not dull(part)]
        for part in parts:
            part.get("functionCall", {}).setdefault("args", {})
            part.get("fileData", {}).pop("mimeType", None)
            if part.get("thoughtSignature") == DUMMY:
                del part["thoughtSignature"]
        role = {"function": "user"}.get(content.get("role"), content.get("role", "user"))
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    made["contents"] = contents
    if "systemInstruction" in made:
        made["systemInstruction"].pop("role", None)
        parts = made["systemInstruction"]["parts"]
        made["systemInstruction"] = [part for part in parts if part.get("text")]
        if not made["systemInstruction"]:
            del made["systemInstruction"]
    normal_tools(made)
    normal_config(made)
    return made


def dull(part: Json) -> bool:
    return bool(part.get("thought")) or (part.get("text") == "" and len(part) == 1)


def normal_tools(made: Json) -> None:
    functions = []
    for tool in made.pop("tools", []):
        for function in tool.pop("functionDeclarations", []):
            schema = function.pop("parameters", function.pop("parametersJsonSchema", None))
            schema = lower(schema or {})
            if schema.get("properties"):
                function["schema"] = schema
            functions.append(function)
        if tool:
            made.setdefault("google", []).append(tool)
    config = made.pop("toolConfig", {}).get("functionCallingConfig")
    if functions:
        made["tools"] = functions
        made["choice"] = config if config != {"mode": "AUTO"} else None


def normal_config(made: Json) -> None:
    config = made.pop("generationConfig", {})
    schema = config.pop("responseSchema", config.pop("responseJsonSchema", None))
    if schema:
        config["schema"] = lower(schema)
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    if config.get("responseMimeType") == "text/plain":
        del config["responseMimeType"]
    thinking = config.get("thinkingConfig", {})
    if thinking.get("includeThoughts") is False:
        del thinking["includeThoughts"]
    if "thinkingLevel" in thinking:
        thinking["thinkingLevel"] = thinking["thinkingLevel"].upper()
    made["config"] = config


def asked(recording: Recording, sent: Json) -> Json:
    """Return the OpenAI request that means the recorded one."""
    sent = camel(sent)
    google: Json = {}
    own = [tool for tool in sent.get("tools", []) if set(tool) <= set(GOOGLE_TOOLS)]
    if own:
        google["tools"] = own
    made: Json = {"model": "m", "messages": list(messages(sent))}
    if recording.endpoint == "streamGenerateContent":
        made["stream"] = True
    for name in ("safetySettings", "cachedContent"):
        if name in sent:
            google[name] = sent[name]
    for name, value in sent.get("generationConfig", {}).items():
        if name in CONFIG:
            made[CONFIG[name]] = value
        elif name == "thinkingConfig":
            made |= effort(value, recording.model, google)
        elif name == "responseModalities":
            made["modalities"] = [kind.lower() for kind in value]
        elif name not in ("responseMimeType", "responseSchema", "responseJsonSchema"):
            raise NoCounterpart(f"generationConfig.{name}")
    made |= form(sent.get("generationConfig", {})) | tools(sent)
    return made | ({"google": google} if google else {})


def effort(thinking: Json, model: str, google: Json) -> Json:
    level = LEVELS.get(str(thinking.get("thinkingLevel")).upper())
    word = EFFORTS.get(thinking.get("thinkingBudget", -2), level)
    shown = thinking.get("includeThoughts", False)
    if word and shown == (word != "none") and model.startswith("gemini-"):
        return {"reasoning_effort": word}
    google["thinkingConfig"] = thinking
    return {}


def form(config: Json) -> Json:
    schema = config.get("responseSchema", config.get("responseJsonSchema"))
    if schema:
        given = {"name": "answer", "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": given}}
    if config.get("responseMimeType") == "application/json":
        return {"response_format": {"type": "json_object"}}
    return {}


def tools(sent: Json) -> Json:
    functions = [f for tool in sent.get("tools", []) for f in tool.get("functionDeclarations", [])]
    if not functions:
        return {}
    config = sent.get("toolConfig", {}).get("functionCallingConfig", {})
    strict = config.get("mode") == "VALIDATED"
    made: list[Json] = []
    for one in functions:
        function = {"name": one["name"], "description": one.get("description"), "strict": strict}
        function["parameters"] = one.get("parameters", one.get("parametersJsonSchema"))
        made.append({"type": "function", "function": function})
    choice: Any = None
    if "allowedFunctionNames" in config:
        (name,) = config["allowedFunctionNames"]
        choice = {"type": "function", "function": {"name": name}}
    elif config and not strict:
        choice = MODES[config["mode"]]
    return {"tools": made, "tool_choice": choice}


def messages(sent: Json) -> Iterator[Json]:
    for part in sent.get("systemInstruction", {}).get("parts", []):
        yield {"role": "system", "content": part["text"]}
    calls: list[tuple[str, str]] = []
    for number, content in enumerate(sent["contents"]):
        if content.get("role") == "model":
            message, calls = said(content["parts"], number)
            yield message
            continue
        parts = []
        for part in content["parts"]:
            if "functionResponse" in part:
                yield result(part["functionResponse"], calls)
            else:
                parts.append(shown(part))
        if calls:
            raise NoCounterpart("a call without its result, which OpenAI refuses")
        if parts:
            yield {"role": "user", "content": parts}


def said(parts: list[Json], number: int) -> tuple[Json, list[tuple[str, str]]]:
    message: Json = {"role": "assistant", "content": None, "tool_calls": []}
    for position, part in enumerate(parts):
        google = {"google": {"thought_signature": part.get("thoughtSignature")}}
        if part.get("thought"):
            continue
        if "functionCall" in part:
            function = part["functionCall"]
            own = function.get("id")
            call = {"name": function["name"]}
            call["arguments"] = orjson.dumps(function.get("args", {})).decode()
            message["tool_calls"].append(
                {
                    "id": f"{own}__gemg" if own else f"call_{number}_{position}",
                    "type": "function",
                    "function": call,
                    "extra_content": google,
                }
            )
        elif "text" in part:
            message["content"] = (message["content"] or []) + [
                {"type": "text", "text": part["text"]}
            ]
            if part.get("thoughtSignature"):
                message["extra_content"] = google
        else:
            raise NoCounterpart(f"history with {', '.join(part)}")
    return message, [(call["function"]["name"], call["id"]) for call in message["tool_calls"]]


def result(response: Json, calls: list[tuple[str, str]]) -> Json:
    own = response.get("id")
    for name, identifier in calls:
        if name == response["name"] and (not own or identifier == f"{own}__gemg"):
            break
    else:
        raise NoCounterpart("a result without its call")
    calls.remove((name, identifier))
    text = {"type": "text", "text": orjson.dumps(response["response"]).decode()}
    media = [shown(part) for part in response.get("parts", [])]
    return {"role": "tool", "tool_call_id": identifier, "content": [text, *media]}


def shown(part: Json) -> Json:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "fileData" in part:
        return {"type": "file", "file": {"file_id": part["fileData"]["fileUri"]}}
    if "inlineData" in part:
        data = part["inlineData"]
        url = f"data:{data['mimeType']};base64,{data['data']}"
        return {"type": "image_url", "image_url": {"url": url}}
    raise NoCounterpart(f"a part with {', '.join(part)}")
