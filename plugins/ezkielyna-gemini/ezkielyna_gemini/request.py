"""Requests: OpenAI's chats and legacy completions as the body of `generateContent`."""

from __future__ import annotations

import re
from typing import Any

from ezkielyna.dialect import Abilities, Chat, Json, Tools, integer, mapping, takes_nothing
from ezkielyna_gemini.messages import Conversation
from ezkielyna_gemini.models import effort, traits

NUMBERS = {
    "temperature": ("temperature", 0, 2),
    "top_p": ("topP", 0, 1),
    "presence_penalty": ("presencePenalty", -2, 2),
    "frequency_penalty": ("frequencyPenalty", -2, 2),
}
"""Parameters that are numbers: Gemini's name and the range of each."""

INTEGERS = {"seed": "seed", "top_k": "topK"}

ABILITIES = Abilities(
    takes=frozenset((*NUMBERS, *INTEGERS, "logprobs", "google", "extra_body")),
    tool_names=re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}"),
    choices=8,
    stops=5,
    modalities=frozenset({"text", "image"}),
)

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_EXTENSIONS: dict[str, type] = {
    "safetySettings": list, "cachedContent": str, "topK": int, "mediaResolution": str,
    "imageConfig": dict, "thinkingConfig": dict, "tools": list,
}  # fmt: skip
_BESIDE_CONFIG = ("safetySettings", "cachedContent", "tools")


def body_of(chat: Chat, model: str, settings: Any) -> Json:
    """Return the body for a chat; what has no place is noted in `chat.dropped`.

    Raises InvalidRequest or Unsupported naming the field.
    """
    told = Conversation(chat.turns, traits(model))
    body: Json = {"contents": told.contents}
    if told.system:
        body["systemInstruction"] = {"parts": told.system}
    if chat.tools.declared:
        body["tools"] = [{"functionDeclarations": _declared(chat.tools)}]
        if choice := _choice(chat.tools):
            body["toolConfig"] = {"functionCallingConfig": choice}
    if tier := _TIERS.get(str(chat.fields.get("service_tier"))):
        body["serviceTier"] = tier
    config = _sampling(chat) | _format(chat) | _thinking(chat, model, settings)
    body["generationConfig"] = config
    _extend(body, chat, settings.google_tools)
    return body


def _declared(tools: Tools) -> list[Json]:
    """Return the declarations; Gemini wants an empty schema left out."""
    schemas = [
        {} if takes_nothing(tool.schema) else {"parametersJsonSchema": tool.schema}
        for tool in tools.declared
    ]
    return [tool.head | schema for tool, schema in zip(tools.declared, schemas, strict=True)]


def _choice(tools: Tools) -> Json | None:
    """Return the `functionCallingConfig`, None for Gemini's own default."""
    if tools.mode in (None, "auto") and not tools.only:
        if all(tool.strict for tool in tools.declared):
            return {"mode": "VALIDATED"}
        return {"mode": "AUTO"} if tools.mode else None
    mode = _MODES[tools.mode or "auto"]
    if not tools.only:
        return {"mode": mode}
    # Google takes names only where it checks calls.
    return {"mode": "ANY" if mode == "ANY" else "VALIDATED", "allowedFunctionNames": [*tools.only]}


def _sampling(chat: Chat) -> Json:
    config = chat.numbers(NUMBERS)
    choices, most, logprobs = chat.request.choices(), chat.most_tokens(), chat.log_probabilities()
    if choices > 1:
        config["candidateCount"] = choices
    if most is not None:
        config["maxOutputTokens"] = most
    for name, key in INTEGERS.items():
        if name in chat.fields:  # a seed has 64 bits at OpenAI and 32 at Google
            config[key] = integer(chat.fields[name], name) % 2**31
    if chat.stops:
        config["stopSequences"] = chat.stops
    if logprobs is not None:
        config |= {"responseLogprobs": True} | ({"logprobs": logprobs} if logprobs else {})
    return config


def _format(chat: Chat) -> Json:
    config: Json = {}
    if chat.wants_json:
        config["responseMimeType"] = "application/json"
    if chat.schema:
        config["responseJsonSchema"] = chat.schema
    if "image" in chat.modalities:
        config["responseModalities"] = [kind.upper() for kind in chat.modalities]
    return config


def _thinking(chat: Chat, model: str, settings: Any) -> Json:
    if chat.effort is None:
        return {}
    amount = effort(model, chat.effort, settings.efforts)
    if amount is None:
        chat.drop("reasoning_effort")
        return {}
    config: Json = {"thinkingLevel" if isinstance(amount, str) else "thinkingBudget": amount}
    if settings.show_thoughts and chat.effort != "none":
        config["includeThoughts"] = True
    return {"thinkingConfig": config}


def _extend(body: Json, chat: Chat, offered: tuple[str, ...]) -> None:
    """Take Gemini's own settings from `google`, or from where Google's own OpenAI endpoint has
    them, `extra_body.google`; of its own tools those that the operator offers.
    """
    outer = mapping(chat.fields.get("extra_body")).get("google")
    given, declared = chat.fields.get("google", outer or {}), body.get("tools", [])
    for name, value in chat.extensions(given, _EXTENSIONS, "google").items():
        home = body if name in _BESIDE_CONFIG else body["generationConfig"]
        home[name] = value
        if name == "tools":
            kinds = dict.fromkeys(offered, dict)
            own = [chat.extensions(t, kinds, f"google.tools[{at}]") for at, t in enumerate(value)]
            home[name] = [*declared, *own]
