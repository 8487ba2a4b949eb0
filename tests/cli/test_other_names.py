"""Names of this machine that may be one registry: they are suggested where they may be meant, and never treated as
one."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.cli.other_names import _may_be_one
from dregutil.journal.store import RunStore
from dregutil.oci.names import RegistryAddress
from dregutil.plan.model import Plan
from images import Pusher
from program import Program
from servers import DistributionServer


def test_the_run_of_another_name_is_named_with_its_command(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    before = pusher.tags("r")
    port = registry_server.port
    one, other = (Program(f"http://{host}:{port}", tmp_path) for host in ("localhost", "127.0.0.2"))
    assert one.run("remove-tags", "-r", "r", "-t", "1.0").returncode == 0
    for command, code, options in (("history", 0, ()), ("undo", 1, ("-y",))):
        found = other.run(command, *options)
        assert found.returncode == code, found.stderr
        line = (
            f"which may be the same registry: `dregutil {command} -reg http://localhost:{port} --state-dir {one.state}`"
        )
        assert line in found.stderr
    assert one.run("undo", "-y").returncode == 0
    assert pusher.tags("r") == before


@pytest.mark.parametrize(
    ("one", "other", "may_be"),
    [
        ("localhost:5000", "127.0.0.2:5000", True),
        ("a.localhost:5000", "http://127.0.0.1:5000", True),
        ("box:5000", "localhost:5000", True),
        ("http://BOX.lan:5000", "127.0.0.9:5000", True),
        ("http://127.0.0.2", "localhost:80", False),  # an identity does not show which port was its own
        ("localhost:5000", "127.0.0.1:5000", False),  # one by its key
        ("localhost:5000", "127.0.0.2:5001", False),
        ("localhost:5000/a", "127.0.0.2:5000/b", False),
        ("localhost:5000", "registry.example.com:5000", False),
        ("other:5000", "localhost:5000", False),
    ],
)
def test_which_names_may_be_one(one: str, other: str, may_be: bool) -> None:
    first, second = RegistryAddress.parse(one), RegistryAddress.parse(other)
    assert _may_be_one(first, second, "box.example.com") is may_be
    assert _may_be_one(second, first, "box.example.com") is may_be


def test_the_machines_own_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "state")
    now = datetime.now(UTC)
    store.begin(Plan(f"{socket.gethostname().lower()}:5000", now, "remove-tags", ()), now).close(now)
    found = Program("http://localhost:5000", tmp_path).run("undo", "-y")
    assert "which may be the same registry" in found.stderr
    found = Program("http://registry.example.com:5000", tmp_path).run("undo", "-y")
    assert "which may be the same registry" not in found.stderr
