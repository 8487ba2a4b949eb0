"""What `collect` refuses before anything is freed, tried with the real collectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from collecting import Stage, made
from dregutil.journal.lines import RunLine, decode_line, encode_line
from dregutil.oci.placeholder import CONFIG_TYPE, placeholder
from images import IMAGE, Pusher
from servers import DistributionServer

GENERATIONS = ("distribution-2.8", "distribution-3")
REPOSITORIES = "docker/registry/v2/repositories"


@pytest.fixture(params=GENERATIONS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with made(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Stage]:
    with made("distribution-2.8", tmp_path) as found:
        yield found


def other_registry(stage: Stage, *, has_garbage: bool) -> DistributionServer:
    """Stopped, with an image, and with another one that was deleted."""
    other = type(stage.server)(stage.folder / "other")
    with other, Pusher(other.url) as pusher:
        pusher.push_image("other/web", "1.0", seed="stays")
        if has_garbage:
            digest = pusher.push_image("other/web", "2.0", seed="goes")["digest"]
            pusher.request("DELETE", f"/v2/other/web/manifests/{digest}")
    return other


@pytest.mark.parametrize("has_garbage", [True, False])
def test_a_configuration_of_another_storage_is_refused(stage: Stage, has_garbage: bool) -> None:
    """`--storage` and the collector's configuration name two storages: nothing goes from either."""
    other = other_registry(stage, has_garbage=has_garbage)
    before = stage.blobs(), sorted(path for path in other.storage.rglob("data"))
    done = stage.collect("-y", "--keep-undo", "0d", command=[*stage.command[:-1], str(other.configuration)])
    assert done.returncode == 5
    if has_garbage:
        assert f"the collector would sweep blobs that {stage.server.storage} does not have: sha256:" in done.stderr
    else:
        assert f"the collector would not sweep what {stage.server.storage} shows: sha256:" in done.stderr
    assert "name the storage of the collector's own configuration with --storage" in done.stderr
    assert (stage.blobs(), sorted(path for path in other.storage.rglob("data"))) == before


def test_a_dry_run_that_fails_is_refused(stage: Stage) -> None:
    done = stage.collect("-y", "--keep-undo", "0d", command=[*stage.command[:-1], "/nowhere/config.yml"])
    assert done.returncode == 5
    assert "the collector's dry run fails: " in done.stderr
    assert "garbage-collect --dry-run /nowhere/config.yml" in done.stderr
    assert stage.records == []


def test_a_quiet_collector_has_no_dry_run_to_compare(tmp_path: Path) -> None:
    with made("distribution-3", tmp_path) as stage:
        assert stage.object("-y", "--keep-undo", "0d", command=[*stage.command, "--quiet"])["as_predicted"]


def test_a_script_is_run_only_to_collect(older: Stage) -> None:
    """It may ignore its words: neither `--version` nor a dry run is asked of it."""
    ran = older.folder / "ran"
    script = older.folder / "gc"
    script.write_text(f"#!/bin/sh\ntouch {ran}\nexec {older.command[0]} garbage-collect {older.command[-1]}\n")
    script.chmod(0o755)
    command = [str(script), "garbage-collect", older.command[-1]]
    before = older.blobs()
    assert older.collect("--dry-run", "--keep-undo", "0d", command=command).returncode == 0
    assert not ran.exists()
    assert older.blobs() == before
    assert older.object("-y", "--keep-undo", "0d", command=command)["as_predicted"]


def test_tags_on_a_placeholder_are_refused(older: Stage) -> None:
    """The run that left them is not recorded here, and what they named is untagged, or deleted: it would be swept."""
    config = b'{"of": "nothing known here"}'
    with older.running() as pusher:
        pusher.push_blob("shop/web", config)
        pusher.push_manifest("shop/web", "1.5", placeholder(config), IMAGE)
        assert CONFIG_TYPE in pusher.raw("shop/web", "1.5").decode()
    before = older.blobs()
    done = older.collect("-y", "--keep-undo", "0d")
    assert done.returncode == 5
    assert "left tags on a placeholder, and what they named would be swept: shop/web:1.5" in done.stderr
    assert older.blobs() == before


def _rewrite(record: Path, change: timedelta | None, version: int | None = None) -> None:
    lines = record.read_bytes().splitlines(keepends=True)
    header = decode_line(lines[0])
    assert isinstance(header, RunLine)
    if change is not None:
        header.started += change
    if version is not None:
        header.version = version
    record.write_bytes(b"".join((encode_line(header), *lines[1:])))


