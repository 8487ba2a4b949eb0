"""Every example in the help of a command runs, in the order in which help shows them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_seed_examples import shell

from documents import blocks, commands, fill, here
from dregutil.cli.parser import COMMANDS
from images import Pusher
from program import Program
from servers import DistributionServer, find_program

RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{5}")
ENDLESS = ("listen", "serve", "work")
STOPPED = ("collect",)  # with the registry stopped


@pytest.fixture
def example(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Callable[[str], str]:
    """Run a command line on the registry of the documents, with a policy, a plan, and an interrupted run."""
    fill(pusher)
    (policy,) = (block for block in blocks("README.md", "yaml") if "policies:" in block)
    (tmp_path / "policy.yml").write_text(policy)
    (tmp_path / "images.txt").write_text("shop/web:1.0\n")
    names: list[str] = []
    line = '127.0.0.1 - - [26/Nov/2026:16:12:30 +0000] "GET /v2/shop/web/manifests/1.1 HTTP/1.1" 200 5 "" "docker/28"\n'
    (tmp_path / "access.log").write_text(line)
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 30}
    (tmp_path / "lifecycle.json").write_text(json.dumps({"rules": [{"rulePriority": 1, "selection": selection}]}))

    def run(line: str) -> str:
        line = RUN.sub(lambda _: names[0], here(line, registry_server))
        line = line.replace("sqlite:///tmp/", f"sqlite://{tmp_path}/")
        found = shell(f"dregutil {line}", tmp_path, registry_server)
        assert found.returncode == 0, found.stderr
        return found.stdout + found.stderr

    for name, tags in (("plan", "1.0"), ("monday", "1.0"), ("tuesday", "1.0 1.1")):
        run(f"remove-tags -r payments/api -t {tags} --plan-out {name}.jsonl")
    run("remove-tags -r shop/web -t 1.1 -y")
    shutil.copytree(tmp_path / "state" / "dregutil" / "runs", tmp_path / "state" / "runs")  # what is imported
    (folder,) = (tmp_path / "state" / "dregutil" / "runs").iterdir()
    names.append(folder.name)
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-3]))  # the outcome, a look and the end: as if it had been killed
    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_runs(name: str, example: Callable[[str], str], tmp_path: Path) -> None:
    for line, _ in COMMANDS[name].examples if name not in (*ENDLESS, *STOPPED) else ():
        shown = example(line)
        written = shlex.split(line)[-1] if " > " in line else ""
        assert shown or (tmp_path / written).stat().st_size, line


@pytest.mark.parametrize("name", ENDLESS)
def test_every_example_of_a_command_without_end_runs(
    name: str, registry_server: DistributionServer, tmp_path: Path
) -> None:
    program = Program(registry_server.url, tmp_path)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "policy.yml").write_text(
        "version: 1\npolicies: [{name: web, repositories: [shop/*], keep: {last: 2}}]\n"
    )
    for line, _ in COMMANDS[name].examples:
        words = shlex.split(line)
        if "--addr" not in words:
            words += ["--addr", "127.0.0.1:0"]
        words = [word.replace("sqlite:///tmp/", f"sqlite://{tmp_path}/") for word in words]
        running = program.start(*(word.replace(":5099", ":0") for word in words))
        assert running.stderr is not None
        assert re.match("listening on|open http|dregutil work: working", running.stderr.readline()), line
        running.terminate()
        running.communicate(timeout=30)
        assert running.returncode == 0, line


@pytest.mark.parametrize("name", STOPPED)
def test_every_example_with_the_registry_stopped_runs(
    name: str, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    fill(pusher)
    program = Program(registry_server.url, tmp_path)
    registry_server.stop()
    with socket.socket() as reserved:  # so that no other server gets the port
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", registry_server.port))
        (in_docs,) = commands("docs/operations.md")
        in_docs = in_docs.removeprefix("dregutil -reg registry.example.com ").replace(name, f"{name} -y", 1)
        for line in (*(line for line, _ in COMMANDS[name].examples), in_docs):
            words = {
                **dict.fromkeys(("/var/lib/registry", "."), str(registry_server.storage)),
                **dict.fromkeys(("/etc/registry.yml", "gc.yml"), str(registry_server.configuration)),
                "registry": find_program(*registry_server.program),
            }
            done = program.run(*(words.get(word, word) for word in shlex.split(line)))
            assert done.returncode == 0, done.stderr


def test_what_an_example_writes_is_a_script(example: Callable[[str], str], tmp_path: Path) -> None:
    example(COMMANDS["completion"].examples[0][0])
    assert subprocess.run(["bash", "-n", tmp_path / "dregutil.bash"], check=False).returncode == 0
