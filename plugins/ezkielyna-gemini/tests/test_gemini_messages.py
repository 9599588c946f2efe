"""What of a chat reaches Gemini: messages, tools, settings; what is dropped, what is refused."""

from __future__ import annotations

import pytest

from ezkielyna import InvalidRequest, Unsupported
from ezkielyna.testing.asking import USER, called, result
from ezkielyna_gemini.signatures import DUMMY, carrier, opened
from gemini_words import contents, exchange, sent


def test_address_and_key() -> None:
    request = exchange("models/gemini-2.5-pro").request
    base = "https://generativelanguage.googleapis.com/v1beta"
    assert request.url == f"{base}/models/gemini-2.5-pro:generateContent"
    assert request.headers["x-goog-api-key"] == "secret"
    assert "secret" not in request.url
    assert exchange(stream=True).request.url.endswith(":streamGenerateContent?alt=sse")


def test_system_and_developer_texts_become_the_system_instruction() -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        ]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]


def test_a_request_with_only_system_text_gets_a_user_content() -> None:
    assert contents({"role": "system", "content": "a"})[0]["role"] == "user"


def test_neighbours_of_one_role_are_merged_and_empty_texts_left_out() -> None:
    found = contents(USER, {"role": "user", "content": ""}, USER)
    assert found == [{"role": "user", "parts": [{"text": "hi"}, {"text": "hi"}]}]
    empty = {"type": "text", "text": ""}
    assert contents({"role": "user", "content": [empty, {"type": "text", "text": "x"}]}) == [
        {"role": "user", "parts": [{"text": "x"}]}
    ]


def test_media() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://www.youtube.com/watch?v=1"}},
    ]
    assert contents({"role": "user", "content": parts})[0]["parts"] == [
        {"inlineData": {"mimeType": "image/jpeg", "data": "QUJD"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
    ]


def test_another_address_is_refused_with_what_to_do() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    with pytest.raises(Unsupported, match="data URL") as refused:
        contents({"role": "user", "content": [part]})
    assert refused.value.param == "messages[0].content[0].image_url.url"


def test_all_results_of_a_turn_are_one_content_in_the_order_of_the_calls() -> None:
    """Section 9, line 17."""
    found = contents(
        USER, called("a", "b"), result("b", '{"x":1}'), result("a", "plain"), {**USER, "name": "n"}
    )
    assert [content["role"] for content in found] == ["user", "model", "user"]
    assert found[2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "plain"}}},
        {"functionResponse": {"name": "f", "response": {"x": 1}}},
        {"text": "hi"},
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Section 9, line 7."""
    found = contents(USER, called("a", arguments=""), result("a"))
    assert found[1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]


@pytest.mark.parametrize("arguments", ["{", "[]", "1"])
def test_broken_arguments_are_named(arguments: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        contents(USER, called("a", arguments=arguments), result("a"))
    assert refused.value.param == "messages[1].tool_calls[0].function.arguments"


def test_calls_and_results_must_match() -> None:
    with pytest.raises(InvalidRequest, match="has no result"):
        contents(USER, called("a", "b"), result("a"), USER)
    with pytest.raises(InvalidRequest, match="answers no call"):
        contents(USER, called("a"), result("b"))
    with pytest.raises(InvalidRequest, match="answers no call"):
        contents(USER, result("b"))


def test_images_in_results() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    data = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    messages = (USER, called("a"), result("a", [{"type": "text", "text": "see"}, image]))
    third = contents(*messages, model="gemini-3-flash-preview")[2]["parts"]
    assert third[0]["functionResponse"]["parts"] == [data]
    second = contents(*messages)[2]["parts"]
    assert second[1] == data
    assert "parts" not in second[0]["functionResponse"]


def test_ids_go_back_only_where_gemini_gave_them() -> None:
    found = contents(USER, called("abc__gemg", "call_1"), result("abc__gemg"), result("call_1"))
    assert found[1]["parts"][0]["functionCall"]["id"] == "abc"
    assert found[2]["parts"][0]["functionResponse"]["id"] == "abc"
    assert "id" not in found[1]["parts"][1]["functionCall"]
    assert "id" not in found[2]["parts"][1]["functionResponse"]


@pytest.mark.parametrize(
    "signature", ["CuwBAb4+9v/ZI+lr", "QUI=", "QQ==", "signature_REDACTED_1", "a-b_c", "é", "="]
)
@pytest.mark.parametrize("own", [True, False])
def test_a_signature_survives_in_the_id_alone(signature: str, own: bool) -> None:
    """Section 9, line 10."""
    identifier = carrier("call_1", own=own, signature=signature)
    assert identifier.isascii()
    assert identifier.replace("_", "").replace("-", "").isalnum()
    found = contents(USER, called(identifier, "other"), result(identifier), result("other"))
    first, second = found[1]["parts"]
    assert first["thoughtSignature"] == signature
    assert "thoughtSignature" not in second
    assert first["functionCall"].get("id") == ("call_1" if own else None)


def test_ids_of_others_carry_nothing() -> None:
    for identifier in ("call_abc", "", "toolu_01", "functions.f:0", "x__gem", "__gemz_b1"):
        assert opened(identifier).own is None
        assert opened(identifier).signature is None


def test_a_field_of_the_call_wins_over_its_id() -> None:
    extra = {"google": {"thought_signature": "kept"}}
    found = contents(USER, called("a", extra_content=extra), result("a"))
    assert found[1]["parts"][0]["thoughtSignature"] == "kept"


def test_foreign_history_gets_the_documented_dummy_where_signatures_are_checked() -> None:
    messages = (USER, called("a", "b"), result("a"), result("b"), called("c"), result("c"))
    found = contents(*messages, model="gemini-3-pro-preview")
    assert [part.get("thoughtSignature") for part in found[1]["parts"]] == [DUMMY, None]
    assert found[3]["parts"][0]["thoughtSignature"] == DUMMY
    assert "thoughtSignature" not in contents(*messages)[1]["parts"][0]


def test_a_history_does_not_begin_with_a_call() -> None:
    assert contents(called("a"), result("a"))[0] == {"role": "user", "parts": [{"text": " "}]}


def test_thoughts_never_go_back() -> None:
    said = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    assert contents(USER, said, USER)[1]["parts"] == [{"text": "4"}]
