"""`select: {untagged: true}` end to end, on the real registry: from its storage, and from the records."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from test_storage import data_of

from dregutil.oci.names import Digest
from dregutil.storage.opened import read_storage
from images import Pusher, created
from program import Program
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 100%}
policies:
  - name: strays
    repositories: ["**"]
    select: {untagged: true}
    keep: {within: 14d}
"""
WEB = "shop/web"


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def storage(registry_server: DistributionServer) -> Path:
    return registry_server.storage


def age_links(storage: Path, days: float) -> None:
    """As if everything had been pushed so long ago."""
    moment = datetime.now(UTC).timestamp() - days * 86400
    for link in storage.rglob("_manifests/revisions/*/*/link"):
        os.utime(link, (moment, moment))


def push_index(pusher: Pusher, seed: str, *tags: str, days: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    children = [
        {
            **pusher.push_image(WEB, seed=f"{seed} {name}", config=created(days)),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("amd64", "arm64")
    ]
    return pusher.push_index(WEB, *tags, children=children), children


def there(pusher: Pusher, *described: dict[str, Any]) -> list[bool]:
    return [
        pusher.request("HEAD", f"/v2/{WEB}/manifests/{one['digest']}", headers=HEADERS)[0] == 200 for one in described
    ]


HEADERS = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}


def test_an_old_index_found_in_storage_is_removed_with_its_children_and_restored(
    program: Program, pusher: Pusher, storage: Path
) -> None:
    kept, kept_children = push_index(pusher, "kept", "1.0", days=60)
    old, old_children = push_index(pusher, "old", days=50)
    shared = pusher.push_index(WEB, children=[kept_children[0], old_children[0]])  # untagged, and of the same age
    alone = pusher.push_image(WEB, seed="alone", config=created(40))
    young = pusher.push_image(WEB, seed="young", config=created(3))
    undated = pusher.push_image(WEB, seed="undated")
    age_links(storage, 40)
    shown = program.run("cleanup", "-f", "policy.yml", "--dry-run", "--details", "--storage", str(storage))
    assert shown.returncode == 0, shown.stderr
    assert "3 untagged manifests to go, 0 held back" in shown.stdout
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    assert there(pusher, old, *old_children, shared, alone) == [False] * 5
    assert there(pusher, kept, *kept_children, young, undated) == [True] * 5
    assert pusher.is_whole(WEB, "1.0")
    assert "  0 + 3 untagged  " in program.run("history").stdout
    assert program.run("undo", "-y").returncode == 0
    assert there(pusher, old, *old_children, shared, alone) == [True] * 5
    again = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert "nothing to remove" in again.stderr, again.stderr  # what was restored has just arrived


def test_doctor_and_du_count_what_cleanup_removes(program: Program, pusher: Pusher, storage: Path) -> None:
    push_index(pusher, "kept", "1.0", days=60)
    whole = pusher.push_image(WEB, seed="whole", config=created(60))
    broken = pusher.push_image(WEB, seed="broken", config=created(60))
    listed = read_storage(str(storage))
    (layer,) = listed.manifests[Digest(broken["digest"])].blobs[1:]
    data_of(storage, layer).unlink()
    age_links(storage, 40)
    before = program.run("doctor", "--storage", str(storage))
    alone = listed.size_of((Digest(whole["digest"]), *listed.manifests[Digest(whole["digest"])].blobs))
    assert f"1 manifest, which alone hold {alone} B" in before.stdout
    du = program.run("du", "--storage", str(storage))
    assert f"not counted: 1 manifest without a tag, which alone hold {alone} B" in du.stderr
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    assert there(pusher, whole, broken) == [False, True]
    assert "0 manifests, which alone hold 0 B" in program.run("doctor", "--storage", str(storage)).stdout


def test_what_was_pushed_recently_is_young_regardless_of_its_content(
    program: Program, pusher: Pusher, storage: Path
) -> None:
    """For example the children of an index that is being copied at the moment."""
    push_index(pusher, "kept", "1.0", days=60)
    stray = pusher.push_image(WEB, seed="stray", config=created(400))
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert "nothing to remove" in done.stderr, done.stderr
    assert there(pusher, stray) == [True]


def test_a_child_of_a_kept_index_and_a_referrer_of_a_kept_image_are_not_selected(
    program: Program, pusher: Pusher, storage: Path
) -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("within: 14d", "within: 45d"))
    recent, children = push_index(pusher, "recent", days=44)
    tagged = pusher.push_image(WEB, "1.0", seed="tagged", config=created(60))
    bill = pusher.push_image(WEB, seed="bill", subject=tagged, config=created(60))
    age_links(storage, 44)
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert "nothing to remove" in done.stderr, done.stderr
    assert there(pusher, recent, *children, bill) == [True] * 4


def test_a_child_that_an_untagged_index_shares_stays_with_it(program: Program, pusher: Pusher, storage: Path) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged", config=created(60))
    old, children = push_index(pusher, "old", days=50)
    new = {**pusher.push_image(WEB, seed="new", config=created(3)), "platform": children[1]["platform"]}
    young = pusher.push_index(WEB, children=[children[0], new])
    age_links(storage, 40)
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    assert there(pusher, old, *children, young, new) == [False, True, False, True, True]


