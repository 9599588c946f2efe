"""`plugins/README.md` says what is true: names, signatures, and code that runs.

`python -m tests.test_plugin_docs` writes the tables anew.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

import ezkielyna
from ezkielyna.cli.scaffold import write_plugin
from ezkielyna.testing.requests import make_request

README = Path(__file__).parent.parent / "plugins" / "README.md"
CONTRACTS = (
    ezkielyna.Provider,
    ezkielyna.Exchange,
    ezkielyna.RateLimiter,
    ezkielyna.Permit,
    ezkielyna.BillingPolicy,
    ezkielyna.PaymentMethod,
    ezkielyna.Plugin,
)
ALIASES = {
    "Bucket": "The word of a bucket of usage, such as `cached_input`.",
    "CONTRACT_VERSION": "The version of the contract, as text.",
    "Headers": "Headers of an upstream's answer; names are lower case.",
    "Nano": "Whole nano-dollars, 1e-9 USD, as an int.",
    "PaymentState": "The word of a payment's state, such as `paid`.",
    "Route": "A Tornado rule: pattern, handler class, and arguments for its `initialize`.",
    "Scope": "Whom a limit counts: an account, a key, or a model of an account.",
    "Watcher": "A function of bytes that is shown whole events of one stream.",
    "hookimpl": "Marks a function or method as a plugin's implementation of a hook.",
}
"""What names stand for that have no docstring of their own."""


def first_line(name: str) -> str:
    if name in ALIASES:
        return ALIASES[name]
    text = inspect.getdoc(getattr(ezkielyna, name))
    assert text, f"{name} has no docstring"
    return text.partition("\n\n")[0].replace("\n", " ")


def names() -> str:
    rows = [f"| `{name}` | {first_line(name)} |" for name in ezkielyna.__all__]
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def methods() -> str:
    rows = ["| method | what it does |", "|---|---|"]
    for class_ in CONTRACTS:
        for name, value in vars(class_).items():
            function = getattr(value, "__func__", value)
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            signature = re.sub(r"'", "", str(inspect.signature(function)))
            kind = "async " if inspect.iscoroutinefunction(function) else ""
            must = " **Yours to write.**" if getattr(function, "__isabstractmethod__", 0) else ""
            text = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
            signature = signature.replace("|", "\\|")
            rows.append(f"| `{kind}{class_.__name__}.{name}{signature}` | {text}{must} |")
    return "\n".join(rows)


TABLES = {"names": names, "methods": methods}


def written(text: str) -> str:
    """Return the text with every table written anew."""
    for word, table in TABLES.items():
        start, end = f"<!-- {word} -->\n", f"\n<!-- end of {word} -->"
        before, found, rest = text.partition(start)
        assert found, f"there is no table of {word}"
        text = before + start + table() + end + rest.partition(end)[2]
    return text


def test_the_tables_are_those_of_the_code() -> None:
    assert written(README.read_text()) == README.read_text(), "python -m tests.test_plugin_docs"


def test_every_public_name_is_described() -> None:
    assert sorted(ezkielyna.__all__) == sorted(set(ezkielyna.__all__))
    for name in ezkielyna.__all__:
        assert first_line(name).endswith((".", "`.")), name


def test_names_are_looked_up_when_they_are_asked_for() -> None:
    """Once a name was asked for it is an ordinary one; what is no name is refused as ever."""
    assert set(ezkielyna.__all__) <= set(dir(ezkielyna))
    for name in ezkielyna.__all__:
        assert getattr(ezkielyna, name) is vars(ezkielyna)[name]
    everything: dict[str, object] = {}
    exec("from ezkielyna import *", everything)
    assert set(ezkielyna.__all__) <= set(everything)
    with pytest.raises(AttributeError, match="module 'ezkielyna' has no attribute 'Providr'"):
        _ = ezkielyna.Providr  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Providr' from 'ezkielyna'"):
        exec("from ezkielyna import Providr")


def test_every_kind_of_the_kit_is_described() -> None:
    from ezkielyna import testing

    text = README.read_text()
    missing = [name for name in testing.__all__ if name not in text]
    assert missing in ([], ["ScriptedUpstream"])


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_code_is_python(number: int) -> None:
    compile(BLOCKS[number], f"{README}, block {number + 1}", "exec")


def test_the_ten_lines_make_a_provider() -> None:
    [block] = [block for block in BLOCKS if "class AcmeProvider" in block]
    module: dict[str, object] = {"__name__": "ezkielyna_acme"}
    exec(block, module)
    [provider] = module["register_providers"]()  # type: ignore[operator]
    assert provider.kind == "acme"
    assert provider.Settings().base_url == "https://api.acme.example/v1"
    body = block.partition("class AcmeProvider")[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10


def test_the_changes_of_the_walk_make_the_oracle(tmp_path: Path) -> None:
    """What the walk changes is what `plugins new` writes, and what comes of it translates."""
    write_plugin("oracle", "provider", tmp_path)
    found = re.findall(r"```diff\n(.*?)```", README.read_text(), re.DOTALL)
    names = ("ezkielyna_oracle.py", "tests/test_oracle.py")
    code, tests = (
        changed((tmp_path / "ezkielyna-oracle" / name).read_text(), diff)
        for name, diff in zip(names, found, strict=True)
    )
    compile(tests, "test_oracle.py", "exec")
    module: dict[str, Any] = {"__name__": "ezkielyna_oracle"}
    exec(code, module)
    provider = module["OracleProvider"](
        "delphi", module["OracleProvider"].Settings(base_url="http://o")
    )
    exchange = provider.exchange(make_request(stream=True), "pythia")
    assert exchange.request.url == "http://o/consult"
    asked = orjson.loads(exchange.request.body)
    assert asked["question"] == [{"who": "asker", "says": "Hello"}]
    events = [
        {"consultation": "c1", "spirit": "pythia"},
        {"utter": "return "},
        {"seal": {"cause": "whole", "heard": 4, "uttered": 1}},
    ]
    told = exchange.feed(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events))
    told += exchange.close()
    assert b'"content":"return "' in told
    assert told.endswith(b"data: [DONE]\n\n")
    assert (exchange.usage.input, exchange.usage.output) == (4, 1)


def changed(text: str, diff: str) -> str:
    """Return a text with the changes of a diff without numbers; each place must be there once."""
    for part in diff.split("@@\n")[1:]:
        lines = part.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] == sign) for sign in "-+")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
