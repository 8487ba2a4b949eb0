"""`--storage` and `--gc`: the output, and when the figure is exact."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url
from test_storage import data_of, tag_link

from dregutil.oci.names import Digest, Repository
from dregutil.storage.opened import Storage
from images import CONFIG, IMAGE, LAYER, Pusher
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Answer, Request
from servers.memory import MemoryServer
from servers.s3 import S3Registry, S3Server

SELECTED = ("remove-tags", "-r", "shop/web", "-t", "1.0")


@pytest.fixture
def storage(pusher: Pusher, registry_server: DistributionServer) -> str:
    fill(pusher)
    return str(registry_server.storage)


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def fill(pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.0", "old", seed="one")
    pusher.push_image("shop/web", "2.0", seed="two")
    child = pusher.push_image("shop/web", seed="child")
    pusher.push_index("shop/web", "multi", children=[child])
    pusher.push_image("shop/api", "1.0", seed="two")


def test_from_the_api_alone_the_figure_is_an_upper_bound(storage: str, program: Program) -> None:
    shown = program.run(*SELECTED, "old", "--dry-run").stdout
    assert "Frees at most 477 B when the registry collects its garbage\n  less where unlisted manifests" in shown


def test_what_is_known_to_stay_is_not_counted(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """The layers of a tag that stays are read once; the tag itself is checked live."""
    program = Program(registry_server.url, tmp_path)
    config, layer = pusher.push_blob("shop/web", b"{}"), pusher.push_blob("shop/web", b"shared" * 100)
    for tag in ("1.0", "2.0"):
        body = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"mediaType": CONFIG, "digest": config, "size": 2},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": 600}],
            "annotations": {"tag": tag},
        }
        pusher.push_manifest("shop/web", tag, json.dumps(body).encode(), IMAGE)
    manifest = len(pusher.raw("shop/web", "1.0"))
    cached = program.environment() | {"XDG_CACHE_HOME": str(tmp_path / "content")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cached.items():
            patch.setenv(name, value)
        command = [*SELECTED, "--dry-run", "--format", "json", "-c", str(tmp_path / "tags.json")]
        assert json.loads(program.run(*command).stdout)[0]["frees"] == manifest
        assert json.loads(program.run(*command).stdout)[0]["frees"] == manifest


def test_from_the_storage_the_figure_is_exact_and_saved_in_the_plan(storage: str, program: Program) -> None:
    done = program.run(*SELECTED, "old", "--storage", storage, "--plan-out", "plan.jsonl")
    assert done.returncode == 0
    assert "Frees exactly 477 B" in done.stdout
    header, step, _ = map(json.loads, (program.folder / "plan.jsonl").read_text().splitlines())
    assert header["usage"] == {"reclaimable_bytes": 477, "exact": True}
    assert step["frees"] == 477
    applied = program.run("apply", "plan.jsonl", "-y")
    assert "exactly 477 B come back when the registry collects its garbage" in applied.stderr


def test_what_another_repository_shares_is_not_freed(storage: str, program: Program) -> None:
    shown = program.run(
        *SELECTED[:-1], "2.0", "--ignore-other-repos", "--storage", storage, "--dry-run", "--format", "json"
    ).stdout
    assert [step["frees"] for step in json.loads(shown)] == [0]


def test_a_collector_that_destroys_indexes_causes_a_warning(storage: str, program: Program) -> None:
    shown = program.run(*SELECTED, "old", "--gc", "untagged", "--dry-run").stdout
    assert "WARNING: this registry's collector with -m DESTROYS multi-platform images that stay" in shown
    assert "shop/web:multi" in shown
    removed = program.run(*SELECTED, "old", "--gc", "untagged")
    assert "WARNING" in removed.stderr
    assert "garbage-collect -m CONFIG" in removed.stderr


def test_the_warning_is_shown_before_the_question(storage: str, program: Program) -> None:
    code, shown = on_terminal(program, "n", *SELECTED, "old", "--gc", "untagged", "--storage", storage)
    assert code == 0
    assert shown.count("DESTROYS") == 1
    assert "Frees exactly 477 B when the registry collects its garbage with -m" in shown


def test_an_invalid_storage_is_refused_before_anything_is_removed(
    storage: str, program: Program, pusher: Pusher, tmp_path: Path
) -> None:
    done = program.run(*SELECTED, "old", "--storage", str(tmp_path))
    assert done.returncode == 3
    assert "there is no registry's storage in" in done.stderr
    assert "1.0" in pusher.tags("shop/web")


def test_the_storage_of_another_registry_makes_no_figure_exact(storage: str, program: Program, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(storage, other)
    shutil.rmtree(other / "docker/registry/v2/repositories/shop/web")
    shown = program.run(*SELECTED, "old", "--storage", str(other), "--dry-run").stdout
    assert "Frees at most 477 B" in shown
    assert "does not hold" in shown


def test_a_child_of_an_untagged_index_stays(storage: str, program: Program, pusher: Pusher) -> None:
    """The API does not show such an index, but the storage does."""
    child = pusher.push_image("shop/web", "3.0", seed="three")
    pusher.push_index("shop/web", children=[child])
    done = program.run("remove-tags", "-r", "shop/web", "-t", "3.0", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert pusher.has("shop/web", child["digest"])
    assert "part of the index" in done.stderr
    done = program.run("remove-tags", "-r", "shop/web", "-t", "3.0", "--storage", storage, "--untag")
    assert done.returncode == 0, done.stderr
    assert pusher.has("shop/web", child["digest"])
    assert "3.0" not in pusher.tags("shop/web")


def test_an_untagged_index_pushed_after_the_plan_holds_its_children(
    storage: str, program: Program, pusher: Pusher
) -> None:
    child = pusher.push_image("shop/web", "3.0", seed="three")
    assert program.run("remove-tags", "-r", "shop/web", "-t", "3.0", "--plan-out", "plan.jsonl").returncode == 0
    pusher.push_index("shop/web", children=[child])
    done = program.run("apply", "plan.jsonl", "--storage", storage, "-y")
    assert done.returncode == 5, done.stderr
    assert "part of the index" in done.stderr
    assert pusher.tags("shop/web")["3.0"] == child["digest"]


def test_damage_is_reported_and_the_figure_is_an_upper_bound(storage: str, program: Program, pusher: Pusher) -> None:
    tag_link(Path(storage), "2.0").write_text("garbage")
    done = program.run(*SELECTED, "old", "--storage", storage, "--dry-run", "-c", "None", "--ignore-other-repos")
    assert done.returncode == 3
    assert (
        "skipped in the storage: repositories/shop/web/_manifests/tags/2.0/current/link: holds no digest" in done.stderr
    )


def test_a_collector_that_will_stop_is_predicted(storage: str, program: Program, pusher: Pusher) -> None:
    two = data_of(Path(storage), pusher.tags("shop/api")["1.0"])
    cut = two.read_bytes()[:-20]
    two.write_bytes(cut)
    done = program.run(*SELECTED, "old", "--storage", storage, "--dry-run", "--ignore-other-repos")
    assert done.returncode == 3
    assert "damaged, or cut short" in done.stderr


class Closed(MemoryServer):
    """Its catalog is closed."""

    def answer(self, request: Request) -> Answer:
        if request.path == "/v2/_catalog":
            body = json.dumps({"errors": [{"code": "DENIED", "message": "no"}]}).encode()
            return Answer(403, body, {"Content-Type": "application/json"})
        return super().answer(request)


def test_the_storage_replaces_a_closed_catalog(storage: str, tmp_path: Path) -> None:
    with Closed() as server:
        pusher = Pusher(server.url)
        fill(pusher)
        program = Program(server.url, tmp_path)
        assert program.run(*SELECTED, "old", "--dry-run").returncode == 4
        done = program.run(*SELECTED, "old", "--dry-run", "--storage", storage)
        assert done.returncode == 0, done.stderr
        assert "the repositories are taken from the storage" in done.stderr
        assert "Frees exactly 477 B" in done.stdout
        doctor = program.run("doctor", "--storage", storage)
        assert doctor.returncode == 0, doctor.stdout
        assert program.run("doctor").returncode == 0
        pusher.close()


def test_without_obstore_the_error_says_how_to_install_it(storage: str, program: Program, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ImportError('not installed')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        done = program.run(*SELECTED, "--dry-run", "--storage", "s3://bucket")
    assert done.returncode == 3
    assert "pip install '.[storage]'" in done.stderr


def test_on_s3_too(tmp_path: Path) -> None:
    with S3Server(tmp_path / "s3") as s3, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.settings.items():
            patch.setenv(name, value)
        with S3Registry(tmp_path / "registry", s3, "images") as server:
            pusher = Pusher(server.url)
            fill(pusher)
            program = Program(server.url, tmp_path)
            done = program.run(*SELECTED, "old", "--dry-run", "--storage", "s3://images")
            assert done.returncode == 0, done.stderr
            assert "Frees exactly 477 B" in done.stdout
            assert program.run("doctor", "--storage", "s3://images").returncode == 0
            digest = Digest(pusher.tags("shop/web")["1.0"])
            (pushed,) = Storage("s3://images").moments([(Repository("shop/web"), digest)])
            assert pushed is not None
            assert datetime.now(UTC) - pushed < timedelta(hours=1)
            nothing = program.run("doctor", "--storage", "s3://nothing")
            assert nothing.returncode == 3
            assert "the storage s3://nothing cannot be read" in nothing.stderr
            path = "docker/registry/v2/repositories/shop/web/_manifests/tags/2.0/current/link"
            obstore.put(from_url("s3://images", client_options={"allow_http": True}), path, b"garbage")
            damaged = program.run("doctor", "--storage", "s3://images")
            assert damaged.returncode == 3
            assert "tags/2.0/current/link: holds no digest" in damaged.stdout
            pusher.close()
