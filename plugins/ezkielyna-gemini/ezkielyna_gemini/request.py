"""OpenAI's chat and legacy completion requests as the body of `generateContent`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ezkielyna import ApiRequest, ChatRequest, CompletionRequest, InvalidRequest, Unsupported
from ezkielyna_gemini.fields import expect, number
from ezkielyna_gemini.messages import Conversation
from ezkielyna_gemini.models import Effort, effort, traits
from ezkielyna_gemini.tools import Tools

MOST_CANDIDATES = 8
MOST_STOPS = 5

_READ = frozenset({
    "model", "messages", "prompt", "stream", "stream_options", "max_completion_tokens",
    "max_tokens", "temperature", "top_p", "top_k", "stop", "n", "best_of", "seed",
    "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "response_format",
    "reasoning_effort", "modalities", "service_tier", "tools", "tool_choice", "functions",
    "function_call", "parallel_tool_calls", "google", "extra_body", "echo", "suffix",
})  # fmt: skip
_HINTS = frozenset({
    "user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "verbosity", "safety_identifier",
})  # fmt: skip
"""Dropped silently: the answer is the same without."""

_REFUSED = ("audio", "prediction", "web_search_options", "moderation")
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_HEADER_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_EXTENSIONS: dict[str, type] = {
    "safetySettings": list, "cachedContent": str, "topK": int, "mediaResolution": str,
    "imageConfig": dict, "thinkingConfig": dict,
}  # fmt: skip
_BESIDE_CONFIG = ("safetySettings", "cachedContent")


class Translation:
    """A chat as Gemini's `body`, and what was `dropped` from it on the way; `single` where the
    client wants no more than one tool call.

    Raises InvalidRequest or Unsupported naming the field. `efforts` are the operator's tables.
    """

    def __init__(
        self, request: ApiRequest, model: str, efforts: Mapping[str, Effort], thoughts: bool
    ) -> None:
        self._request, self._model = request, model
        self._fields, self._traits = request.fields(), traits(model)
        self._efforts, self._thoughts = efforts, thoughts
        self._lost: list[str] = []
        for name in _REFUSED:
            self._refuse(name, name in self._fields)
        self.tools = Tools({})
        parallel = self._fields.get("parallel_tool_calls", True)
        self.single = not expect(parallel, bool, "parallel_tool_calls")
        if isinstance(request, ChatRequest):
            self.body = self._chat(request)
        else:
            assert isinstance(request, CompletionRequest)
            self.body = self._completion(request)
        self._extend()
        unknown = self._fields.keys() - _READ - _HINTS
        self.dropped = (*self._lost, *sorted(filter(_HEADER_SAFE.fullmatch, unknown)))

    def _chat(self, request: ChatRequest) -> dict[str, Any]:
        self.tools = Tools(self._fields)
        conversation = Conversation(request.messages, self._traits)
        config = self._sampling() | self._logprobs() | self._format() | self._thinking()
        body: dict[str, Any] = {"contents": conversation.contents}
        if conversation.system:
            body["systemInstruction"] = {"parts": conversation.system}
        if self.tools.declared:
            body["tools"] = [{"functionDeclarations": self.tools.declared}]
        if self.tools.choice:
            body["toolConfig"] = {"functionCallingConfig": self.tools.choice}
        tier = _TIERS.get(str(self._fields.get("service_tier")))
        if tier:
            body["serviceTier"] = tier
        return body | {"generationConfig": config}

    def _completion(self, request: CompletionRequest) -> dict[str, Any]:
        prompt = request.prompt
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]  # type: ignore[assignment]
        if not isinstance(prompt, str):
            raise Unsupported("Gemini takes one prompt, as a string.", param="prompt")
        if not prompt:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        self._refuse("suffix", "suffix" in self._fields)
        self._refuse("echo", bool(self._fields.get("echo")))
        self._refuse("logprobs", "logprobs" in self._fields)
        self._refuse("best_of", (request.best_of or 1) > (request.n or 1))
        content = {"role": "user", "parts": [{"text": prompt}]}
        return {"contents": [content], "generationConfig": self._sampling()}

    def _refuse(self, name: str, refused: bool) -> None:
        if refused:
            raise Unsupported(f"Gemini does not support '{name}'.", param=name)

    def _sampling(self) -> dict[str, Any]:
        config: dict[str, Any] = {}
        choices, limit = self._request.choices(), self._limit()
        if choices > MOST_CANDIDATES:
            raise Unsupported(f"Gemini gives at most {MOST_CANDIDATES} answers.", param="n")
        if choices > 1:
            config["candidateCount"] = choices
        if limit is not None:
            config["maxOutputTokens"] = limit
        for name, key, low, high in (
            ("temperature", "temperature", 0, 2),
            ("top_p", "topP", 0, 1),
            ("presence_penalty", "presencePenalty", -2, 2),
            ("frequency_penalty", "frequencyPenalty", -2, 2),
        ):
            if name in self._fields:
                config[key] = number(self._fields[name], low, high, name)
        for name, key in (("seed", "seed"), ("top_k", "topK")):
            if name in self._fields:  # a seed has 64 bits at OpenAI and 32 at Google
                config[key] = expect(self._fields[name], int, name) % 2**31
        stops = self._fields.get("stop") or []
        stops = [stop for stop in ([stops] if isinstance(stops, str) else stops) if stop]
        if len(stops) > MOST_STOPS:
            raise Unsupported(f"Gemini takes at most {MOST_STOPS} stop sequences.", param="stop")
        return config | ({"stopSequences": stops} if stops else {})

    def _limit(self) -> int | None:
        """Return the most tokens of one answer, thoughts included; never more than is paid for."""
        limits = (self._request.output_limit(), self._request.output_cap)
        known = [limit for limit in limits if limit is not None]
        return max(1, min(known) // self._request.choices()) if known else None

    def _logprobs(self) -> dict[str, Any]:
        if not expect(self._fields.get("logprobs", False), bool, "logprobs"):
            if "top_logprobs" in self._fields:
                raise InvalidRequest("'top_logprobs' needs 'logprobs'.", param="top_logprobs")
            return {}
        most = expect(self._fields.get("top_logprobs", 0), int, "top_logprobs")
        number(most, 0, 20, "top_logprobs")
        return {"responseLogprobs": True} | ({"logprobs": most} if most else {})

    def _format(self) -> dict[str, Any]:
        config: dict[str, Any] = {}
        wanted = expect(self._fields.get("response_format", {}), dict, "response_format")
        kind = wanted.get("type", "text")
        if kind in ("json_object", "json_schema"):
            config["responseMimeType"] = "application/json"
        elif kind != "text":
            raise Unsupported("Gemini has no such format.", param="response_format.type")
        if kind == "json_schema":
            at = "response_format.json_schema"
            given = expect(wanted.get("json_schema"), dict, at)
            schema = expect(given.get("schema") or {}, dict, f"{at}.schema")
            if schema:
                config["responseJsonSchema"] = schema
        kinds = expect(self._fields.get("modalities", []), list, "modalities")
        if not {"text", "image"}.issuperset(str(kind) for kind in kinds):
            raise Unsupported("Gemini answers with text and images.", param="modalities")
        if "image" in kinds:
            config["responseModalities"] = [str(kind).upper() for kind in kinds]
        return config

    def _thinking(self) -> dict[str, Any]:
        if "reasoning_effort" not in self._fields:
            return {}
        word = expect(self._fields["reasoning_effort"], str, "reasoning_effort")
        if word not in _EFFORTS:
            raise InvalidRequest("There is no such effort.", param="reasoning_effort")
        amount = effort(self._model, word, self._efforts)
        if amount is None:
            self._lost.append("reasoning_effort")
            return {}
        key = "thinkingLevel" if isinstance(amount, str) else "thinkingBudget"
        config: dict[str, Any] = {key: amount}
        if self._thoughts and word != "none":
            config["includeThoughts"] = True
        return {"thinkingConfig": config}

    def _extend(self) -> None:
        """Take Gemini's own settings from `google`, or from where Google's own OpenAI endpoint
        has them, `extra_body.google`; in camelCase or snake_case.
        """
        outer = expect(self._fields.get("extra_body", {}), dict, "extra_body").get("google")
        google = expect(self._fields.get("google", outer or {}), dict, "google")
        for name, value in google.items():
            key = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
            if key not in _EXTENSIONS:
                raise InvalidRequest("Gemini has no such setting.", param=f"google.{name}")
            home = self.body if key in _BESIDE_CONFIG else self.body["generationConfig"]
            home[key] = expect(value, _EXTENSIONS[key], f"google.{name}")
