"""Edge cases of the figures of a plan: empty blobs, missing repositories, tags that no step names."""

from __future__ import annotations

import json
from dataclasses import replace

from test_plan import REPOSITORY, graph, index, plan
from test_reclaim import digest, removing, size, stored

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan
from dregutil.plan.reclaim import freed_digests, with_reclaim, with_stored_reclaim
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation, MarkedRepository
from dregutil.storage.stored import StoredRepository

V2, V2_UNTAGGED, V3, V3_UNTAGGED = (
    GarbageCollector(generation, collector) for generation in Generation for collector in Collector
)
A, B = Repository("a"), Repository("b")


def sized(*layers: tuple[str, int]) -> Manifest:
    """An image with an empty config, and layers of these sizes."""
    listed = [{"mediaType": "x/y", "digest": Digest.of(name.encode()), "size": length} for name, length in layers]
    config = {"mediaType": "x/y", "digest": Digest.of(b"config"), "size": 0}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": listed}).encode()
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


def frees(made: Plan, *graphs: RepositoryGraph) -> int:
    return with_reclaim(made, {found.repository: found for found in graphs}, [V2]).reclaim.reclaimable_bytes


def test_an_empty_blob_frees_nothing() -> None:
    one = sized()
    found = graph({"1": one})
    assert frees(plan(found, "1"), found) == len(one.raw)


def test_of_two_stated_sizes_of_a_blob_the_larger_counts() -> None:
    for sizes in ((5, 70), (70, 5)):
        one, two = (sized(("layer", length)) for length in sizes)
        found = graph({"1": one, "2": two})
        assert frees(plan(found, "1", "2"), found) == len(one.raw) + len(two.raw) + 70


def test_the_size_an_index_states_for_a_child_that_was_not_read_counts() -> None:
    child = sized(("layer", 7))
    found = graph({"all": index(child)})
    (top,) = found.manifests.values()
    assert frees(plan(found, "all"), found) == len(top.raw) + len(child.raw)


def warnings(made: Plan, *held: MarkedRepository) -> tuple[str, ...]:
    """For a storage without empty folders, collected by 2.8 with -m."""
    registry = replace(stored(*held), keeps_empty_folders=False)
    return with_stored_reclaim(made, registry, [V2_UNTAGGED], graphs={}).reclaim.warnings


def test_a_repository_missing_from_the_storage_hides_no_other_at_which_the_collector_stops() -> None:
    one = MarkedRepository(A, {digest(1): ()}, {Tag("x"): digest(1)})
    (said,) = warnings(removing((B, digest(5)), (A, Tag("x")), held=[one]), one)
    assert "at a, which has manifests and no folder of tags" in said


def test_an_untagged_manifest_is_left_to_the_collector() -> None:
    one = MarkedRepository(A, {digest(1): ()}, {Tag("x"): digest(1)})
    (said,) = warnings(removing((A, Tag("x")), held=[one]), one)
    assert "no folder of tags" in said
    assert warnings(removing((A, digest(1)), held=[one]), one) == ()


def test_a_deleted_manifest_loses_tags_that_its_step_does_not_name() -> None:
    one = MarkedRepository(A, {digest(1): (), digest(2): ()}, {Tag("x"): digest(1)})
    (said,) = warnings(removing((A, digest(1))), one)  # made when nobody knew of the tag
    assert "no folder of tags" in said


def test_a_step_of_a_repository_that_the_collector_does_not_find_frees_nothing() -> None:
    one = MarkedRepository(A, {digest(1): (digest(10),)}, {Tag("x"): digest(1)})
    other = MarkedRepository(B, {digest(2): (digest(11),)}, {Tag("y"): digest(2)})
    registry = stored(one, other)
    hidden = StoredRepository(A, frozenset([digest(1)]), one.tags, has_layers=False)
    registry = replace(registry, repositories={**registry.repositories, A: hidden})
    made = removing((A, digest(1)), (B, digest(2)), held=[one, other])
    assert [step.frees for step in with_stored_reclaim(made, registry, [V2], graphs={}).steps] == [
        0,
        size(digest(2)) + size(digest(11)),
    ]


def untidy() -> tuple[MarkedRepository, MarkedRepository]:
    """`a` has an index whose child only `b` has: 3 with -m does not descend into it again."""
    first = MarkedRepository(A, {digest(3): (digest(1),)}, {Tag("all"): digest(3)})
    second = MarkedRepository(B, {digest(1): (digest(10),), digest(3): (digest(1),)}, {Tag("all"): digest(3)})
    return first, second