def test_a_repository_without_any_tag_keeps_its_newest_manifest(
    program: Program, pusher: Pusher, storage: Path
) -> None:
    old = pusher.push_image("lone", seed="old", config=created(60))
    new = pusher.push_image("lone", seed="new", config=created(50))
    age_links(storage, 45)
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    assert "nothing to remove" in done.stderr  # both have the same date: neither is the newest
    link = storage / f"docker/registry/v2/repositories/lone/_manifests/revisions/sha256/{old['digest'][7:]}/link"
    os.utime(link, (link.stat().st_mtime - 86400, link.stat().st_mtime - 86400))
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    assert [pusher.has("lone", one["digest"]) for one in (old, new)] == [False, True]


def test_a_manifest_that_lost_its_last_tag_is_found_in_the_records(program: Program, pusher: Pusher) -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("max_remove: 100%", "max_remove: 100%, min_age: 0s"))
    policy = (program.folder / "policy.yml").read_text()
    old, children = push_index(pusher, "old", "latest", days=50)
    lone = pusher.push_image(WEB, "build", seed="lone", config=created(50))
    unknown = pusher.push_image(WEB, seed="never had a tag", config=created(50))
    assert program.run("refresh").returncode == 0
    push_index(pusher, "new", "latest", days=1)
    pusher.push_image(WEB, "build", seed="newer", config=created(1))
    told = program.run("cleanup", "-f", "policy.yml", "-y")
    assert "nothing to remove" in told.stderr, told.stderr  # it lost its tag just now
    (program.folder / "policy.yml").write_text(policy.replace("within: 14d", "none: true"))
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    assert "removed 2 untagged manifests (4 manifests)" in done.stderr
    assert there(pusher, old, *children, lone, unknown) == [False] * 4 + [True]
    assert all(pusher.is_whole(WEB, tag) for tag in ("latest", "build"))
    assert program.run("undo", "-y").returncode == 0
    assert there(pusher, old, *children, lone) == [True] * 4


def test_a_child_that_once_had_a_tag_stays_with_its_index(program: Program, pusher: Pusher) -> None:
    """Builders push a tag for each platform, put them into an index, and move the tags on."""
    (program.folder / "policy.yml").write_text(
        POLICY.replace("within: 14d", "none: true").replace("100%", "100%, min_age: 0s")
    )
    child = pusher.push_image(WEB, "build-amd64", seed="child", config=created(50))
    platform = {"os": "linux", "architecture": "amd64"}
    pusher.push_index(WEB, "1.0", children=[{**child, "platform": platform}])
    program.run("refresh")
    pusher.push_image(WEB, "build-amd64", seed="next", config=created(1))
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    assert "nothing to remove" in done.stderr
    assert pusher.is_whole(WEB, "1.0")
    shown = program.run("why", f"{WEB}@{child['digest']}", "-f", "policy.yml")
    assert shown.stdout.splitlines()[0].startswith("FOLLOW")
    assert ":1.0" in shown.stdout


@pytest.mark.parametrize("how", ["a tag", "an index"])
def test_a_plan_is_checked_again_when_it_is_applied(how: str, program: Program, pusher: Pusher, storage: Path) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged", config=created(60))
    stray = pusher.push_image(WEB, seed="stray", config=created(50))
    other = pusher.push_image(WEB, seed="other", config=created(50))
    age_links(storage, 40)
    planned = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl", "--storage", str(storage))
    assert planned.returncode == 0, planned.stderr
    if how == "a tag":
        pusher.push_manifest(WEB, "rescued", pusher.raw(WEB, stray["digest"]), stray["mediaType"])
    else:
        platform = {"os": "linux", "architecture": "amd64"}
        pusher.push_index(WEB, "rescued", children=[{**stray, "platform": platform}])
    done = program.run("apply", "plan.jsonl", "-y")
    assert done.returncode == 0, done.stderr
    assert there(pusher, stray, other) == [True, False]
    assert "rescued" in done.stderr or "part of the index" in done.stderr
    assert pusher.is_whole(WEB, "rescued")


def test_damage_in_the_storage_keeps_all_untagged_manifests(program: Program, pusher: Pusher, storage: Path) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged", config=created(60))
    stray = pusher.push_image(WEB, seed="stray", config=created(50))
    age_links(storage, 40)
    damaged = pusher.push_image(WEB, seed="damaged", config=created(50))["digest"][7:]
    (storage / f"docker/registry/v2/blobs/sha256/{damaged[:2]}/{damaged}/data").write_text("{}")
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--storage", str(storage))
    assert done.returncode == 3
    assert "no untagged manifest of shop/web is selected: not all of the storage could be read" in done.stderr
    assert there(pusher, stray) == [True]


def test_why_explains_an_untagged_digest(program: Program, pusher: Pusher, storage: Path) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged", config=created(60))
    stray = pusher.push_image(WEB, seed="stray", config=created(50))
    age_links(storage, 40)
    image = f"{WEB}@{stray['digest']}"
    shown = program.run("why", image, "-f", "policy.yml", "--storage", str(storage))
    assert shown.stdout.splitlines()[0] == f"REMOVE  {WEB}@{stray['digest'][:19]}  beyond within: 14d"
    unknown = program.run("why", image, "-f", "policy.yml", "--format", "json")
    (row,) = json.loads(unknown.stdout)
    assert (row["decision"], row["tag"], row["keeps"]) == ("keep", None, True)
    assert "--storage" in row["text"]
    assert program.run("why", f"{WEB}@sha256:{'0' * 64}", "-f", "policy.yml").returncode == 1
