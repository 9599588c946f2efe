"""Servers with a kind of their own: an address and a preset each."""

from __future__ import annotations

from ezkielyna_openai.provider import OpenAIProvider


class AzureProvider(OpenAIProvider):
    """Azure OpenAI: `base_url` is the resource, a model is the name of a deployment."""

    kind = "azure"
    preset_name = "azure"


class CerebrasProvider(OpenAIProvider):
    """Cerebras."""

    kind = "cerebras"
    preset_name = "cerebras"


class DeepSeekProvider(OpenAIProvider):
    """DeepSeek."""

    kind = "deepseek"
    preset_name = "deepseek"


class GroqProvider(OpenAIProvider):
    """Groq."""

    kind = "groq"
    preset_name = "groq"


class LlamaCppProvider(OpenAIProvider):
    """The server of llama.cpp."""

    kind = "llamacpp"
    preset_name = "llamacpp"


class MistralProvider(OpenAIProvider):
    """Mistral."""

    kind = "mistral"
    preset_name = "mistral"


class OllamaProvider(OpenAIProvider):
    """Ollama's OpenAI-compatible paths."""

    kind = "ollama"
    preset_name = "ollama"


class OpenRouterProvider(OpenAIProvider):
    """OpenRouter."""

    kind = "openrouter"
    preset_name = "openrouter"


class PerplexityProvider(OpenAIProvider):
    """Perplexity."""

    kind = "perplexity"
    preset_name = "perplexity"


class TogetherProvider(OpenAIProvider):
    """Together."""

    kind = "together"
    preset_name = "together"


class VllmProvider(OpenAIProvider):
    """vLLM."""

    kind = "vllm"
    preset_name = "vllm"


class XaiProvider(OpenAIProvider):
    """xAI."""

    kind = "xai"
    preset_name = "xai"


KINDS: list[type[OpenAIProvider]] = [
    OpenAIProvider,
    AzureProvider,
    CerebrasProvider,
    DeepSeekProvider,
    GroqProvider,
    LlamaCppProvider,
    MistralProvider,
    OllamaProvider,
    OpenRouterProvider,
    PerplexityProvider,
    TogetherProvider,
    VllmProvider,
    XaiProvider,
]
