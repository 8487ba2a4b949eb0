"""Every example in the older tool's manual runs as written there, against a real registry."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from images import Pusher
from servers import DistributionServer

PROGRAM = Path(sys.executable).with_name("dregutil")


def shell(line: str, folder: Path, server: DistributionServer) -> subprocess.CompletedProcess[str]:
    """Run a line of the manual in a shell."""
    line = line.replace("dregutil", shlex.quote(str(PROGRAM)), 1)
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "REGISTRY": server.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def filled(pusher: Pusher) -> Pusher:
    for version in ("1.0", "1.3", "1.4", "2.0"):
        pusher.push_image("my-repo", version, seed=version)
    pusher.push_image("my-repo", "latest", seed="latest")
    pusher.push_image("my-repo", "1.2", "one", seed="shared")
    pusher.push_image("other", "1.0", seed="other")
    return pusher


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dregutil list-repo-names", ["my-repo", "other"]),
        ("dregutil query-tags -r my-repo -t latest", 1),
        (r"dregutil query-tags -r my-repo -t \<1.4", 2),
        (r"dregutil query-tags -r my-repo -re 1\\.*", 3),
        ("dregutil query-repos -r my-repo", 6),
        ("dregutil list-tag-names", 8),
    ],
)
def test_queries(
    line: str, expected: int | list[str], filled: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    found = shell(line, tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines == expected if isinstance(expected, list) else len(lines) == expected


def test_removing_versions(filled: Pusher, registry_server: DistributionServer, tmp_path: Path) -> None:
    found = shell(r"dregutil remove-tags -r my-repo -t \<1.4", tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == 2
    assert "also 'one'" in found.stderr
    assert set(filled.tags("my-repo")) == {"1.2", "one", "1.4", "2.0", "latest"}
    found = shell(r"dregutil remove-tags -r my-repo -t \<1.4 one", tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    assert set(filled.tags("my-repo")) == {"1.4", "2.0", "latest"}
    assert all(filled.is_whole("my-repo", tag) for tag in filled.tags("my-repo"))


def test_removing_a_repository(filled: Pusher, registry_server: DistributionServer, tmp_path: Path) -> None:
    found = shell("dregutil remove-repos -r my-repo", tmp_path, registry_server)
    assert found.returncode == 0, found.stderr
    assert filled.tags("my-repo") == {}
    assert filled.is_whole("other", "1.0")
    assert shell("dregutil list-repo-names", tmp_path, registry_server).stdout == "other\n"
