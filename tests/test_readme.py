"""The front door: every command of the README runs, and every option is told of."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dregutil
from dregutil.cli.parser import COMMANDS, build_parser
from images import Pusher
from servers import DistributionServer
from test_seed_examples import shell

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("dregutil")]


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    for version in ("1.0", "1.3", "2.0", "latest"):
        pusher.push_image("shop/web", version, seed=version)
    pusher.push_image("shop/web", "1.3.2", "stable", seed="shared")
    return pusher


@pytest.mark.parametrize("line", LINES)
def test_every_command_runs(line: str, shop: Pusher, registry_server: DistributionServer, tmp_path: Path) -> None:
    (policy,) = (block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "policies:" in block)
    (tmp_path / "policy.yml").write_text(policy)
    found = shell(_here(line, registry_server), tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    assert found.stdout or "held" in found.stderr or "is selected" in found.stderr


def _here(line: str, server: DistributionServer) -> str:
    return line.replace("registry.example.com", server.host).replace("/var/lib/registry", str(server.storage))


def test_the_console_example_runs_as_printed(shop: Pusher, registry_server: DistributionServer, tmp_path: Path) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    before = shop.tags("shop/web")
    wanted = dict(part.split("\n", 1) for part in block.split("$ ") if part)
    for line, output in wanted.items():
        found = shell(line, tmp_path, registry_server)
        assert found.returncode == 0, found.stderr
        shown = found.stderr.replace("as read 0 seconds ago; --refresh reads it again\n", "") + found.stdout
        assert _settled(shown, registry_server.host) == _settled(output, "registry.example.com")
    assert shop.tags("shop/web") == before


def _settled(text: str, host: str) -> str:
    """Without what differs from run to run: the run's name and moment, the plan's sum, the host's length."""
    text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{5}", "RUN", text).replace(host, "HOST")
    text = re.sub(r"as of \d{4}-\d\d-\d\d \d\d:\d\d UTC", "as of then", text)
    return re.sub(r" +", " ", re.sub(r"sha256:[0-9a-f]{64};", "SUM;", text))


def test_the_library_example_runs_and_can_be_taken_back(
    shop: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    before = shop.tags("shop/web")
    home = {**os.environ, "HOME": str(tmp_path)}
    home.pop("XDG_STATE_HOME", None)
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0].replace("registry.example.com", registry_server.url)
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=home, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.partition(" ")[2] == "[(('1.0',), 'removed'), (('1.3',), 'removed')]\n"
    assert set(shop.tags("shop/web")) == {"1.3.2", "stable", "2.0", "latest"}
    (run,) = (tmp_path / ".local/state/dregutil/runs").iterdir()
    undo = [sys.executable, "-m", "dregutil", "undo", run.name]
    subprocess.run(undo, env=home, cwd=tmp_path, check=True, capture_output=True)
    assert shop.tags("shop/web") == before


def test_every_command_is_told_of() -> None:
    assert [name for name in COMMANDS if name not in TEXT] == []


def test_every_option_of_a_removal_has_a_help_text() -> None:
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert [
        (name, action.option_strings)
        for name, command in commands.choices.items()
        for action in command._actions
        if not action.help
    ] == []


def test_every_public_name_is_there() -> None:
    assert [name for name in dregutil.__all__ if getattr(dregutil, name, None) is None] == []
