"""What a collector finds in a storage: links without data, and the repositories it visits."""

from __future__ import annotations

from dregutil.oci.manifest import OCI_MANIFEST, Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation, Marks, mark, marked_repositories
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

V2, V3 = (GarbageCollector(generation) for generation in Generation)
A, B = Repository("a"), Repository("b")
ONE, GONE, LAYER = (Digest.of(name.encode()) for name in ("one", "gone", "layer"))


def storage(*repositories: StoredRepository) -> StoredRegistry:
    """`ONE` is a manifest with a layer; `GONE` has only links."""
    return StoredRegistry(
        "/storage",
        {found.repository: found for found in repositories},
        {ONE: 10, LAYER: 100},
        {ONE: StoredManifest(ONE, Kind.IMAGE, OCI_MANIFEST, (LAYER,))},
    )


def test_a_link_without_data_is_not_a_manifest_of_its_repository() -> None:
    held = StoredRepository(A, frozenset([ONE, GONE]), {Tag("1"): ONE, Tag("lost"): GONE})
    for collector in (GarbageCollector(generation, how) for generation in Generation for how in Collector):
        found = marked_repositories(storage(held), collector)
        assert [dict(one.references) for one in found] == [{ONE: (LAYER,)}]
        assert mark(found, collector) == Marks(found, collector).marked == {ONE, LAYER}


def test_a_manifest_that_was_not_understood_marks_itself() -> None:
    held = StoredRepository(A, frozenset([ONE, LAYER]), {Tag("1"): ONE})
    (found,) = marked_repositories(storage(held), V2)
    assert found.references == {ONE: (LAYER,), LAYER: ()}


def test_each_generation_finds_repositories_by_its_own_folder() -> None:
    without_layers = StoredRepository(A, frozenset([ONE]), {Tag("1"): ONE}, has_layers=False)
    without_manifests = StoredRepository(B, has_manifests=False)
    registry = storage(without_layers, without_manifests)
    assert [found.repository for found in marked_repositories(registry, V2)] == [B]
    assert [found.repository for found in marked_repositories(registry, V3)] == [A]


def test_the_folder_of_a_repository_decides_its_order_among_nested_ones() -> None:
    registry = storage(*(StoredRepository(Repository(name)) for name in ("a-b", "a/b", "a", "a/0")))
    assert [found.repository for found in marked_repositories(registry, V2)] == ["a/0", "a", "a/b", "a-b"]
