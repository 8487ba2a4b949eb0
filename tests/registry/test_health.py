"""The damage that `doctor` finds, by the API and in the storage, on a real registry that was damaged on purpose."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_storage import data_of, root_of, snapshot

from dregutil.inventory.health.storage import Flaw, examine_storage
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.waste import Waste, wasted
from dregutil.storage.opened import read_storage
from dregutil.storage.stored import StoredRegistry, StoredRepository, Upload
from images import Pusher
from program import Program
from servers import DistributionServer

NOW = datetime.now(UTC)


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def whole(pusher: Pusher) -> Pusher:
    """An index with a signature, nested in another; an image with a referrer; a second repository."""
    children = [pusher.push_image("shop/web", seed=name) for name in ("amd64", "arm64")]
    inner = pusher.push_index("shop/web", "2.0", children=children)
    pusher.push_index("shop/web", "all", children=[inner])
    pusher.push_image("shop/web", f"sha256-{inner['digest'][7:]}.sig", seed="signature")
    image = pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "sbom", seed="sbom", subject=image)
    pusher.push_image("shop/api", "1.0", seed="one")
    return pusher


@pytest.fixture
def broken(whole: Pusher, registry_server: DistributionServer) -> dict[Flaw, str]:
    """For each kind of damage, what a finding must name."""
    tags = whole.tags("shop/web")
    child = whole.push_image("shop/web", seed="arm64")["digest"]
    signed = whole.push_image("shop/web", "3.0", seed="signed")["digest"]
    whole.push_image("shop/web", f"sha256-{signed[7:]}.sig", seed="its signature")
    for digest in (child, signed, tags["1.0"]):
        assert whole.request("DELETE", f"/v2/shop/web/manifests/{digest}")[0] == 202
    # A subject that another repository still has is not missing.
    assert whole.request("DELETE", f"/v2/shop/api/manifests/{tags['1.0']}")[0] == 202
    whole.push_image("shop/web", "lost", seed="lost")
    lost = whole.tags("shop/web")["lost"]
    links = root_of(registry_server.storage) / "repositories/shop/web/_manifests/revisions/sha256"
    shutil.rmtree(links / lost[7:])
    return {
        Flaw.MISSING_CHILD: child[:19],
        Flaw.DANGLING_TAG: "lost",
        Flaw.ORPHANED_SIGNATURE: signed[:19],
        Flaw.ORPHANED_REFERRER: f"(sbom) refers to {tags['1.0'][:19]}",
    }


def found_lines(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        check, _, what = re.sub(r"  +", "  ", line).partition("  ")
        found.setdefault(check, []).append(what)
    return found


@pytest.mark.parametrize("with_storage", [False, True])
def test_a_healthy_registry_has_nothing_broken(
    whole: Pusher, program: Program, registry_server: DistributionServer, with_storage: bool
) -> None:
    more = ["--storage", str(registry_server.storage)] if with_storage else []
    done = program.run("doctor", *more)
    assert done.returncode == 0
    assert found_lines(done.stdout)["broken"] == ["nothing was found"]
    if not with_storage:
        assert found_lines(done.stdout)["read"][0].startswith("6 tags of 2 repositories, 2 indexes")


@pytest.mark.parametrize("with_storage", [False, True])
def test_what_is_broken_is_reported_and_left_alone(
    broken: dict[Flaw, str], program: Program, registry_server: DistributionServer, with_storage: bool
) -> None:
    before = snapshot(registry_server.storage)
    more = ["--storage", str(registry_server.storage)] if with_storage else []
    done = program.run("doctor", *more)
    assert done.returncode == 3
    found = found_lines(done.stdout)
    for flaw, what in broken.items():
        assert len(found[flaw.value]) == 1, flaw
        assert found[flaw.value][0].startswith("shop/web  ")
        assert what in found[flaw.value][0]
    assert found["broken"] == ["4 things"]
    assert snapshot(registry_server.storage) == before


def test_quick_checks_only_the_connection(broken: dict[Flaw, str], program: Program) -> None:
    done = program.run("doctor", "--quick")
    assert done.returncode == 0
    assert not found_lines(done.stdout).keys() & {"read", "broken"}


def test_a_storage_of_another_registry_causes_a_warning(whole: Pusher, program: Program, tmp_path: Path) -> None:
    (tmp_path / "other/docker/registry/v2/repositories/else/_layers").mkdir(parents=True)
    done = program.run("doctor", "--storage", str(tmp_path / "other"))
    assert done.returncode == 3
    assert "is it this registry's? The catalog names shop/api and 1 more" in done.stdout


def test_an_invalid_storage_is_reported_after_the_connection(whole: Pusher, program: Program) -> None:
    done = program.run("doctor", "--storage", "nowhere")
    assert done.returncode == 3
    assert "deletion" in done.stdout
    assert "the storage nowhere cannot be read" in done.stderr


def test_absent_blobs_are_missing(whole: Pusher, registry_server: DistributionServer) -> None:
    stored = read_storage(str(registry_server.storage))
    image = stored.manifests[stored.repositories[Repository("shop/web")].tags[Tag("1.0")]]
    layer = image.references[-1]
    data_of(registry_server.storage, layer).unlink()
    found = [*examine_storage(read_storage(str(registry_server.storage)))]
    assert {(finding.flaw, finding.repository) for finding in found} == {
        (Flaw.MISSING_BLOB, "shop/web"),
        (Flaw.MISSING_BLOB, "shop/api"),
    }
    assert all(layer.short in finding.what for finding in found)


def test_leftovers_are_what_the_collector_deletes(
    broken: dict[Flaw, str], whole: Pusher, registry_server: DistributionServer
) -> None:
    untagged = whole.push_image("shop/web", seed="leftover")
    stored = read_storage(str(registry_server.storage))
    registry_server.stop()
    said = registry_server.garbage_collect("--dry-run")
    eligible = {Digest(found) for found in re.findall(r"blob eligible for deletion: (\S+)", said)}
    waste = wasted(stored, NOW)
    assert (waste.orphans, waste.orphan_bytes) == (len(eligible), stored.size_of(eligible))
    assert waste.untagged == 1
    assert waste.untagged_bytes == untagged["size"] + sum(
        stored.blobs[blob] for blob in stored.manifests[Digest(untagged["digest"])].references
    )


def test_an_upload_is_stale_after_a_week() -> None:
    new, old, unknown = NOW - timedelta(days=6), NOW - timedelta(days=8), None
    uploads = tuple(Upload(str(size), when, size) for when, size in ((new, 10), (old, 20), (unknown, 30)))
    name = Repository("a")
    assert wasted(StoredRegistry("x", {name: StoredRepository(name, uploads=uploads)}), NOW) == Waste(
        uploads=2, upload_bytes=50
    )


def test_an_upload_is_read_with_its_start_time(pusher: Pusher, registry_server: DistributionServer) -> None:
    assert pusher.request("POST", "/v2/shop/web/blobs/uploads/")[0] == 202
    (upload,) = read_storage(str(registry_server.storage)).repositories[Repository("shop/web")].uploads
    assert upload.started is not None
    assert abs(datetime.now(UTC) - upload.started) < timedelta(minutes=10)
    assert upload.size == 0


def test_du_reads_the_storage_and_shows_what_no_tag_refers_to(
    whole: Pusher, program: Program, registry_server: DistributionServer
) -> None:
    by_api = program.run("du", "--format", "json")
    leftover = whole.push_image("shop/web", seed="leftover")
    stored = read_storage(str(registry_server.storage))
    freed = sum(stored.blobs[blob] for blob in stored.manifests[Digest(leftover["digest"])].references)
    registry_server.stop()
    by_storage = program.run("du", "--format", "json", "--storage", str(registry_server.storage))
    assert by_storage.returncode == 0, by_storage.stderr
    assert by_storage.stdout == by_api.stdout
    assert f"1 manifest without a tag, which alone hold {leftover['size'] + freed} B" in by_storage.stderr
