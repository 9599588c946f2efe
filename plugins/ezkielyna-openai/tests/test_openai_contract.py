"""The contract suite, on OpenAI's own dialect and on a compatible vendor's kind."""

from __future__ import annotations

from ezkielyna.testing import ProviderContract
from ezkielyna.testing.dialect import chat_answer, chat_stream
from ezkielyna_openai import OpenAIProvider
from ezkielyna_openai.kinds import MistralProvider


class TestOpenAI(ProviderContract):
    provider = OpenAIProvider
    streams = {"hello": b"".join(chat_stream(["Hello ", "Grüße"]))}
    answers = {"hello": chat_answer("Hello")}
    failures = {
        "context": (400, b'{"error":{"message":"too long","type":"invalid_request_error"}}'),
        "key": (401, b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}'),
    }


class TestMistral(TestOpenAI):
    provider = MistralProvider
