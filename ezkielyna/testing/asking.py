"""A provider asked without a gateway: the fields of a request in, its exchange out.

```python
ASK = Asking(MyProvider, "my-model", api_key="k")

def test_tools_are_passed_on() -> None:
    assert ASK.sent(tools=[tool("f")])["functions"] == [{"name": "f"}]
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ezkielyna.contract.errors import GatewayError
from ezkielyna.contract.provider import Exchange, Provider
from ezkielyna.contract.requests import ApiRequest, ChatRequest, CompletionRequest
from ezkielyna.testing.requests import make_request

Document = dict[str, Any]

USER = {"role": "user", "content": "hi"}
"""What is asked where a test does not care."""


class Asking:
    """Requests to one kind of provider, of one model and with these settings unless told so."""

    def __init__(self, kind: type[Provider], model: str, **settings: Any) -> None:
        self._kind = kind
        self._model = model
        self._settings = settings

    def exchange(
        self, model: str | None = None, settings: Document | None = None, **fields: Any
    ) -> Exchange:
        """Return the exchange for a chat, or for a completion where there is a `prompt`."""
        kind: type[ApiRequest] = CompletionRequest if "prompt" in fields else ChatRequest
        asked = fields if "prompt" in fields else {"messages": [USER], **fields}
        table = {**self._settings, **(settings or {})}
        provider = self._kind("lab", self._kind.Settings.model_validate(table))
        return provider.exchange(make_request(kind, **asked), model or self._model)

    def sent(
        self, model: str | None = None, settings: Document | None = None, **fields: Any
    ) -> Document:
        """Return the document that the upstream gets."""
        body: Document = orjson.loads(self.exchange(model, settings, **fields).request.body)
        return body


def fed(exchange: Exchange, pieces: Iterable[bytes]) -> tuple[bytes, GatewayError | None]:
    """Return what came out of these pieces of a stream, and the error that ended it, if any."""
    out = b""
    try:
        for piece in pieces:
            out += exchange.feed(piece)
        out += exchange.close()
    except GatewayError as error:
        return out, error
    return out, None


def tool(name: str = "f", **more: Any) -> Document:
    """Return a function as a client declares it."""
    return {"type": "function", "function": {"name": name, **more}}


def called(*ids: str, name: str = "f", arguments: str = '{"a":1}', **more: Any) -> Document:
    """Return the assistant's message that calls a function, once for each of these ids."""
    function = {"name": name, "arguments": arguments}
    calls = [{"id": each, "type": "function", "function": function, **more} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(identifier: str, content: Any = "ok") -> Document:
    """Return the message with the result of a call."""
    return {"role": "tool", "tool_call_id": identifier, "content": content}
