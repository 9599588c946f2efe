"""What clients send, right and wrong, as Hypothesis strategies."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Json = dict[str, Any]

WORDS = st.sampled_from(["", " ", "hi", "Grüße\u2028", "{}", "\x00", "𝄞"])
NAMES = st.sampled_from(["f", "g", "1x", "a b", ""])
IDS = st.sampled_from(["call_1", "call_2", "functions.f:0", "", "x_ezt1_bAAAA", "c__gemg"])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def mostly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the right thing in most cases, else anything."""
    return st.one_of(*[strategy] * 15, JUNK)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return objects with any of the fields, each mostly right."""
    optional = {name: mostly(strategy) for name, strategy in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


URLS = st.sampled_from(["data:image/png;base64,QUJD", "data:,", "https://example.org/a.png", "x"])
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": mostly(WORDS)}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": mostly(some(url=URLS))}),
    st.fixed_dictionaries({"type": st.just("file"), "file": some(file_data=URLS, file_id=IDS)}),
    st.fixed_dictionaries({"type": st.just("input_audio"), "input_audio": JUNK}),
    some(type=WORDS),
)
CONTENT = WORDS | st.none() | st.lists(mostly(PARTS), max_size=3)
ARGUMENTS = st.sampled_from(["", "{}", '{"a":1}', "[", "[]", '"x"'])
FUNCTIONS = some(name=NAMES, arguments=ARGUMENTS)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"id": IDS, "type": st.sampled_from(["function", "custom"]), "function": FUNCTIONS},
        optional={"custom": some(name=NAMES, input=WORDS)},
    ),
    max_size=2,
)
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "wizard")
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES)},
    optional={
        "content": mostly(CONTENT),
        "tool_calls": mostly(CALLS),
        "tool_call_id": mostly(IDS),
        "name": mostly(NAMES),
        "function_call": mostly(FUNCTIONS),
        "refusal": mostly(WORDS),
    },
)
TOOLS = st.fixed_dictionaries(
    {"type": st.sampled_from(["function", "function", "custom", "web_search"])},
    optional={
        "function": some(name=NAMES, parameters=st.just({"type": "object"}), strict=st.booleans()),
        "custom": some(name=NAMES, format=JUNK),
    },
)


@st.composite
def loops(draw: st.DrawFn) -> list[Json]:
    """Return a tool loop as it should be, so that the good path is walked too."""
    said: list[Json] = [{"role": "user", "content": draw(CONTENT)}]
    own = draw(st.lists(st.sampled_from(["a", "b", "c.1"]), max_size=3, unique=True))
    if own:
        function = {"name": "f", "arguments": draw(st.sampled_from(["", '{"a":1}']))}
        calls = [{"id": one, "type": "function", "function": function} for one in own]
        said.append({"role": "assistant", "content": draw(WORDS), "tool_calls": calls})
        for one in draw(st.permutations(own)):
            said.append({"role": "tool", "tool_call_id": one, "content": draw(WORDS)})
    return said


FORMATS = some(
    type=st.sampled_from(["text", "json_object", "json_schema", "xml"]),
    json_schema=some(name=NAMES, schema=st.just({"type": "object"})),
)
CHOICES = st.sampled_from(["auto", "none", "required", {"function": {"name": "f"}}])
CHATS = st.fixed_dictionaries(
    {"messages": mostly(loops() | st.lists(MESSAGES, min_size=1, max_size=4))},
    optional={
        "max_tokens": mostly(st.integers(0, 99)),
        "max_completion_tokens": mostly(st.integers(0, 99)),
        "n": mostly(st.integers(1, 9)),
        "temperature": mostly(st.floats(0, 2)),
        "top_p": mostly(st.floats(0, 1)),
        "stop": mostly(WORDS | st.lists(WORDS, max_size=6)),
        "seed": mostly(st.integers(-(2**63), 2**63 - 1)),
        "logprobs": mostly(st.booleans()),
        "top_logprobs": mostly(st.integers(0, 20)),
        "response_format": mostly(FORMATS),
        "reasoning_effort": mostly(st.sampled_from(["none", "low", "high", "max"])),
        "modalities": mostly(st.just(["text"])),
        "tools": mostly(st.lists(TOOLS, max_size=2)),
        "tool_choice": mostly(CHOICES),
        "functions": mostly(st.lists(some(name=NAMES), max_size=2)),
        "function_call": mostly(CHOICES),
        "parallel_tool_calls": mostly(st.booleans()),
        "user": mostly(WORDS),
        "service_tier": mostly(WORDS),
        "prediction": JUNK,
        "unheard_of": JUNK,
    },
)
"""Bodies of chats without their model."""


def samples(strategy: st.SearchStrategy[Any], count: int, *, same: bool = False) -> list[Any]:
    """Return so many examples of a strategy, for tests that must not run inside of Hypothesis.

    They are others at every call, unless they shall be the `same`.
    """
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=same,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found
