"""The collector's marks: kept up to date while things go, they are what it would mark from scratch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.collector import Collector, Generation, MarkedRepository, Marks, is_untidy, mark, stops_at
from dregutil.manifest import OCI_ARTIFACT, OCI_MANIFEST, Kind
from dregutil.reference import Digest, Repository, Tag
from dregutil.stored import StoredManifest, StoredRegistry, StoredRepository

COLLECTORS = [Collector(generation, untagged) for generation in Generation for untagged in (False, True)]
V2, V2_UNTAGGED, V3, V3_UNTAGGED = COLLECTORS
A, B = Repository("a"), Repository("b")


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


IMAGE, OTHER, INDEX, LAYER, CONFIG = map(digest, range(5))
IMAGES = {IMAGE: (CONFIG, LAYER), OTHER: (CONFIG,)}


@st.composite
def repositories(draw: st.DrawFn) -> list[MarkedRepository]:
    """Manifests refer to those of smaller numbers, and to blobs."""
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
def test_marks_stay_what_the_collector_would_mark(
    found: list[MarkedRepository], collector: Collector, removals: list[tuple[str, int | str]]
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


def test_3_does_not_go_into_what_it_has_marked_where_there_was_nothing_to_go_into() -> None:
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

    def stopped(found: StoredRegistry) -> list[Collector]:
        return [collector for collector in COLLECTORS if list(stops_at(found, collector))]

    assert stopped(stored(tagged, image)) == []
    assert stopped(stored(tagged, artifact)) == COLLECTORS
    assert stopped(stored(tagged, old)) == [V3, V3_UNTAGGED]
    assert stopped(stored(untagged, image)) == []
    assert stopped(stored(untagged, image, keeps=False)) == [V2_UNTAGGED]
    assert stopped(stored(folderless, image)) == [V2_UNTAGGED]
    assert stopped(stored(without_layers, image)) == [V3, V3_UNTAGGED]
