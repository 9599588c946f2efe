"""A tool loop by a client that keeps nothing but what OpenAI documents."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI

from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.scripted import Script, ScriptedUpstream, streaming

Document = dict[str, Any]


async def tool_loop(
    sdk: AsyncOpenAI, messages: list[Document], *, stream: bool, **fields: Any
) -> list[Document]:
    """Ask until no tool is called any more; return all messages, the last answer too.

    Of an answer it keeps the text, and of each call id, name and arguments. Results come in the
    reverse order of the calls, and say what was called with what.
    """
    asked = [*messages]
    while True:
        text, calls = await (_streamed if stream else _plain)(sdk, {"messages": asked, **fields})
        if not calls:
            return [*asked, {"role": "assistant", "content": text}]
        asked.append({"role": "assistant", "content": text or None, "tool_calls": calls})
        for call in reversed(calls):
            said = f"{call['function']['name']} of {call['function']['arguments']}"
            asked.append({"role": "tool", "tool_call_id": call["id"], "content": said})


async def looped(
    gateways: Gateways,
    upstream: ScriptedUpstream,
    tables: Document,
    *,
    stream: bool,
    **fields: Any,
) -> list[Document]:
    """Walk a tool loop through a gateway before this upstream; return all its messages."""
    async with (
        upstream,
        gateways(upstream.url, tables=tables) as gateway,
        AsyncOpenAI(base_url=gateway.api, api_key=gateway.key, max_retries=0) as sdk,
    ):
        asked = [{"role": "user", "content": "Go."}]
        return await tool_loop(sdk, asked, model="gpt-lab", stream=stream, **fields)


def torn(events: bytes, size: int = 50) -> Script:
    """Return the script that streams these events in pieces of so many bytes."""
    return streaming([events[at : at + size] for at in range(0, len(events), size)])


async def _plain(sdk: AsyncOpenAI, fields: Document) -> tuple[str, list[Document]]:
    answer = await sdk.chat.completions.create(**fields)
    message = answer.choices[0].message
    return message.content or "", [
        _call(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or []
        if call.type == "function"
    ]


async def _streamed(sdk: AsyncOpenAI, fields: Document) -> tuple[str, list[Document]]:
    text = ""
    calls: list[Document] = []
    stream: Any = await sdk.chat.completions.create(**fields, stream=True)
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for piece in choice.delta.tool_calls or []:
                if piece.id:
                    assert piece.index == len(calls)
                    calls.append(_call(piece.id, piece.function.name, ""))
                calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    return text, calls


def _call(identifier: str, name: str, arguments: str) -> Document:
    function = {"name": name, "arguments": arguments}
    return {"id": identifier, "type": "function", "function": function}
