"""The first section of docs/retention.md: its commands, run in their order, on a real registry."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from test_compose_example import Server

from composed import Composed
from documents import ROOT
from dregutil.oci.names import RegistryAddress
from dregutil.pulls.store import PullStore
from images import Pusher, created
from listening import until
from program import PROGRAM, run_on_terminal
from servers import DistributionServer, find_program, free_port
from servers.engine import Engine
from time_passed import record_since, runs_are_older

TEXT = (ROOT / "docs" / "retention.md").read_text()
_SECTION = TEXT.partition("## The newest three")[2].partition("\n## ")[0]
NO_PULL = {"User-Agent": "trivy/0.60.0"}


def section(heading: str) -> str:
    found = re.search(rf"^### {heading}\n(.*?)(?=^### |\Z)", _SECTION, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def code(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def cron_commands(block: str) -> list[str]:
    """What follows the five fields of a crontab."""
    return [line.split(maxsplit=5)[5] for line in block.splitlines()]


def fill(pusher: Pusher) -> None:
    """A year ago."""
    for number in range(6):
        pusher.push_image("shop/web", f"1.{number}", seed=str(number), config=created(400 - number))


KEPT = {"1.1", "1.3", "1.4", "1.5"}  # 1.1 runs


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path, f"sha256:{'1' * 64}") as found:
        found.images = ["localhost:5000/shop/web:1.1"]
        yield found


def _check_look(shown: str) -> None:
    """What a newcomer is asked to look at."""
    assert re.search(r"^deletion +allowed$", shown, re.MULTILINE)
    assert "everything counts as pulled: pulled_within: 90d" in shown
    assert "0 tags to go" in shown
    assert "shop/web:1.0  not recorded" in shown


def test_with_compose(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = Composed.make(tmp_path / "registry", tmp_path / "composed", DistributionServer)
    server = Server(composed, engine)
    monkeypatch.setenv("HOME", str(tmp_path))
    run = server.run
    start, look = code(section("With Docker Compose"), "bash")
    (nightly,) = code(section("With Docker Compose"))
    _, review = code(section("When something goes"), "bash")
    try:
        run(start, folder=ROOT)
        with Pusher(composed.url, headers=NO_PULL) as pusher:
            fill(pusher)
            (dry_run,) = (line for line in look.splitlines() if "--dry-run" in line)
            runs, engine.images = engine.images, ["registry:2"]
            assert "the list docker names nothing that is in" in run(dry_run, code=5)
            engine.images = runs
            _check_look(run(look))
            cleanup, collect = cron_commands(nightly)
            run(cleanup)
            server.record_since(days=100)
            assert "max_remove" in run(cleanup, code=5)
            run(review)
            assert set(pusher.tags("shop/web")) == KEPT
        runs_are_older(server.state, timedelta(hours=20))
        assert "freed" in run(collect)
        run(cleanup)
        with Pusher(composed.url, headers=NO_PULL) as pusher:
            assert all(pusher.is_whole("shop/web", tag) for tag in KEPT)
    finally:
        composed.stop()


class Machine:
    """A machine with a registry, and the folder of a newcomer."""

    def __init__(self, server: DistributionServer, folder: Path, engine: Engine) -> None:
        self.server = server
        self.folder = folder
        self.port = free_port()
        left = {
            name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL", "XDG"))
        }
        self.environment = {
            **left,
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{engine.socket}",
            "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
        }

    def here(self, text: str) -> str:
        for there, here in (
            ("http://localhost:5000", self.server.url),
            (":5099", f":{self.port}"),
            ("/srv/dregutil", str(self.folder)),
            ("/usr/local/bin/dregutil", str(PROGRAM)),
            ("/var/lib/registry", str(self.server.storage)),
            (" registry garbage-collect /etc/registry.yml", f" {self.collector}"),
        ):
            text = text.replace(there, here)
        return text

    @property
    def collector(self) -> str:
        return shlex.join([find_program(*self.server.program), "garbage-collect", str(self.server.configuration)])

    def run(self, text: str, code: int = 0) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", self.here(text)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def listening(self, line: str) -> Iterator[None]:
        command = ["sh", "-c", f"exec {self.here(line)}"]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert "listening on" in process.stderr.readline()
            yield
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        assert process.returncode == 0

    @property
    def store(self) -> PullStore:
        return PullStore(self.state, RegistryAddress.parse(self.server.url).identity)

    @property
    def state(self) -> Path:
        return self.folder / ".local" / "state" / "dregutil"

    def configure(self, block: str) -> None:
        """Add what the documents say to the registry's configuration, which has neither, and start it again."""
        token = (self.folder / "token").read_text().strip()
        added = yaml.safe_load(self.here(block).replace("TOKEN", token))
        found = yaml.safe_load(self.server.configuration.read_text())
        del found["storage"]["delete"]
        assert not added.keys() - {"storage", "notifications"}
        found["storage"] |= added["storage"]
        self.server.configuration.write_text(yaml.safe_dump({**found, "notifications": added["notifications"]}))
        self.server.stop()
        self.server.start()


