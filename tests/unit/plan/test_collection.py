"""What a collection would sweep and what a tag needs, in storages made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dregutil.errors import RefusedError, UsageError
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.collection import check_is_whole, compared, named, predicted
from dregutil.storage.collector import Collector
from dregutil.storage.collector_command import CollectorCommand, generation_of
from dregutil.storage.garbage_collector import GarbageCollector, Generation
from dregutil.storage.stored import Oddity, StoredManifest, StoredRegistry, StoredRepository

OUTER, INNER, IMAGE, LAYER, FOREIGN, ORPHAN = (Digest.of(bytes([number])) for number in range(6))
NAME = Repository("shop/web")


def nested() -> StoredRegistry:
    """A tag on an index of an index of an image, a layer that is elsewhere, and an orphan."""
    manifests = {
        OUTER: StoredManifest(OUTER, Kind.INDEX, OCI_INDEX, (INNER,)),
        INNER: StoredManifest(INNER, Kind.INDEX, OCI_INDEX, (IMAGE,)),
        IMAGE: StoredManifest(IMAGE, Kind.IMAGE, OCI_MANIFEST, (LAYER, FOREIGN), elsewhere=frozenset((FOREIGN,))),
    }
    held = StoredRepository(NAME, frozenset(manifests), {Tag("1.0"): OUTER}, frozenset((LAYER,)))
    return StoredRegistry("here", {NAME: held}, {**dict.fromkeys(manifests, 100), LAYER: 10, ORPHAN: 1}, manifests)


def without(stored: StoredRegistry, *digests: Digest) -> StoredRegistry:
    return replace(stored, blobs={digest: size for digest, size in stored.blobs.items() if digest not in digests})


@pytest.mark.parametrize("generation", Generation)
def test_an_orphan_goes_and_nothing_that_a_tag_needs(generation: Generation) -> None:
    found = predicted(nested(), GarbageCollector(generation))
    assert (found.swept, found.size, found.tags) == ({ORPHAN: 1}, 1, ())


def test_m_on_2_8_takes_children_at_any_depth() -> None:
    found = predicted(nested(), GarbageCollector(Generation.V2, Collector.UNTAGGED))
    assert found.swept.keys() == {IMAGE, LAYER, ORPHAN}
    assert found.tags == ("shop/web:1.0",)
    assert predicted(nested(), GarbageCollector(Generation.V3, Collector.UNTAGGED)).tags == ()


@pytest.mark.parametrize("lost", [OUTER, INNER, IMAGE, LAYER])
def test_a_tag_that_lost_anything_at_any_depth_is_found(lost: Digest) -> None:
    before = nested()
    found = compared(before, without(before, ORPHAN, lost), [predicted(before, GarbageCollector(Generation.V3))])
    assert found.broken == ("shop/web:1.0",)
    assert found.taken.keys() == {lost}
    assert not found.is_as_predicted


def test_a_manifest_whose_data_changed_is_lost() -> None:
    before = nested()
    damaged = {digest: found for digest, found in before.manifests.items() if digest != INNER}
    after = without(replace(before, manifests=damaged), ORPHAN)
    assert compared(before, after, [predicted(before, GarbageCollector(Generation.V3))]).broken == ("shop/web:1.0",)


def test_what_was_broken_before_is_not_blamed_on_the_collection() -> None:
    before = without(nested(), LAYER)
    found = compared(before, without(before, ORPHAN), [predicted(before, GarbageCollector(Generation.V3))])
    assert found.is_as_predicted


def test_what_stayed_and_what_came_is_a_difference() -> None:
    before = nested()
    prediction = [predicted(before, GarbageCollector(Generation.V3))]
    assert compared(before, before, prediction).kept == {ORPHAN: 1}
    new = Digest.of(b"new")
    after = without(replace(before, blobs={**before.blobs, new: 7}), ORPHAN)
    assert compared(before, after, prediction).added == {new: 7}
    assert not compared(before, after, prediction).is_as_predicted
    moved = replace(before.repositories[NAME], tags={Tag("2.0"): OUTER})
    changed = without(replace(before, repositories={NAME: moved}), ORPHAN)
    assert compared(before, changed, prediction).changed == ("shop/web:1.0", "shop/web:2.0")


def test_a_manifest_without_a_tag_that_came_and_lost_a_blob_is_named() -> None:
    """A child that was pushed by its digest: its index, and so its tag, would have come later."""
    before = nested()
    new = Digest.of(b"new")
    child = StoredManifest(new, Kind.IMAGE, OCI_MANIFEST, (ORPHAN,))
    held = before.repositories[NAME]
    linked = replace(held, revisions=held.revisions | {new}, layers=held.layers | {ORPHAN})
    blobs = {**before.blobs, new: 100}
    after = replace(before, repositories={NAME: linked}, blobs=blobs, manifests={**before.manifests, new: child})
    prediction = [predicted(before, GarbageCollector(Generation.V3))]
    found = compared(before, without(after, ORPHAN), prediction)
    assert (found.broken, found.broken_untagged) == ((), (f"shop/web@{new}",))
    assert not found.taken
    assert not found.kept
    assert compared(before, after, prediction).broken_untagged == ()


def test_a_storage_that_is_not_read_wholly_is_refused() -> None:
    check_is_whole(nested())
    unread = Oddity("blobs/x", "cannot be read: permission denied", unread=True)
    with pytest.raises(RefusedError, match="part of the storage cannot be read: blobs/x") as found:
        check_is_whole(replace(nested(), oddities=(unread, unread)))
    assert found.value.advice == "run it as the registry's user"
    assert ", and 1 more" in found.value.message
    with pytest.raises(RefusedError, match="cannot be predicted: blobs/y"):
        check_is_whole(replace(nested(), oddities=(Oddity("blobs/y", "does not match its digest"),)))
    check_is_whole(replace(nested(), oddities=(Oddity("tags/z", "a tag that names nothing", hides=False),)))


@pytest.mark.parametrize(
    ("options", "untagged"),
    [
        ("CONFIG", False),
        ("-m CONFIG", True),
        ("CONFIG -m", True),
        ("-mq CONFIG", True),
        ("-qm=true CONFIG", True),
        ("--delete-untagged CONFIG", True),
        ("--delete-untagged=1 CONFIG", True),
        ("--delete-untagged=false CONFIG", False),
        ("-m=true -m=F CONFIG", False),
        ("-- -m", False),
        ("--dry-run=false CONFIG", False),
    ],
)
def test_how_the_collector_is_run(options: str, untagged: bool) -> None:
    for before in ("registry", "kubectl exec deploy/registry -- registry", "sudo -u registry registry"):
        found = CollectorCommand.parse([*before.split(), "garbage-collect", *options.split()])
        assert found.collector is Collector.of(untagged=untagged)
        assert found.is_plain is (before == "registry")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "registry",
        "garbage-collect CONFIG",
        "registry serve CONFIG",
        "registry -m garbage-collect CONFIG",
        "registry garbage-collect -d CONFIG",
        "registry garbage-collect -md CONFIG",
        "registry garbage-collect CONFIG --dry-run",
        "registry garbage-collect CONFIG --dry-run=T",
        "registry garbage-collect -m=yes CONFIG",
    ],
)
def test_what_is_no_collection_is_refused(words: str) -> None:
    with pytest.raises(UsageError):
        CollectorCommand.parse(words.split())


def test_the_generation_by_its_version() -> None:
    assert generation_of("docker-registry github.com/docker/distribution 2.8.2+ds1") is Generation.V2
    assert generation_of("registry github.com/docker/distribution v2.8.3") is Generation.V2
    assert generation_of("registry-3 github.com/distribution/distribution/v3 v3.1.2+unknown") is Generation.V3
    assert generation_of("Docker version 28.0.1, build 068a01e") is None
    assert generation_of("") is None


def test_at_most_five_are_named() -> None:
    assert named(["a"]) == "a"
    assert named([*"abcdefg"]) == "a, b, c, d, e and 2 more"
