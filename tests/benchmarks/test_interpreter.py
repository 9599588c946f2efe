"""`.venv` is made with the first Python that will do, or with a much faster one after it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import interpreter
from benchmarks.interpreter import Interpreter, chosen, compared, on_path

SLOW = Interpreter("/one/python3", "3.11.7", 8_000_000)


def test_the_first_is_taken_unless_another_is_much_faster() -> None:
    little = Interpreter("/two/python3", "3.13.0", 9_500_000)
    much = Interpreter("/three/python3", "3.11.2", 9_600_000)
    assert chosen([SLOW]) == SLOW
    assert chosen([SLOW, little]) == SLOW
    assert chosen([little, SLOW]) == little
    assert chosen([SLOW, little, much]) == much
    assert chosen([]) is None


def test_a_program_with_two_names_is_looked_at_once(tmp_path: Path) -> None:
    first, second, third = (program(tmp_path / name, "exit 0") for name in "abc")
    link = tmp_path / "d" / "python3"
    link.parent.mkdir()
    link.symlink_to(first)
    folders = [str(one.parent) for one in (first, second, link, third)]
    assert on_path(["", *folders, str(tmp_path / "absent")]) == [first, second, third]


def test_a_python_that_will_not_do_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "broken", "exit 1")
    program(tmp_path / "babbling", "echo no JSON")
    program(tmp_path / "good", f'exec {sys.executable} "$@"')
    done = asked(tmp_path / "broken", tmp_path / "babbling", tmp_path / "good")
    assert done.stdout.strip() == sys.executable
    assert not done.stderr


def test_where_none_will_do_python3_itself_is_to_say_why(tmp_path: Path) -> None:
    program(tmp_path / "broken", "exit 1")
    assert asked(tmp_path / "broken").stdout.strip() == "python3"


def test_another_one_is_taken_with_a_reason_and_a_way_back(tmp_path: Path) -> None:
    slow = json.dumps({"path": "/slow/python3", "version": "3.11.7", "calls_s": 1000})
    program(tmp_path / "slow", f"echo '{slow}'")
    program(tmp_path / "fast", f'exec {sys.executable} "$@"')
    done = asked(tmp_path / "slow", tmp_path / "fast")
    assert done.stdout.strip() == sys.executable
    for told in (sys.executable, "/slow/python3 (3.11.7,", "PYTHON=python3"):
        assert told in done.stderr


def test_a_python_is_known_by_its_best_round(tmp_path: Path) -> None:
    counted = """echo >> $0.rounds
        calls=$((1000 * $(wc -l < $0.rounds)))
        echo '{"path": "/p", "version": "3", "calls_s": '$calls'}'"""
    programs = [program(tmp_path / name, counted) for name in "ab"]
    assert [one.calls_s for one in compared(programs)] == [1000 * interpreter.ROUNDS] * 2
    assert compared([programs[0]])[0].calls_s == 1000 * (interpreter.ROUNDS + 1), "asked once"


def test_one_that_is_too_old_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(SystemExit):
        interpreter.tell()


def program(folder: Path, does: str) -> Path:
    folder.mkdir()
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def asked(*folders: Path) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(map(str, folders))
    return subprocess.run(
        [sys.executable, interpreter.__file__],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
