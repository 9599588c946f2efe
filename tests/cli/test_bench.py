"""`ezkielyna bench`: sends, shows, writes, compares, and keeps keys to itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.bench import shown
from ezkielyna.cli.main import main
from ezkielyna.cli.reports import FILES
from ezkielyna.testing.dialect import JSON, chat_answer, chat_stream
from ezkielyna.testing.scripted import ScriptedUpstream, answering, streaming

KEY = "ez-never-to-be-seen"


def bench(*words: str, **environment: str) -> Result:
    empty = {"OPENAI_BASE_URL": None, "OPENAI_API_KEY": None, "EZ_KEY": None, **environment}
    return CliRunner().invoke(main, ["bench", *words], env=empty)


async def test_a_run_writes_its_report_in_four_forms_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(streaming(chat_stream(["a", "b", "c"]))) as upstream:
        words = [f"{upstream.url}/v1", "--model", "m", "-c", "2", "-r", "40", "--requests", "8"]
        words += ["--warm-up", "0", "--rounds", "2", "--processes", "2", "--key", KEY]
        words += ["--header", f"x-other-key: {KEY}", "--out", str(tmp_path), "--limit", "total=1m"]
        monkeypatch.setattr(sys, "argv", ["ezkielyna", "bench", *words])
        result = await asyncio.to_thread(bench, *words)
        received = upstream.requests
    assert result.exit_code == 0, result.output
    assert len(received) == 2 * 2 * 8
    assert {one.headers["authorization"] for one in received} == {f"Bearer {KEY}"}
    assert {one.headers["x-other-key"] for one in received} == {KEY}
    assert len({one.body for one in received}) == 2 * 2 * 8  # no process asks what another asks
    written = {name: (tmp_path / name).read_text() for name in FILES}
    assert KEY not in result.output + "".join(written.values())
    document = json.loads(written["report.json"])
    assert "--key …" in document["command"]
    assert [step["load"]["way"] for step in document["steps"]] == ["closed", "open"]
    assert all(one["errors"] == 0 for step in document["steps"] for one in step["rounds"])
    assert document["steps"][0]["figures"]["good_share"]["min"] == 1.0
    assert len(written["requests.jsonl"].splitlines()) == 2 * 2 * 8
    assert "2 at once" in result.stdout
    assert "40 requests/s" in result.stdout


async def test_json_goes_to_standard_output_and_nothing_answered_is_status_1() -> None:
    async with ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream:
        words = ("--model", "m", "-c", "1", "--requests", "3", "--warm-up", "0", "--json")
        well = await asyncio.to_thread(
            bench, *words, "--no-stream", OPENAI_BASE_URL=f"{upstream.url}/v1", EZ_KEY=KEY
        )
        assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
        upstream.scripts = [answering(401, JSON, b'{"error":{"type":"invalid_api_key"}}')]
        badly = await asyncio.to_thread(bench, f"{upstream.url}/v1", *words)
    assert well.exit_code == 0, well.output
    assert json.loads(well.stdout)["steps"][0]["rounds"][0]["requests"] == 3
    assert badly.exit_code == 1
    assert "No request was answered. 401 invalid_api_key" in badly.stderr


def test_two_reports_are_compared(tmp_path: Path) -> None:
    figure = {"median": 100.0, "min": 90.0, "max": 110.0}
    step = {"load": {"way": "closed", "amount": 8}, "figures": {"requests_s": figure}}
    report = {"format": "ezkielyna-bench", "version": 1, "steps": [{**step, "rounds": [{}] * 3}]}
    slow, fast, odd = (tmp_path / name for name in ("slow.json", "fast.json", "odd.json"))
    slow.write_text(json.dumps(report))
    fast.write_text(json.dumps(report).replace("100.0", "200.0").replace("90.0", "190.0"))
    fast.write_text(fast.read_text().replace("110.0", "210.0"))
    odd.write_text("{}")
    result = bench("--compare", str(slow), str(fast))
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if "requests_s" in line)
    assert line.split()[-7:] == ["100", "200", "2.000", "1.727", "…", "2.333", "differs"]
    as_json = json.loads(bench("--compare", str(slow), str(fast), "--json").stdout)
    assert as_json[0]["ratio"] == 2.0
    refused = bench("--compare", str(slow), str(odd))
    assert (refused.exit_code, refused.stderr.strip()) == (
        1,
        f"{odd} is not a report of `ezkielyna bench`",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Give the URL and --model"),
        (["http://h/v1"], "Give the URL and --model"),
        (["ftp://h", "--model", "m"], "is no address"),
        (["http://h/v1", "--model", "m", "-c", "0"], "write positive whole numbers"),
        (["http://h/v1", "--model", "m", "-c", "1.5"], "write positive whole numbers"),
        (["http://h/v1", "--model", "m", "-r", "fast"], "write positive numbers"),
        (["http://h/v1", "--model", "m", "-c", "1", "--processes", "2"], "each sends its part"),
        (["http://h/v1", "--model", "m", "--duration", "soon"], "write 500ms, 10s or 2m"),
        (["http://h/v1", "--model", "m", "--duration", "0"], "longer than nothing"),
        (["http://h/v1", "--model", "m", "--limit", "speed=1s"], "write NAME=TIME"),
        (["http://h/v1", "--model", "m", "--input-tokens", "few"], "write 64, 50-200"),
        (["http://h/v1", "--model", "m", "--body", "[]"], "write a JSON object"),
        (["http://h/v1", "--model", "m", "--header", KEY], "'Name: value'"),
    ],
)
def test_wrong_usage_says_what_to_write(words: list[str], told: str) -> None:
    result = bench(*words)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert KEY not in result.stderr


@pytest.mark.parametrize(
    ("text", "told"), [("", "has no prompt"), ('{"question": 1}', ":1 is no JSON object")]
)
def test_prompts_that_are_none_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "prompts").write_text(text)
    result = bench("http://h/v1", "--model", "m", "--prompts", str(tmp_path / "prompts"))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split()).replace(": 1", ":1")


def test_the_help_has_examples_that_can_be_pasted() -> None:
    text = bench("--help").stdout
    assert "ezkielyna bench http://127.0.0.1:8080/v1 --model sim-gpt -c 1,8,32" in text
    assert "ezkielyna bench --compare before/report.json after/report.json" in text


def test_no_secret_is_shown_in_the_command() -> None:
    assert shown(["bench", "--key", KEY, f"--key={KEY}", "--header", f"a: {KEY}"]) == (
        "ezkielyna bench --key … --key=… --header …"
    )
