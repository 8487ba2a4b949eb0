"""The packaged chart: the same bytes each time; Helm pulls it from a real registry, and `inspect` shows what it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import chart
import pytest

from documents import ROOT
from dregutil import __version__
from images import Pusher
from program import Program
from servers import DistributionServer

_PULL = (
    "import sys, helm_python; "
    "helm_python.pull(sys.argv[1], version=sys.argv[2], destination=sys.argv[3], plain_http=True)"
)
_PUSH = "import sys, helm_python; helm_python.push(sys.argv[2], sys.argv[1], plain_http=True)"
_LINT = (
    "import sys, json, helm_python; "
    "print(json.dumps(helm_python.lint(sys.argv[1], values=json.loads(sys.argv[2]), strict=True)))"
)


def _packaged(folder: Path) -> Path:
    """The .tgz, made by the script; beside it is the layout `oci`."""
    command = [sys.executable, str(ROOT / "tools" / "chart.py"), "package", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1795000000"})
    return folder / f"dregutil-{__version__}.tgz"


def _helm(code: str, *words: object) -> str:
    pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _packaged(tmp_path / "first")
    elsewhere = tmp_path / "elsewhere" / "dregutil"
    shutil.copytree(chart.CHART, elsewhere, copy_function=shutil.copyfile)  # other times
    for path in elsewhere.rglob("*"):
        path.chmod(0o700)
    monkeypatch.setattr(chart, "CHART", elsewhere)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    second = chart.package()
    assert first.read_bytes() == second
    chart.write_layout(tmp_path / "second", second)
    written = {path.relative_to(first.parent / "oci"): path.read_bytes() for path in _files(first.parent / "oci")}
    assert written == {path.relative_to(tmp_path / "second"): path.read_bytes() for path in _files(tmp_path / "second")}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_each_file_of_the_chart_is_in_the_package(tmp_path: Path) -> None:
    with tarfile.open(_packaged(tmp_path)) as archive:
        names = {name.removeprefix("dregutil/") for name in archive.getnames()}
    files = {path.relative_to(chart.CHART).as_posix() for path in _files(chart.CHART)}
    assert names == {name for name in files if not name.startswith("ci/")} - {".helmignore"}


def test_helm_finds_nothing_wrong(tmp_path: Path) -> None:
    values = {"image": {"repository": "a"}, "registries": {"prod": {"address": "a"}}, "existingPolicyConfigMap": "a"}
    found = json.loads(_helm(_LINT, _packaged(tmp_path), json.dumps(values)))
    assert found["total_charts_linted"] == 1
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]
    assert not found["errors"]


@pytest.mark.only_on("distribution-2.8", "distribution-3", why="what a registry does with a chart is not ours")
@pytest.mark.every_server
def test_helm_pulls_what_was_pushed(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    made, host = _packaged(tmp_path / "made"), registry_server.host
    target = f"docker://{host}/charts/dregutil:{__version__}"
    source = f"oci:{made.parent / 'oci'}:{__version__}"
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", source, target], check=True)
    (tmp_path / "pulled").mkdir()
    _helm(_PULL, f"oci://{host}/charts/dregutil", __version__, tmp_path / "pulled")
    assert (tmp_path / "pulled" / made.name).read_bytes() == made.read_bytes()

    _helm(_PUSH, f"oci://{host}/by-helm", made)
    ours, helms = (json.loads(pusher.raw(f"{name}/dregutil", __version__)) for name in ("charts", "by-helm"))
    assert ours["layers"] == helms["layers"]
    assert ours["config"]["mediaType"] == helms["config"]["mediaType"]
    assert {*ours["annotations"]} <= {*helms["annotations"]}

    shown = Program(registry_server.url, tmp_path).run("inspect", f"charts/dregutil:{__version__}")
    assert "application/vnd.cncf.helm.config.v1+json" in shown.stdout
    assert chart.metadata()["description"] in shown.stdout
