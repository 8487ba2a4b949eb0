"""`inspect` shows what refers to the children of an index, each under the platform that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dregutil.inventory.referrer_tree import MOST_CHILDREN
from images import INDEX, Pusher
from native_access import hold_image, hold_index
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Proxy
from servers.memory import MemoryServer, Switches


def push_for(pusher: Pusher, seed: str, architecture: str) -> dict[str, Any]:
    image = pusher.push_image("r", seed=seed, config={"architecture": architecture})
    return {**image, "platform": {"os": "linux", "architecture": architecture}}


def refer(pusher: Pusher, subject: dict[str, Any], seed: str) -> dict[str, Any]:
    """A referrer, with the fallback tag that clients push where the registry has no referrers API."""
    found = pusher.push_image("r", seed=seed, subject=subject)
    status, _, _ = pusher.request("GET", f"/v2/r/referrers/{subject['digest']}", headers={"Accept": INDEX})
    if status == 404:
        pusher.push_index("r", f"sha256-{subject['digest'][7:]}", children=[found])
    return found


@pytest.mark.every_server
def test_referrers_of_the_platforms_are_shown_under_them(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    amd, arm = push_for(pusher, "amd", "amd64"), push_for(pusher, "arm", "arm64")
    statement = pusher.push_image("r", seed="statement")
    attestation = {
        **statement,
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": arm["digest"],
        },
    }
    index = pusher.push_index("r", "1.0", children=[amd, arm, attestation])
    signature = refer(pusher, index, "signature")
    sbom = refer(pusher, arm, "sbom")
    signed = refer(pusher, sbom, "signature of the SBOM")
    checked = refer(pusher, statement, "signature of the attestation")
    program = Program(registry_server.url, tmp_path)

    (found,) = json.loads(program.run("inspect", "r:1.0", "--format", "json").stdout)
    text = program.run("inspect", "r:1.0").stdout
    _, narrow = on_terminal(program, "", "inspect", "r:1.0")

    def tree(referrers: list[dict[str, Any]]) -> list[Any]:
        return [(one["digest"], tree(one["referrers"])) for one in referrers]

    assert tree(found["referrers"]) == [(signature["digest"], [])]
    assert [tree(child["referrers"]) for child in found["children"]] == [
        [],
        [(sbom["digest"], [(signed["digest"], [])])],
    ]
    assert [tree(one["referrers"]) for one in found["attestations"]] == [[(checked["digest"], [])]]

    def rows(shown: str) -> list[str]:
        return [line.partition("  application")[0].rstrip() for line in shown.partition("referrers:\n")[2].splitlines()]

    assert rows(text) == [
        f"  {signature['digest']}",
        "  linux/arm64",
        f"    {sbom['digest']}",
        f"      {signed['digest']}",
        "  attestation of linux/arm64",
        f"    {checked['digest']}",
    ]
    assert f"    {sbom['digest'][7:19]}" in rows(narrow)


def test_a_signature_tag_of_a_platform_is_shown_under_it(pusher: Pusher, tmp_path: Path) -> None:
    amd = push_for(pusher, "amd", "amd64")
    pusher.push_index("r", "1.0", children=[amd])
    tag = f"sha256-{amd['digest'][7:]}.sig"
    signature = pusher.push_image("r", tag, seed="signature")

    (found,) = json.loads(Program(pusher.url, tmp_path).run("inspect", "r:1.0", "--format", "json").stdout)

    (one,) = found["children"][0]["referrers"]
    assert (one["digest"], one["tag"], found["referrers"]) == (signature["digest"], tag, [])


def test_an_index_of_twenty_platforms_takes_a_request_for_each_and_one_for_itself(tmp_path: Path) -> None:
    with MemoryServer(Switches(has_referrers=True)) as server:
        hold_index(server, "r", "1.0", children=[hold_image(server, "r", seed=str(number)) for number in range(20)])
        with Proxy(int(server.url.rpartition(":")[2])) as proxy:
            assert Program(proxy.url, tmp_path).run("inspect", "r:1.0").returncode == 0
            asked = [request.path for request in proxy.requests if "/referrers/" in request.path]
    assert len(asked) == len(set(asked)) == 21


def test_of_an_index_with_very_many_children_not_all_are_looked_at_and_that_is_said(tmp_path: Path) -> None:
    with MemoryServer(Switches(has_referrers=True)) as server:
        children = [hold_image(server, "r", seed=str(number)) for number in range(MOST_CHILDREN + 5)]
        hold_index(server, "r", "1.0", children=children)
        with Proxy(int(server.url.rpartition(":")[2])) as proxy:
            done = Program(proxy.url, tmp_path).run("inspect", "r:1.0")
            asked = [request.path for request in proxy.requests if "/referrers/" in request.path]
    assert done.returncode == 3
    assert f"only the referrers of the first {MOST_CHILDREN} children are read" in done.stderr
    assert len(asked) == MOST_CHILDREN + 1
