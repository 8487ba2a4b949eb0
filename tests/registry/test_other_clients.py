"""What a removal leaves, and what an undo brings back, to other clients: crane, regctl, and the read parts of OCI's
conformance tests give the same answers as before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer, find_program

pytestmark = pytest.mark.every_server

KEPT = ("2.0", "3.0")


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def run(*command: str, folder: Path, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A client with a home of its own."""
    environment = {**os.environ, "HOME": str(folder), "DOCKER_CONFIG": str(folder), **(variables or {})}
    program = find_program(command[0])
    return subprocess.run(
        [program, *command[1:]], env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def verdicts(pusher: Pusher, folder: Path) -> dict[str, str]:
    """What the conformance tests that only read say of the tags that stay, by their names.

    They compare what the registry's API gives with its digest. The exit status says nothing: the program ends with an
    error when it writes its report.
    """
    manifests = [pusher.tags("shop/web")[tag] for tag in KEPT]
    image = json.loads(pusher.raw("shop/web", "2.0"))
    off = ("API_PUSH", "API_BLOBS_DELETE", "API_MANIFESTS_DELETE", "API_TAGS_DELETE", "API_REFERRER")
    said = run(
        "conformance",
        folder=folder,
        variables={
            "OCI_REGISTRY": pusher.url.partition("//")[2],
            "OCI_TLS": "disabled",
            "OCI_REPO1": "shop/web",
            **{f"OCI_{name}": "false" for name in off},
            "OCI_RO_DATA_TAGS": " ".join(KEPT),
            "OCI_RO_DATA_MANIFESTS": " ".join(manifests),
            "OCI_RO_DATA_BLOBS": f"{image['config']['digest']} {image['layers'][0]['digest']}",
            "OCI_RESULTS_DIR": str(folder / "results"),
        },
    ).stdout
    return dict(re.findall(r"^ *([A-Z][^.\n]+)\.+: +(\w+)$", said, re.MULTILINE))


def seen(pusher: Pusher, folder: Path) -> dict[str, list[str]]:
    """What other clients see of the tags that stay."""
    host = pusher.url.partition("//")[2]
    regctl = ("regctl", "--host", f"reg={host},tls=disabled")
    copied = folder / "copied"
    for tag in KEPT:  # with all that is below it, each digest checked
        done = run(*regctl, "image", "copy", f"{host}/shop/web:{tag}", f"ocidir://{copied}:{tag}", folder=folder)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(copied)
    return {
        "crane": [
            run("crane", "manifest", "--insecure", f"{host}/shop/web:{tag}", folder=folder).stdout for tag in KEPT
        ],
        "regctl": [
            run(*regctl, "manifest", "get", "--format", "raw-body", f"{host}/shop/web:{tag}", folder=folder).stdout
            for tag in KEPT
        ],
        "tags": run("crane", "ls", "--insecure", f"{host}/shop/web", folder=folder).stdout.split(),
    }


def test_other_clients_see_what_stays_as_before(pusher: Pusher, program: Program, tmp_path: Path) -> None:
    shared = pusher.push_image("shop/web", "2.0", seed="two")
    pusher.push_index("shop/web", "3.0", children=[shared])
    pusher.push_index("shop/web", "1.0", children=[shared, pusher.push_image("shop/web", seed="one")])
    before, judged = seen(pusher, tmp_path), verdicts(pusher, tmp_path)
    assert judged["Manifest get by tag"] == judged["Manifest head by tag"] == judged["Ping"] == "Pass"
    assert all(before["crane"])
    assert before["crane"] == before["regctl"]

    done = program.run("remove-tags", "-r", "shop/web", "-t", "1.0")
    assert done.returncode == 0, done.stderr
    after = seen(pusher, tmp_path)
    assert after == {**before, "tags": [tag for tag in before["tags"] if tag != "1.0"]}
    assert verdicts(pusher, tmp_path) == judged

    done = program.run("undo", "-y")
    assert done.returncode == 0, done.stderr
    assert seen(pusher, tmp_path) == before
    assert verdicts(pusher, tmp_path) == judged
