"""What is known about servers that speak OpenAI's API, as data.

Sources: the vendors' API references, and the recorded traffic that the tests replay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Repair = Literal[
    "empty_choices", "finish_reasons", "message", "parts", "reasoning", "role", "tool_calls"
]
"""What a server's events can need before an OpenAI client understands them; see `repairs.py`."""

HINTS = (
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
)
"""Fields that only advise OpenAI; strict servers refuse them, and no answer changes without."""

BASE64_IMAGES = ("gpt-image", "chatgpt-image")

ALL_REPAIRS: frozenset[Repair] = frozenset(
    ("empty_choices", "finish_reasons", "parts", "reasoning", "role", "tool_calls")
)


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of server.

    `base_url` and `path` make the address; `path` may use `{path}`, `{model}` and
    `{api_version}`. `max_tokens_field` limits the output where the client set no limit; with
    `one_limit` it is the only name the server knows. `usage_in_stream` says that the server
    takes `stream_options`. `drop_fields` are never sent. Image models whose name starts with one of
    `base64_images` answer nothing else and refuse `response_format`.
    """

    base_url: str = ""
    path: str = "{path}"
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    api_version: str = ""
    max_tokens_field: str = "max_tokens"
    one_limit: bool = False
    usage_in_stream: bool = True
    drop_fields: tuple[str, ...] = ()
    base64_images: tuple[str, ...] = ()
    repairs: frozenset[Repair] = field(default=ALL_REPAIRS)


OPENAI = Preset(
    base_url="https://api.openai.com/v1",
    max_tokens_field="max_completion_tokens",
    base64_images=BASE64_IMAGES,
    repairs=frozenset(),
)
COMPATIBLE = Preset()
"""A server of which nothing is known but its address."""

AZURE = Preset(
    path="/openai/deployments/{model}{path}?api-version={api_version}",
    key_header="api-key",
    key_prefix="",
    api_version="2024-10-21",
    max_tokens_field="max_completion_tokens",
    base64_images=BASE64_IMAGES,
    repairs=frozenset({"empty_choices"}),
)
CEREBRAS = Preset(
    base_url="https://api.cerebras.ai/v1",
    max_tokens_field="max_completion_tokens",
    drop_fields=("frequency_penalty", "logit_bias", "presence_penalty", "store"),
    repairs=frozenset({"reasoning"}),
)
DEEPSEEK = Preset(
    base_url="https://api.deepseek.com/v1",
    one_limit=True,
    repairs=frozenset(),
)
GROQ = Preset(
    base_url="https://api.groq.com/openai/v1",
    max_tokens_field="max_completion_tokens",
    repairs=frozenset({"reasoning"}),
)
LLAMACPP = Preset(base_url="http://127.0.0.1:8080/v1")
MISTRAL = Preset(
    base_url="https://api.mistral.ai/v1",
    one_limit=True,
    usage_in_stream=False,
    drop_fields=(*HINTS, "logit_bias", "logprobs", "stream_options", "top_logprobs"),
    repairs=frozenset({"finish_reasons", "parts", "tool_calls"}),
)
OLLAMA = Preset(base_url="http://127.0.0.1:11434/v1", one_limit=True)
OPENROUTER = Preset(base_url="https://openrouter.ai/api/v1")
PERPLEXITY = Preset(
    base_url="https://api.perplexity.ai",
    one_limit=True,
    usage_in_stream=False,
    drop_fields=(*HINTS, "stream_options"),
    repairs=ALL_REPAIRS | {"message"},
)
TOGETHER = Preset(base_url="https://api.together.xyz/v1", one_limit=True)
VLLM = Preset(base_url="http://127.0.0.1:8000/v1")
XAI = Preset(base_url="https://api.x.ai/v1", repairs=frozenset({"role", "tool_calls"}))

PRESETS: dict[str, Preset] = {
    "azure": AZURE,
    "cerebras": CEREBRAS,
    "compatible": COMPATIBLE,
    "deepseek": DEEPSEEK,
    "groq": GROQ,
    "llamacpp": LLAMACPP,
    "mistral": MISTRAL,
    "ollama": OLLAMA,
    "openai": OPENAI,
    "openrouter": OPENROUTER,
    "perplexity": PERPLEXITY,
    "together": TOGETHER,
    "vllm": VLLM,
    "xai": XAI,
}
