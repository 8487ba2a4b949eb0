"""Pulls on real registries become known through their own logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images import ACCEPT, Pusher
from listening import until
from program import Program
from servers import DistributionServer
from servers.real import KINDS

_QUIET = "log: {level: warn, accesslog: {disabled: true}}"
LOGS = {
    "access line": "log: {level: warn}",
    "logfmt": "log: {level: info, formatter: text, accesslog: {disabled: true}}",
    "json": "log: {level: info, formatter: json, accesslog: {disabled: true}}",
}


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("name", ["distribution-2.8", "distribution-3"])
def test_the_log_of_a_registry(name: str, log: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.require()
    assert issubclass(kind.server, DistributionServer)
    server = kind.server(tmp_path / "registry")
    text = server.configuration.read_text()
    assert _QUIET in text
    server.configuration.write_text(text.replace(_QUIET, LOGS[log]))
    written = tmp_path / "registry" / "server.log"
    with server, Pusher(server.url, headers={"Accept": ACCEPT}) as client:
        program = Program(server.url, tmp_path)
        children = [client.push_image("shop/web", seed=seed) for seed in ("amd64", "arm64")]
        client.push_index("shop/web", "1.0", children=children)
        for tag in ("2.0", "3.0", "4.0"):
            client.push_image("shop/web", tag, seed=tag)
        pulled = {"1.0": children[0]["digest"], "2.0": "2.0"}
        for reference in pulled.values():
            client.request("GET", f"/v2/shop/web/manifests/{reference}", headers={"User-Agent": "containerd/2.1.0"})
        etag = client.request("HEAD", "/v2/shop/web/manifests/3.0")[1]["etag"]
        again = {"If-None-Match": etag, "User-Agent": "docker/28.0"}
        assert client.request("GET", "/v2/shop/web/manifests/3.0", headers=again)[0] == 304
        client.request("GET", "/v2/shop/web/manifests/nothing", headers={"User-Agent": "last/1"})
        until(lambda: "last/1" in written.read_text())
        done = program.run("pulls", "read", str(written), "--format", "json")
        assert done.returncode == 0, done.stderr
        (read,) = json.loads(done.stdout)
        assert read["pulls"] >= 3
        assert read["since"] <= read["until"]
        found = _shown(program)
        assert {tag: one["by"] for tag, one in found.items()} == {
            "1.0": "containerd/2.1.0",
            "2.0": "containerd/2.1.0",
            "3.0": "docker/28.0",
            "4.0": None,
        }
        assert found["1.0"]["source"] == "log"
        assert found["4.0"]["recorded_since"] == read["since"]
        again_read = program.run("pulls", "read", str(written))
        assert "0 pulls in" in again_read.stderr, "what dregutil itself read since does not count"


def _shown(program: Program) -> dict[str, dict[str, Any]]:
    done = program.run("pulls", "--format", "json")
    assert done.returncode == 0, done.stderr
    return {one["tag"]: one for one in json.loads(done.stdout)}