def test_a_run_that_was_resumed_lately_is_young(older: Stage) -> None:
    """It began 8 days ago; what it removed today could be undone for a week."""
    _rewrite(older.program.runs[0] / "journal.jsonl", timedelta(days=-8))
    done = older.collect("-y")
    assert done.returncode == 5
    assert f"runs of the last 7d could not be undone any more: {older.removal}" in done.stderr


def test_a_record_that_cannot_be_read_whole_is_refused(older: Stage) -> None:
    """Of another version, or damaged in its middle: what it removed is not known."""
    record = older.program.runs[0] / "journal.jsonl"
    kept = record.read_bytes()
    _rewrite(record, None, version=99)
    done = older.collect("-y")
    assert (done.returncode, f"have records that cannot be read: {older.removal}" in done.stderr) == (5, True)
    lines = kept.splitlines(keepends=True)
    record.write_bytes(b"".join(b"altered\n" if b'"intent"' in line else line for line in lines))
    shutil.rmtree(record.parent / "layout", ignore_errors=True)
    done = older.collect("-y")
    assert (done.returncode, "have records that cannot be read" in done.stderr) == (5, True), done.stderr
    record.write_bytes(kept)
    assert "could not be undone any more" in older.collect("-y").stderr


@pytest.mark.parametrize("what", ["revision", "tag", "layer"])
def test_a_link_of_zero_bytes_is_refused(stage: Stage, what: str) -> None:
    folders = {
        "revision": "_manifests/revisions/sha256/*/link",
        "tag": "_manifests/tags/1.1/current/link",
        "layer": "_layers/sha256/*/link",
    }
    with stage.running() as pusher:
        manifest = pusher.tags("shop/web")["1.1"].removeprefix("sha256:")
        layer = json.loads(pusher.raw("shop/web", "1.1"))["layers"][0]["digest"].removeprefix("sha256:")
    pattern = folders[what].replace("*", manifest if what == "revision" else layer)
    (stage.server.storage / REPOSITORIES / "shop/web" / pattern).write_bytes(b"")
    before = stage.blobs()
    done = stage.collect("-y", "--keep-undo", "0d")
    if what == "layer" and stage.server.program != ("registry-3",):  # the collector of 2.8 reads no links to layers
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 5, done.stderr
    assert stage.blobs() == before


@pytest.mark.parametrize("flags", [(), ("-m",)])
def test_odd_and_empty_things_are_as_predicted(stage: Stage, flags: tuple[str, ...]) -> None:
    """A blob's folder without data, an empty repository, an artifact with a config alone, a referrer without a tag."""
    (stage.server.storage / "docker/registry/v2/blobs/sha256/ab" / ("ab" * 32)).mkdir(parents=True)
    with stage.running() as pusher:
        pusher.push_image("empty/it", "1.0", seed="empty")
        digest = pusher.tags("empty/it")["1.0"]
        pusher.request("DELETE", f"/v2/empty/it/manifests/{digest}")
        config = {"mediaType": "application/vnd.example+json", "digest": pusher.push_blob("art/it", b"{}"), "size": 2}
        body = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []}
        pusher.push_manifest("art/it", "1.0", json.dumps(body).encode(), IMAGE)
        subject = {"mediaType": IMAGE, "digest": pusher.tags("art/it")["1.0"], "size": 1}
        pusher.push_manifest("art/it", None, json.dumps({**body, "subject": subject}).encode(), IMAGE)
    is_older = stage.server.program != ("registry-3",)
    if is_older and flags:  # an index is tagged
        assert stage.collect("-y", "--keep-undo", "0d", command=[*stage.command, *flags]).returncode == 5
        with stage.running() as pusher:
            pusher.request("DELETE", f"/v2/shop/web/manifests/{pusher.tags('shop/web')['multi']}")
    found = stage.object("-y", "--keep-undo", "0d", command=[*stage.command, *flags])
    assert found["as_predicted"]
    assert found["freed"]["blobs"] >= 7
    stage.pull("shop/web:1.1")
    stage.pull("art/it:1.0")


def test_that_the_registry_is_stopped_is_said(older: Stage) -> None:
    """A wrong port looks the same."""
    done = older.collect("--dry-run", "--keep-undo", "0d")
    assert f"nothing listens at {older.server.host}: the registry counts as stopped" in done.stderr
