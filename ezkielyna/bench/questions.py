"""The requests: bodies made of seeded words, or of prompts that somebody collected."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import orjson

from ezkielyna.bench.lengths import length
from ezkielyna.bench.plan import Target
from ezkielyna.contract.provider import UpstreamRequest

_TEXT = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book "
    "eye job word business issue side kind head house service friend father power hour game line "
    "end member law car city community name president team minute idea kid body information back"
)
"""Common English words: with the space before it, each is one token of the usual vocabularies."""

_STOCK = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """One request to send."""

    request: UpstreamRequest
    input_tokens: int
    """About so many: what was drawn, not what the server counts."""


class Questions:
    """Draws requests: the same seed and target give the same ones in the same order."""

    def __init__(self, target: Target, headers: Mapping[str, str], seed: str) -> None:
        self._target = target
        self._random = Random(seed)  # noqa: S311 - repeatable on purpose
        self._input = length(target.input_tokens)
        self._output = length(target.output_tokens)
        self._prompts = itertools.cycle(target.prompts) if target.prompts else None
        self._stock = self._random.choices(_TEXT.split(), k=_STOCK)
        self._url = f"{target.url.rstrip('/')}/{target.endpoint}"
        self._headers = {"Content-Type": "application/json", **headers}

    def draw(self) -> Question:
        """Return the next request."""
        tokens = self._input(self._random)
        if self._prompts is not None:
            text = next(self._prompts)
            tokens = max(1, len(text) // 4)
        else:
            text = self._made_up(tokens)
        body = orjson.dumps(self._body(text))
        return Question(UpstreamRequest("POST", self._url, self._headers, body), tokens)

    def _made_up(self, tokens: int) -> str:
        """Return so many words, from a random place on: no two prompts share a long beginning."""
        at = self._random.randrange(_STOCK)
        words = self._stock[at : at + tokens]
        while len(words) < tokens:
            words += self._stock[: tokens - len(words)]
        return " ".join(words)

    def _body(self, text: str) -> dict[str, object]:
        target = self._target
        body: dict[str, object] = {"model": target.model}
        if target.endpoint == "embeddings":
            return {**body, "input": text, **target.fields}
        if target.endpoint == "completions":
            body["prompt"] = text
        else:
            body["messages"] = [{"role": "user", "content": text}]
        body["max_tokens"] = self._output(self._random)
        if target.streamed:
            body["stream"] = True
            if target.usage:
                body["stream_options"] = {"include_usage": True}
        return {**body, **target.fields}