def test_a_step_that_makes_the_collector_mark_more_frees_less_than_nothing() -> None:
    held = untidy()
    made = removing((A, digest(3)), (B, digest(3)), held=held)
    found = with_stored_reclaim(made, stored(*held), [V3_UNTAGGED], graphs={})
    assert [step.frees for step in found.steps] == [
        -size(digest(10)),
        size(digest(3)) + size(digest(1)) + size(digest(10)),
    ]
    assert found.reclaim.reclaimable_bytes == size(digest(3)) + size(digest(1))


def test_a_step_by_tag_where_the_order_of_repositories_matters() -> None:
    held = untidy()
    made = removing((A, Tag("all")), (B, Tag("all")), held=held)
    found = with_stored_reclaim(made, stored(*held), [V3_UNTAGGED], graphs={})
    assert [step.frees for step in found.steps] == [
        -size(digest(10)),
        size(digest(3)) + size(digest(1)) + size(digest(10)),
    ]


def test_a_repository_that_cannot_be_judged_is_not_reported_as_different_from_the_storage() -> None:
    one = MarkedRepository(A, {digest(1): ()}, {Tag("x"): digest(1)})
    made = removing((A, digest(1)), held=[one])
    graphs = {
        B: RepositoryGraph(B, {Tag("other"): digest(7)}, unjudgeable="broken"),
        A: RepositoryGraph(A, dict(one.tags)),
    }
    assert with_stored_reclaim(made, stored(one), [V2], graphs=graphs).reclaim.exact


def test_a_manifest_missing_from_the_storage_shows_that_the_storage_differs() -> None:
    found = graph({"1": sized()})
    (manifest,) = found.manifests.values()
    made = plan(found, "1")
    held = MarkedRepository(REPOSITORY, {manifest.digest: ()}, {Tag("1"): manifest.digest})
    assert with_stored_reclaim(made, stored(held), [V2], graphs={REPOSITORY: found}).reclaim.exact
    lacking = replace(stored(held), blobs={})
    because = with_stored_reclaim(made, lacking, [V2], graphs={REPOSITORY: found}).reclaim.because
    assert because.startswith(f"/storage differs from the registry in {REPOSITORY}:1")


def test_only_tagged_indexes_cause_a_warning_about_the_collector() -> None:
    one, two = sized(("a", 1)), sized(("b", 1))
    read = graph({"1": one, "2": two})
    unread = RepositoryGraph(REPOSITORY, {**read.tags, Tag("3"): digest(3)}, read.manifests)
    for found in (read, unread):
        reclaim = with_reclaim(plan(found, "1"), {REPOSITORY: found}, [V2_UNTAGGED]).reclaim
        assert reclaim.warnings == ()


def test_a_step_removes_only_the_tags_of_its_manifest_if_the_order_matters() -> None:
    first, second = untidy()
    other = replace(second, references={**second.references, digest(2): ()}, tags={**second.tags, Tag("x"): digest(2)})
    made = removing((B, digest(3)), (A, digest(3)))  # made when nobody knew of the tags
    found = with_stored_reclaim(made, stored(first, other), [V3_UNTAGGED], graphs={})
    assert [step.frees for step in found.steps] == [0, size(digest(3)) + size(digest(1))]


def test_a_child_deleted_alone_leaves_nothing_to_descend_into() -> None:
    second = untidy()[1]
    held = (MarkedRepository(A, {digest(4): (digest(2),)}, {Tag("x"): digest(4)}), second)
    held = (held[0], replace(second, references={**second.references, digest(2): ()}))
    found = with_stored_reclaim(removing((B, digest(1))), stored(*held), [V3_UNTAGGED], graphs={})
    assert [step.frees for step in found.steps] == [size(digest(10))]


def test_a_blob_without_data_frees_nothing() -> None:
    one = MarkedRepository(A, {digest(1): (digest(10),)}, {Tag("x"): digest(1)})
    for held, step, collector in (([one], digest(1), V2), (untidy(), digest(3), V3_UNTAGGED)):
        registry = stored(*held)
        registry = replace(registry, blobs={found: 8 for found in registry.blobs if found != digest(10)})
        made = removing(*((found.repository, step) for found in held), held=held)
        reclaim = with_stored_reclaim(made, registry, [collector], graphs={}).reclaim
        assert reclaim.reclaimable_bytes == 8 * (len(registry.blobs))


def test_from_the_api_untagging_frees_space_with_m() -> None:
    one = sized(("a", 1))
    found = graph({"1": one, "2": sized(("b", 1))})
    made = removing((REPOSITORY, Tag("1")), held=[MarkedRepository(REPOSITORY, {}, found.tags)])
    freed = freed_digests(made, {REPOSITORY: found}, [V2_UNTAGGED], {})
    assert freed == {one.digest, Digest.of(b"a")}
    assert freed_digests(made, {REPOSITORY: found}, [V2], {}) == frozenset()
