"""The README and the documents linked from it: their commands and examples run, and none is missing."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_seed_examples import shell

import dregutil
from documents import DOCUMENTS, HOST, ROOT, blocks, commands, dialogue, fill, here, settled, shown_on_terminal
from dregutil.cli.parser import COMMANDS, build_parser
from images import Pusher
from servers import DistributionServer

README = (ROOT / "README.md").read_text()
LIBRARY = "docs/library.md"  # test_library_page.py runs its programs
# test_retention_docs.py, test_newcomer.py and test_configuration_docs.py run their examples, test_help_examples.py
# that of operations.md
ELSEWHERE = (
    "docs/retention.md",
    "docs/configuration.md",
    "docs/operations.md",
    "docs/tour.md",
    "docs/serve.md",
    "docs/commands.md",
    "docs/analysis.md",
)


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    for version in ("1.0", "1.3", "2.0", "latest"):
        pusher.push_image("shop/web", version, seed=version)
    pusher.push_image("shop/web", "1.3.2", "stable", seed="shared")
    return pusher


@pytest.mark.parametrize(("document", "line"), [(name, line) for name in DOCUMENTS for line in commands(name)])
def test_every_command_runs(
    document: str, line: str, shop: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    (policy,) = (block for block in blocks("README.md", "yaml") if "policies:" in block)
    (tmp_path / "policy.yml").write_text(policy)
    found = shell(here(line, registry_server), tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    assert found.stdout or "held" in found.stderr or "is selected" in found.stderr or "is in " in found.stderr


@pytest.mark.parametrize(
    ("document", "number"), [(name, number) for name in DOCUMENTS for number in range(len(blocks(name, "console")))]
)
def test_every_console_example_runs_as_printed(
    document: str, number: int, pusher: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    """On a terminal, including the questions; each example restores what it removes."""
    fill(pusher)
    before = pusher.tags("shop/web")
    for line, output in dialogue(blocks(document, "console")[number]):
        code, shown = shown_on_terminal(line, tmp_path, registry_server)
        assert code == 0, shown
        assert settled(shown, registry_server) == settled(output)
    assert pusher.tags("shop/web") == before


@pytest.mark.parametrize(
    ("document", "code"),
    [(name, block) for name in DOCUMENTS if name != LIBRARY for block in blocks(name, "python")],
)
def test_every_python_example_runs(
    document: str, code: str, shop: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    found = _python(code, registry_server, tmp_path)
    assert found.returncode == 0, found.stderr
    assert "1.0" in found.stdout


@pytest.mark.parametrize("document", ["README.md", LIBRARY])
def test_the_library_example_runs_and_can_be_undone(
    document: str, shop: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    before = shop.tags("shop/web")
    code = blocks(document, "python")[0]
    found = _python(code, registry_server, tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.partition(" ")[2] == "[('1.0',), ('1.3',)]\n"
    assert set(shop.tags("shop/web")) == {"1.3.2", "stable", "2.0", "latest"}
    (run,) = (tmp_path / ".local/state/dregutil/runs").iterdir()
    assert run.name == found.stdout.partition(" ")[0]
    undo = [sys.executable, "-m", "dregutil", "undo", run.name, "-y"]
    subprocess.run(undo, env=_home(tmp_path), cwd=tmp_path, check=True, capture_output=True)
    assert shop.tags("shop/web") == before


def test_the_library_example_of_the_readme_is_six_lines() -> None:
    (code,) = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 6


def _python(code: str, server: DistributionServer, home: Path) -> subprocess.CompletedProcess[str]:
    code = code.replace(HOST, server.url)
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=_home(home), capture_output=True, text=True, check=False)


def _home(folder: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"} | {"HOME": str(folder)}


def test_no_example_is_left_out() -> None:
    """A document with something to run is in the list, or has its own test."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        if re.search(r"^```(console|python)$|^(\$ )?dregutil ", path.read_text(), re.MULTILINE)
    }
    assert found == {*DOCUMENTS, *ELSEWHERE}
    assert not [name for name in DOCUMENTS if re.search(r"^```\n\$ ", (ROOT / name).read_text(), re.MULTILINE)]


def test_the_readme_is_short_and_links_to_every_document() -> None:
    assert len(README.splitlines()) <= 250
    linked = {name for name in DOCUMENTS if f"]({name})" in README}
    assert linked == set(DOCUMENTS) - {"README.md"}


def test_the_readme_mentions_every_command() -> None:
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", README)] == []


def test_every_option_of_a_removal_has_a_help_text() -> None:
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert [
        (name, action.option_strings)
        for name, command in commands.choices.items()
        for action in command._actions
        if not action.help
    ] == []


def test_every_public_name_exists() -> None:
    assert [name for name in dregutil.__all__ if getattr(dregutil, name, None) is None] == []