def test_without_compose(registry_server: DistributionServer, engine: Engine, tmp_path: Path) -> None:
    machine = Machine(registry_server, tmp_path / "newcomer", engine)
    machine.folder.mkdir()
    text = section("Without Compose")
    (policy,) = code(_SECTION.partition("###")[0], "yaml")
    (machine.folder / "policy.yml").write_text(policy)
    start, look, collect = code(text, "bash")
    (configuration,), (unit,), (cron,) = code(text, "yaml"), code(text, "ini"), code(text)
    review, _ = code(section("When something goes"), "bash")
    token, listen = start.splitlines()
    machine.run(token)
    with Pusher(registry_server.url, headers=NO_PULL) as pusher:
        fill(pusher)
    with machine.listening(listen):
        machine.configure(configuration)
        _check_look(machine.run(look))
        until(machine.store.sources)
    (service,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert re.search(rf"^WorkingDirectory={machine.folder}$", machine.here(unit), re.MULTILINE)
    with machine.listening(service), Pusher(registry_server.url, headers=NO_PULL) as pusher:
        (cleanup,) = cron_commands(cron)
        machine.run(cleanup)
        record_since(
            machine.store, f"http://127.0.0.1:{machine.port}", (machine.folder / "token").read_text(), days=100
        )
        assert "max_remove" in machine.run(cleanup, code=5)
        machine.run(review)
        assert set(pusher.tags("shop/web")) == KEPT
    registry_server.stop()
    runs_are_older(machine.state, timedelta(hours=20))
    command = ["sh", "-c", machine.here(collect)]
    found, shown = run_on_terminal(command, machine.folder, {**machine.environment, "COLUMNS": "500"}, "y")
    assert found == 0, shown
    assert "freed" in shown
    registry_server.start()
    with Pusher(registry_server.url, headers=NO_PULL) as pusher:
        assert all(pusher.is_whole("shop/web", tag) for tag in KEPT)


def test_lists_of_other_machines(
    registry_server: DistributionServer, pusher: Pusher, engine: Engine, tmp_path: Path
) -> None:
    machine = Machine(registry_server, tmp_path / "registry" / "policy", engine)
    machine.folder.mkdir(parents=True)
    fill(pusher)
    text = section("What runs elsewhere")
    (hourly,), (policy,) = code(text), code(text, "yaml")
    (machine.folder / "policy.yml").write_text(policy)
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    container = json.dumps({"Image": "registry.example.com/shop/web:1.2", "State": "running"})
    ssh.write_text(f"#!/bin/sh\n[ \"$*\" = 'web1 docker ps -a --no-trunc --format json' ] && echo '{container}'\n")
    ssh.chmod(0o755)
    machine.environment |= {"HOME": str(tmp_path), "PATH": f"{ssh.parent}{os.pathsep}{machine.environment['PATH']}"}
    engine.images = ["registry.example.com/shop/web:1.1"]
    (line,) = cron_commands(hourly)
    machine.run(line)
    assert not (machine.folder / "web1.new").exists()
    shown = machine.run("dregutil -reg http://localhost:5000 cleanup -f policy.yml --dry-run")
    assert re.search(r"^in use: web1\.json, \d+s old: 1 of its 1 images are here$", shown, re.MULTILINE)
    assert re.search(r"^in use: docker, 0s old: 1 of its", shown, re.MULTILINE)


def test_the_policies_are_those_of_the_examples() -> None:
    first, *_ = code(_SECTION, "yaml")
    for name, in_use in (
        ("compose/policy", [{"docker": True}]),
        ("kubernetes", [{"kubernetes": {}}]),
    ):
        example = yaml.safe_load((ROOT / "examples" / name / "policy.yml").read_text())
        assert example["protect"].pop("in_use") == in_use
        shown = yaml.safe_load(first)
        del shown["protect"]["in_use"]
        del shown["protect"]["aliases"], example["protect"]["aliases"]
        assert example == shown


def test_the_cron_lines_are_those_of_the_example() -> None:
    (nightly,) = code(section("With Docker Compose"))
    text = (ROOT / "examples" / "compose" / "compose.yml").read_text()
    assert re.findall(r"^#   (\d.*)$", text, re.MULTILINE) == nightly.splitlines()
