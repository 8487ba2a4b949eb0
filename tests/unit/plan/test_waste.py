"""What no tag needs is counted as `cleanup` removes it: nothing that `cleanup` would hold back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.waste import wasted
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

APP = Repository("app")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
ONE, TWO, CONFIG, LAYER = (Digest.of(name.encode()) for name in ("one", "two", "config", "layer"))
IMAGE = StoredManifest(ONE, Kind.IMAGE, OCI_MANIFEST, (CONFIG, LAYER))


def registry(
    *manifests: StoredManifest, tags: dict[str, Digest] | None = None, blobs: tuple[Digest, ...] = (CONFIG, LAYER)
) -> StoredRegistry:
    found = {manifest.digest: manifest for manifest in manifests}
    held = StoredRepository(
        APP, frozenset(found), {Tag(tag): digest for tag, digest in (tags or {}).items()}, frozenset((CONFIG, LAYER))
    )
    return StoredRegistry("/s", {APP: held}, dict.fromkeys((*found, *blobs), 10), found)


def untagged(stored: StoredRegistry) -> tuple[int, int]:
    waste = wasted(stored, NOW)
    return waste.untagged, waste.untagged_bytes


def test_an_untagged_image_is_counted_with_its_blobs() -> None:
    assert untagged(registry(IMAGE)) == (1, 30)


def test_what_could_not_be_put_back_is_held_by_cleanup_and_not_counted() -> None:
    assert untagged(registry(IMAGE, blobs=(CONFIG,))) == (0, 0)
    unlinked = registry(IMAGE)
    held = replace(unlinked.repositories[APP], layers=frozenset((CONFIG,)))
    assert untagged(replace(unlinked, repositories={APP: held})) == (0, 0)
    assert untagged(registry(replace(IMAGE, is_ambiguous=True))) == (0, 0)
    assert untagged(registry(replace(IMAGE, kind=Kind.SCHEMA1))) == (0, 0)


def test_a_foreign_layer_may_be_absent() -> None:
    assert untagged(registry(replace(IMAGE, elsewhere=frozenset((LAYER,))), blobs=(CONFIG,))) == (1, 20)


def test_an_index_that_lacks_a_child_or_a_blob_is_not_counted() -> None:
    assert untagged(registry(StoredManifest(TWO, Kind.INDEX, OCI_INDEX, (ONE,)))) == (0, 0)
    cache = StoredManifest(TWO, Kind.INDEX, OCI_INDEX, (LAYER,), index_blobs=frozenset((LAYER,)))
    assert untagged(registry(cache)) == (1, 20)
    assert untagged(registry(cache, blobs=())) == (0, 0)


def test_a_placeholder_waits_for_its_run() -> None:
    left = StoredManifest(ONE, Kind.IMAGE, OCI_MANIFEST, (CONFIG,), is_placeholder=True)
    assert untagged(registry(left)) == (0, 0)


@pytest.mark.parametrize(("is_runnable", "count"), [(True, (1, 10)), (False, (2, 40))])
def test_an_image_that_may_run_is_not_an_accessory_whatever_its_tag(is_runnable: bool, count: tuple[int, int]) -> None:
    about = StoredManifest(TWO, Kind.IMAGE, OCI_MANIFEST)
    stored = registry(replace(IMAGE, is_runnable=is_runnable), about, tags={f"sha256-{TWO.hex}.scan": ONE})
    assert untagged(stored) == count
