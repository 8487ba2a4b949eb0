"""A storage that can only be read in part: this is reported, and nothing in it is called missing, damaged or free."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_health import found_lines

from dregutil.inventory.health.storage import examine_storage
from dregutil.plan.waste import wasted
from dregutil.storage.garbage_collector import GarbageCollector, Generation, stops_at
from dregutil.storage.objects import ObjectFiles
from dregutil.storage.opened import read_storage
from dregutil.storage.reading import read_files
from images import Pusher
from program import Program
from servers import DistributionServer
from servers.bucket import Bucket
from servers.s3 import KEYS

NOW = datetime.now(UTC)


@pytest.fixture
def bucket(pusher: Pusher, registry_server: DistributionServer) -> Iterator[Bucket]:
    """The storage of a real registry with an index, without damage."""
    child = pusher.push_image("shop/web", seed="child")
    pusher.push_index("shop/web", "2.0", children=[child])
    pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "sbom", seed="sbom", subject=child)
    with Bucket(registry_server.storage) as found, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": found.url}.items():
            patch.setenv(name, value)
        yield found


def test_a_store_that_refuses_requests_is_asked_until_it_answers(bucket: Bucket) -> None:
    bucket.refuses = lambda _, times: times < 5
    found = read_storage("s3://bucket")
    assert min(bucket.refused.values()) == 5
    there = read_storage(str(bucket.folder))
    assert dataclasses.replace(found, place=there.place, keeps_empty_folders=True) == there


@pytest.mark.parametrize("part", ["/revisions/", "/current/link", "blobs/"])
def test_what_a_store_does_not_return_is_reported_as_not_read(bucket: Bucket, part: str) -> None:
    bucket.refuses = lambda request, _: part in request.path
    found = read_files(ObjectFiles("s3://bucket", patience=0.2), "s3://bucket")
    assert found.is_partial
    assert [oddity for oddity in found.oddities if not (oddity.unread and "503" in oddity.why)] == []
    assert list(examine_storage(found)) == []
    waste = wasted(found, NOW)
    assert waste.unread == len(found.oddities)
    assert (waste.untagged, waste.orphans) == (0, 0)
    assert next(stops_at(found, GarbageCollector(Generation.V2)), "") == ""


def test_doctor_and_du_report_what_was_not_read(
    bucket: Bucket, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """A 403 for one object is an answer: there is no retry."""
    pusher.push_image("shop/web", seed="untagged")
    forbidden = next(bucket.folder.rglob("_manifests/revisions/sha256/*/link"))
    bucket.forbidden = {str(forbidden.relative_to(bucket.folder))}
    program = Program(registry_server.url, tmp_path)
    done = program.run("doctor", "--storage", "s3://bucket")
    assert done.returncode == 3
    found = found_lines(done.stdout)
    assert found["not read"][0].endswith("cannot be read: the store answered 403 Forbidden")
    assert found["orphaned"] == found["untagged"] == ["not known: 1 place in the storage could not be read"]
    assert not found.keys() & {"damaged", "dangling tag", "missing child", "orphaned referrer"}
    used = program.run("du", "--storage", "s3://bucket")
    assert "what no tag refers to is not known: 1 place in the storage could not be read" in used.stderr
    assert "garbage collection" not in used.stderr
