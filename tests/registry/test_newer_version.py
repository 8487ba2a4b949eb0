"""Files of a newer version are refused in one line with advice, and never read partially."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from dregutil.errors import CacheError, JournalError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tag_history import TagHistory
from dregutil.journal.lines import RunLine, decode_line, encode_line
from images import Pusher
from program import Program
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    """The last of two removals is that of a newer version."""
    program = Program(registry_server.url, tmp_path)
    for number in range(3):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    for number in range(2):
        assert program.run("remove-tags", "-r", "r", "-t", f"1.{number}").returncode == 0
    return program


@pytest.mark.parametrize("is_understood", [True, False])
def test_a_run(program: Program, pusher: Pusher, is_understood: bool) -> None:
    """Whether or not the first line of its record has the current form."""
    record = program.runs[-1] / "journal.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    header = decode_line(lines[0])
    assert isinstance(header, RunLine)
    header.version = 2
    newer = header if is_understood else {"type": "run", "version": 2, "of": {"registry": header.registry}}
    record.write_bytes(b"".join((encode_line(newer), *lines[1:])))
    run = program.runs[-1].name
    before = pusher.tags("r")
    for command in (("undo", "-y"), ("undo", run, "-y"), ("apply", "--resume", run, "-y"), ("history", run)):
        found = program.run(*command)
        assert found.returncode == 1, (command, found.stderr)
        assert found.stderr.splitlines() == [
            f"dregutil: the record of the run {run} is of version 2, this program reads 1",
            "  undo or resume it with the dregutil that wrote it, or a newer one",
        ], command
        assert found.stdout == ""
    assert pusher.tags("r") == before
    found = program.run("history", "--format", "json")
    assert found.returncode == 3
    assert f"the record of the run {run} is of version 2" in found.stderr
    assert [one["run"] for one in json.loads(found.stdout)] == [program.runs[0].name]
    assert program.run("undo", program.runs[0].name, "-y").returncode == 0
    assert pusher.tags("r").keys() == {"1.0", "1.2"}


def test_a_plan(program: Program, pusher: Pusher) -> None:
    assert program.run("remove-tags", "-r", "r", "-t", "1.2", "--plan-out", "plan").returncode == 0
    plan = program.folder / "plan"
    text = plan.read_text()
    assert '"version":1' in text
    plan.write_text(text.replace('"version":1', '"version":2', 1))
    found = program.run("apply", "plan", "-y")
    assert found.returncode == 5
    (first, advice) = found.stderr.splitlines()
    assert "version 2, this program reads 1" in first
    assert advice.strip()
    assert pusher.tags("r").keys() == {"1.2"}


def test_sightings(program: Program) -> None:
    store = TagHistory(program.state, program.url.partition("//")[2])
    (program.folder / "policy.yml").write_text(
        "version: 1\npolicies:\n  - name: all\n    repositories: ['**']\n    keep: {last: 1}\n"
    )
    assert program.run("cleanup", "-f", "policy.yml", "--dry-run").returncode == 0
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA user_version = 99")
    written = store.path.read_bytes()
    with pytest.raises(JournalError, match="newer version") as raised:
        store.has_begun()
    assert raised.value.advice
    found = program.run("cleanup", "-f", "policy.yml", "-y")
    assert found.returncode == 1, found.stderr
    assert "newer version" in found.stderr
    assert store.path.read_bytes() == written


def test_a_content_database(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    ContentDatabase.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO migration VALUES ('of a newer version')")
    written = path.read_bytes()
    with pytest.raises(CacheError, match="newer version") as raised:
        ContentDatabase.open(path)
    assert raised.value.advice
    assert path.read_bytes() == written
