"""`plugins new`: what it writes installs, passes its tests, serves, and answers OpenAI's SDK."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from openai import OpenAI

from ezkielyna.cli.main import main
from ezkielyna.cli.scaffold import SUMMARIES, Unscaffolded, write_plugin
from ezkielyna.storage.embedded import PROGRAM
from ezkielyna.testing.background import BackgroundUpstream
from ezkielyna.testing.processes import clean_environment
from ezkielyna.testing.scripted import streaming

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
plugins = ["fresh-provider", "fresh-limiter", "fresh-billing", "fresh-payment"]

[providers.lab]
kind = "fresh-provider"
base_url = "{url}"

[models.m]
provider = "lab"
input = 1
output = 2

[plans.default]
limiter = "fresh-limiter"
rpm = 60
billing = "house"

[billing.house]
kind = "fresh-billing"
night = [0, 23]

[payments.bank]
kind = "fresh-payment"
page = "https://bank.example"
webhook_secret = "a-secret-of-the-bank"
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A fresh environment that sees this one's packages, and nothing of the plugins' to be."""
    folder = tmp_path / "fresh"
    venv.create(folder, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    (site / "ours.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    (folder / "bin" / PROGRAM).symlink_to(Path(sys.executable).parent / PROGRAM)
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path) -> str:
    environment = {**clean_environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    result = subprocess.run(
        [str(python), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


SERVED = """
import sys
from pathlib import Path
from ezkielyna.testing.background import served
with served(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), "5") as gateway:
    print(gateway.url, gateway.key, flush=True)
    sys.stdin.read()
"""


def test_new_plugins_work_from_the_start(python: Path, tmp_path: Path) -> None:
    """One of each kind, in an empty folder and a fresh environment."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for kind in SUMMARIES:
        command = ["plugins", "new", f"fresh-{kind}", "--kind", kind, "--into", str(empty)]
        assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    packages = sorted(map(str, empty.iterdir()))
    assert len(packages) == len(SUMMARIES)
    editable = [argument for package in packages for argument in ("-e", package)]
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(python, *pip, *editable, cwd=empty)
    plugins = ("-p", "no:cacheprovider", "-p", "no:tornasync", "-p", "no:xdist")
    tested = run(python, "-m", "pytest", "-q", *plugins, *packages, cwd=empty)
    passed = int(tested.rpartition(" passed")[0].split()[-1])
    assert passed > 24 * len(packages)
    with BackgroundUpstream(streaming(WORDS)) as upstream:
        (tmp_path / "my.toml").write_text(CONFIGURATION.replace("{url}", upstream.url))
        answered(python, tmp_path)


WORDS = [
    b'data: {"id": "1", "word": "Hello"}\n\n',
    b'data: {"id": "1", "why": "done", "heard": 3, "said": 1}\n\n',
]


def answered(python: Path, folder: Path) -> None:
    """Serve with the new plugins in their environment, and ask with OpenAI's SDK."""
    process = subprocess.Popen(
        [str(python), "-c", SERVED, str(folder / "my.toml"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url, key = process.stdout.readline().split()
        client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        messages: Any = [{"role": "user", "content": "Hi"}]
        stream: Any = client.chat.completions.create(
            model="m", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        assert "".join(said) == "Hello"
        assert chunks[-1].usage.cost == 0.0000025  # half of 3 * 1 + 1 * 2 USD a million
        raw = client.chat.completions.with_raw_response.create(
            model="m", messages=messages, stream=True
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "60"
        raw.http_response.close()
        client.close()
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.parametrize("name", ["", "Fresh", "a b", "../up", "9lives", "a_b", "-a", "a-"])
def test_names_that_no_package_has_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unscaffolded, match="small letters"):
        write_plugin(name, "provider", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_plugin("two-words", "billing", tmp_path)
    module = tmp_path / "ezkielyna-two-words" / "ezkielyna_two_words.py"
    assert "class TwoWordsPolicy(BillingPolicy)" in module.read_text()
    result = CliRunner().invoke(
        main, ["plugins", "new", "two-words", "--kind", "billing", "--into", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "is there already" in result.stderr


def test_what_is_written_is_tidy_and_typed(tmp_path: Path) -> None:
    for kind in SUMMARIES:
        write_plugin(f"tidy-{kind}", kind, tmp_path)
    binaries = Path(sys.executable).parent
    modules = [str(path) for path in tmp_path.glob("*/ezkielyna_*.py")]
    checks = (
        [
            binaries / "ruff",
            "check",
            "--isolated",
            "--select",
            "E,F,I,UP,B",
            "--line-length",
            "100",
        ],
        [binaries / "ruff", "format", "--isolated", "--check", "--line-length", "100"],
    )
    for command in checks:
        shown = subprocess.run(
            [*command, "."], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stdout
    typed = subprocess.run(
        [binaries / "mypy", "--strict", *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert typed.returncode == 0, typed.stdout
