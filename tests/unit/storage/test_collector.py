"""The collector's marks: updated while manifests are removed, they are the same as computed from scratch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.manifest import OCI_ARTIFACT, OCI_MANIFEST, Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import (
    GarbageCollector,
    Generation,
    MarkedRepository,
    Marks,
    is_untidy,
    mark,
    stops_at,
)
from dregutil.storage.stored import Oddity, Stops, StoredManifest, StoredRegistry, StoredRepository

COLLECTORS = [GarbageCollector(generation, collector) for generation in Generation for collector in Collector]
V2, V2_UNTAGGED, V3, V3_UNTAGGED = COLLECTORS
A, B = Repository("a"), Repository("b")


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


IMAGE, OTHER, INDEX, LAYER, CONFIG = map(digest, range(5))
IMAGES = {IMAGE: (CONFIG, LAYER), OTHER: (CONFIG,)}


@st.composite
def repositories(draw: st.DrawFn) -> list[MarkedRepository]:
    """Manifests refer to those with smaller numbers, and to blobs."""
    found = []
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        numbers = draw(st.lists(st.integers(0, 7), max_size=6, unique=True))
        named = {
            digest(number): tuple(
                map(digest, draw(st.lists(st.integers(0, number - 1) | st.integers(20, 23), max_size=3, unique=True)))
            )
            for number in numbers
            if number
        }
        tags = draw(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 7), max_size=3)) if named else {}
        found.append(
            MarkedRepository(Repository(name), named, {Tag(tag): digest(number) for tag, number in tags.items()})
        )
    return found


@pytest.mark.property
@given(
    found=repositories(),
    collector=st.sampled_from(COLLECTORS),
    removals=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7) | st.sampled_from("xyz")), max_size=8),
)
def test_marks_agree_with_the_collector(
    found: list[MarkedRepository], collector: GarbageCollector, removals: list[tuple[str, int | str]]
) -> None:
    if is_untidy(found, collector):
        return
    marks = Marks(found, collector)
    assert marks.marked == mark(found, collector)
    now = {held.repository: (dict(held.references), dict(held.tags)) for held in found}
    for name, what in removals:
        before = marks.marked
        references, tags = now.get(Repository(name), ({}, {}))
        if isinstance(what, str):
            gone = marks.untag(Repository(name), Tag(what))
            tags.pop(Tag(what), None)
        else:
            gone = marks.delete(Repository(name), digest(what))
            if references.pop(digest(what), None) is not None:
                for tag in [tag for tag, target in tags.items() if target == digest(what)]:
                    del tags[tag]
        left = [MarkedRepository(held.repository, *now[held.repository]) for held in found]
        if is_untidy(left, collector):
            return
        assert marks.marked == mark(left, collector)
        assert gone == before - marks.marked


def test_2_8_with_m_destroys_the_children_of_a_tagged_index() -> None:
    index = MarkedRepository(A, {INDEX: (IMAGE,), IMAGE: (CONFIG, LAYER)}, {Tag("1"): INDEX})
    assert mark([index], V2_UNTAGGED) == {INDEX, IMAGE}
    assert mark([index], V3_UNTAGGED) == {INDEX, IMAGE, CONFIG, LAYER}
    assert mark([index], V2) == mark([index], V3) == {INDEX, IMAGE, CONFIG, LAYER}


def test_3_does_not_descend_into_what_it_has_already_marked() -> None:
    broken = MarkedRepository(A, {INDEX: (IMAGE,)}, {Tag("1"): INDEX})
    whole = MarkedRepository(B, {INDEX: (IMAGE,), IMAGE: (CONFIG, LAYER)}, {Tag("1"): INDEX})
    assert mark([broken, whole], V3_UNTAGGED) == {INDEX, IMAGE}
    assert mark([whole, broken], V3_UNTAGGED) == {INDEX, IMAGE, CONFIG, LAYER}
    assert is_untidy([broken, whole], V3_UNTAGGED)
    assert not is_untidy([whole], V3_UNTAGGED)


def stored(repository: StoredRepository, *manifests: StoredManifest, keeps: bool = True) -> StoredRegistry:
    found = {manifest.digest: manifest for manifest in manifests}
    return StoredRegistry("x", {repository.repository: repository}, dict.fromkeys(found, 1), found, (), keeps)


def test_what_makes_a_collector_stop() -> None:
    image = StoredManifest(IMAGE, Kind.IMAGE, OCI_MANIFEST, (CONFIG,))
    artifact = StoredManifest(IMAGE, Kind.IMAGE, OCI_ARTIFACT)
    old = StoredManifest(IMAGE, Kind.SCHEMA1, "")
    tagged = StoredRepository(A, frozenset([IMAGE]), {Tag("1"): IMAGE})
    untagged = StoredRepository(A, frozenset([IMAGE]))
    folderless = StoredRepository(A, frozenset([IMAGE]), has_tags=False)
    without_layers = StoredRepository(A, frozenset([IMAGE]), {Tag("1"): IMAGE}, has_layers=False)

    def stopped(found: StoredRegistry) -> list[GarbageCollector]:
        return [collector for collector in COLLECTORS if list(stops_at(found, collector))]

    assert stopped(stored(tagged, image)) == []
    assert stopped(stored(tagged, artifact)) == COLLECTORS
    assert stopped(stored(tagged, old)) == [V3, V3_UNTAGGED]
    assert stopped(stored(untagged, image)) == []
    assert stopped(stored(untagged, image, keeps=False)) == [V2_UNTAGGED]
    assert stopped(stored(folderless, image)) == [V2_UNTAGGED]
    assert stopped(stored(without_layers, image)) == [V3, V3_UNTAGGED]


def test_the_order_of_repositories_matters_to_3_with_m_alone() -> None:
    broken = MarkedRepository(A, {INDEX: (IMAGE,)}, {Tag("1"): INDEX})
    whole = MarkedRepository(B, {INDEX: (IMAGE,), IMAGE: (CONFIG, LAYER)}, {Tag("1"): INDEX})
    assert [one for one in COLLECTORS if is_untidy([broken, whole], one)] == [V3_UNTAGGED]
    assert [one for one in COLLECTORS if is_untidy([whole, broken], one)] == [V3_UNTAGGED]


def test_the_order_matters_if_two_repositories_show_a_manifest_differently() -> None:
    one = MarkedRepository(A, {IMAGE: (CONFIG,)}, {Tag("1"): IMAGE})
    more = MarkedRepository(B, {IMAGE: (CONFIG, LAYER)}, {Tag("1"): IMAGE})
    assert [collector for collector in COLLECTORS if is_untidy([one, more], collector)] == [V3_UNTAGGED]
    assert not is_untidy([more, MarkedRepository(A, dict(more.references))], V3_UNTAGGED)
    assert not is_untidy([one, MarkedRepository(B, {OTHER: (CONFIG,)})], V3_UNTAGGED)


def test_a_collector_is_run_without_m_by_default() -> None:
    assert [GarbageCollector(generation) for generation in Generation] == [V2, V3]


def test_an_oddity_stops_the_collectors_that_it_names() -> None:
    def stopped(stops: Stops) -> list[tuple[GarbageCollector, str]]:
        registry = StoredRegistry("x", oddities=(Oddity("a/b", "it is torn", stops=stops),))
        return [(collector, why) for collector in COLLECTORS for why in stops_at(registry, collector)]

    assert stopped(Stops.NONE) == []
    assert stopped(Stops.UNTAGGED) == [(found, "a/b: it is torn") for found in (V2_UNTAGGED, V3_UNTAGGED)]
    assert stopped(Stops.ALL) == [(found, "a/b: it is torn") for found in COLLECTORS]


def test_a_repository_that_a_collector_does_not_find_hides_none_at_which_it_stops() -> None:
    odd = StoredManifest(IMAGE, Kind.UNKNOWN, "x/y")
    held = {
        A: StoredRepository(A, has_layers=False, has_manifests=False),
        B: StoredRepository(B, frozenset([IMAGE, OTHER]), {Tag("1"): IMAGE}),
    }
    registry = StoredRegistry("x", held, {IMAGE: 1}, {IMAGE: odd})
    for collector in COLLECTORS:
        assert list(stops_at(registry, collector)) == [f"{IMAGE.short} in b, whose type it does not know"]
    lost = StoredRegistry("x", {A: StoredRepository(A, frozenset([IMAGE]), has_layers=False)}, {IMAGE: 1}, {IMAGE: odd})
    assert list(stops_at(lost, V2)) == []
    assert [why.split(",")[0] for why in stops_at(lost, V3)] == [f"{IMAGE.short} in a", "a"]


def test_only_existing_manifests_need_a_folder_of_tags() -> None:
    empty = StoredRepository(A, frozenset([OTHER]), has_tags=False)
    assert list(stops_at(stored(empty), V2_UNTAGGED)) == []


@pytest.mark.parametrize("collector", [V2_UNTAGGED, V3_UNTAGGED])
def test_a_deleted_manifest_loses_only_its_own_tags(collector: GarbageCollector) -> None:
    found = MarkedRepository(A, {IMAGE: (CONFIG, LAYER), OTHER: (CONFIG,)}, {Tag("1"): IMAGE, Tag("2"): OTHER})
    marks = Marks([found], collector)
    assert marks.delete(A, IMAGE) == {IMAGE, LAYER}
    assert marks.delete(A, IMAGE) == marks.untag(A, Tag("1")) == marks.delete(A, LAYER) == frozenset()
    assert marks.delete(B, OTHER) == marks.untag(B, Tag("2")) == frozenset()
    assert marks.untag(A, Tag("2")) == {OTHER, CONFIG}
    assert marks.marked == frozenset()


def test_a_manifest_with_two_tags_is_marked_until_both_are_removed() -> None:
    marks = Marks([MarkedRepository(A, {IMAGE: (LAYER,)}, {Tag("1"): IMAGE, Tag("2"): IMAGE})], V2_UNTAGGED)
    assert marks.untag(A, Tag("1")) == frozenset()
    assert marks.untag(A, Tag("1")) == frozenset()
    assert marks.untag(A, Tag("2")) == {IMAGE, LAYER}


def test_a_removed_tag_changes_nothing_without_m() -> None:
    for collector in (V2, V3):
        marks = Marks([MarkedRepository(A, {IMAGE: (LAYER,)}, {Tag("1"): IMAGE})], collector)
        assert marks.untag(A, Tag("1")) == frozenset()
        assert marks.delete(A, IMAGE) == {IMAGE, LAYER}


def test_the_contents_of_a_nested_index_are_unmarked_with_it() -> None:
    top = digest(9)
    nested = MarkedRepository(A, {top: (INDEX,), INDEX: (IMAGE,), IMAGE: (LAYER,)}, {Tag("1"): top})
    everything = {top, INDEX, IMAGE, LAYER}
    assert Marks([nested], V3_UNTAGGED).untag(A, Tag("1")) == everything
    assert Marks([nested], V3_UNTAGGED).delete(A, top) == everything
    assert Marks([nested], V2_UNTAGGED).untag(A, Tag("1")) == {top, INDEX}
