"""`ezkielyna accounts ledger`: every entry with the balance after it, streamed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ezkielyna.cli.main import main
from ezkielyna.contract.money import nano
from ezkielyna.storage.ledger import statement
from ezkielyna.testing.database import DatabaseServer
from ezkielyna.testing.dialect import JSON, chat_answer
from ezkielyna.testing.gateway import Gateways
from ezkielyna.testing.lab import post
from ezkielyna.testing.scripted import ScriptedUpstream, answering

CHAT = {"model": "gpt-lab", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def command(server: DatabaseServer, database: str, folder: Path, *words: str) -> Result:
    environment = {
        "EZKIELYNA_STORAGE__URL": server.url,
        "EZKIELYNA_STORAGE__DATABASE": database,
        "EZKIELYNA_DATA": str(folder),
    }
    return CliRunner().invoke(main, words, env=environment)


def test_credits_and_corrections_add_up(database_server: DatabaseServer, tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        result = command(database_server, "test_statement", tmp_path, "accounts", *words)
        assert result.exit_code == 0, result.stderr
        return result

    run("create", "a@example.org")
    assert json.loads(run("ledger", "a@example.org", "--json").stdout) == []
    assert "Nothing ever moved" in run("ledger", "a@example.org").stdout
    run("credit", "a@example.org", "2.50", "--reason", "for\nyou", "--reference", "gift-1")
    run("credit", "a@example.org", "-0.000000001", "--reason", "slip", "--reference", "slip-1")
    entries = json.loads(run("ledger", "a@example.org", "--json").stdout)
    assert [(e["kind"], e["amount"], e["balance"], e["reference"]) for e in entries] == [
        ("credit", "2.50", "2.50", "gift-1"),
        ("correction", "-0.000000001", "2.499999999", "slip-1"),
    ]
    assert entries[0]["at"].endswith("Z")
    assert entries[0]["note"] == "for\nyou"
    head, first, second = run("ledger", "a@example.org").stdout.splitlines()
    assert head.split()[:2] == ["TIME", "KIND"]
    assert first.split()[1:] == ["credit", "2.50", "2.50", "gift-1", "for", "you"]
    assert "2.499999999" in second


def test_nobody_has_no_statement(database_server: DatabaseServer, tmp_path: Path) -> None:
    result = command(
        database_server, "test_statement_2", tmp_path, "accounts", "ledger", "b@example.org"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no account b@example.org" in result.stderr


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_settlements_are_in_it(gateways: Gateways, oldest_first: bool) -> None:
    async with (
        ScriptedUpstream(answering(200, JSON, chat_answer())) as upstream,
        gateways(upstream.url, credit="5") as gateway,
    ):
        assert (await post(gateway.url, gateway.key, CHAT)).status == 200
    entries = [
        entry
        async for entry in statement(gateway.database, gateway.account, oldest_first=oldest_first)
    ]
    if not oldest_first:
        entries.reverse()
    assert [entry.kind for entry in entries] == ["credit", "settlement"]
    assert entries[0].amount == nano("5")
    assert entries[1].amount == -40_000, "8 tokens in at 2.50, 2 out at 10"
