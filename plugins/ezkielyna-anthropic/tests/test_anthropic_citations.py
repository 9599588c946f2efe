"""Citations: those of pages become OpenAI's annotations, those of documents stay as they are."""

from __future__ import annotations

from typing import Any

import orjson

from ezkielyna import ChatRequest
from ezkielyna_anthropic import AnthropicProvider

Json = dict[str, Any]
PROVIDER = AnthropicProvider("lab", AnthropicProvider.Settings(api_key="k"))
PAGE = {
    "type": "web_search_result_location",
    "url": "https://example.org/a",
    "title": "A",
    "cited_text": "Grüße",
    "encrypted_index": "x",
}
PLACE = {
    "type": "char_location",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 5,
    "cited_text": "Grüße",
}
CONTENT: list[Json] = [
    {"type": "text", "text": "It says "},
    {"type": "text", "text": "Grüße", "citations": [PAGE, PLACE]},
    {"type": "text", "text": "."},
]
NOTE = {
    "type": "url_citation",
    "url_citation": {
        "url": "https://example.org/a",
        "title": "A",
        "start_index": 8,
        "end_index": 13,
    },
}


def exchange(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return PROVIDER.exchange(ChatRequest.parse(orjson.dumps(body)), "claude-opus-4-6")


def test_a_plain_answer() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2}
    told = {"id": "m", "model": "c", "content": CONTENT, "stop_reason": "end_turn", "usage": usage}
    (choice,) = orjson.loads(exchange().answer(200, {}, orjson.dumps(told)))["choices"]
    message = choice["message"]
    assert message["content"] == "It says Grüße."
    assert message["annotations"] == [NOTE]
    assert message["citations"] == [PLACE]
    (cited,) = message["annotations"]
    place = cited["url_citation"]
    assert message["content"][place["start_index"] : place["end_index"]] == "Grüße"


def test_a_stream() -> None:
    start = {"id": "m", "model": "c", "usage": {"input_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(CONTENT):
        opening = {"type": "text", "text": ""}
        deltas: list[Json] = [{"type": "text_delta", "text": block["text"]}]
        deltas += [{"type": "citations_delta", "citation": c} for c in block.get("citations", [])]
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        events.append({"type": "content_block_stop", "index": index})
    usage = {"output_tokens": 2}
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    events.append({"type": "message_stop"})
    made = exchange(stream=True)
    out = made.feed(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events))
    choices = [orjson.loads(line[6:])["choices"][0] for line in out.split(b"\n\n")[:-2]]
    deltas = [choice["delta"] for choice in choices]
    assert deltas[1:-1] == [
        {"content": "It says "},
        {"content": "Grüße"},
        {"annotations": [NOTE]},
        {"citations": [PLACE]},
        {"content": "."},
    ]


def test_documents_are_cited_where_the_client_asks_for_it() -> None:
    file = {"file_data": "data:text/plain;base64,QUJD", "filename": "a.txt"}
    part = {"type": "file", "file": file, "citations": {"enabled": True}}
    made = exchange(messages=[{"role": "user", "content": [part]}])
    (block,) = orjson.loads(made.request.body)["messages"][0]["content"]
    assert block["citations"] == {"enabled": True}
    assert block["title"] == "a.txt"
