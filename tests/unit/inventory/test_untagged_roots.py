"""Which untagged manifests are roots, in a storage and in a graph; each guard separately."""

from __future__ import annotations

from datetime import UTC, datetime

from test_plan import REPOSITORY, graph, image, index

from dregutil.inventory.untagged import Untagged, untagged_in_graph, untagged_in_storage, untagged_indexes
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.stored import Oddity, StoredManifest, StoredRegistry, StoredRepository

APP = Repository("app")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO, THREE, FOUR, FIVE = (Digest.of(name.encode()) for name in ("one", "two", "three", "four", "five"))


def held(
    tags: dict[str, Digest],
    *manifests: StoredManifest,
    oddities: tuple[Oddity, ...] = (),
    linked: tuple[Digest, ...] = (),
) -> tuple[StoredRegistry, StoredRepository]:
    found = {manifest.digest: manifest for manifest in manifests}
    repository = StoredRepository(
        APP, frozenset(found) | frozenset(linked), {Tag(tag): digest for tag, digest in tags.items()}
    )
    return StoredRegistry("/s", {APP: repository}, dict.fromkeys(found, 1), found, oddities), repository


def leaf(digest: Digest, subject: Digest | None = None) -> StoredManifest:
    return StoredManifest(digest, Kind.IMAGE, OCI_MANIFEST, (), subject)


def around(digest: Digest, *children: Digest, subject: Digest | None = None) -> StoredManifest:
    return StoredManifest(digest, Kind.INDEX, OCI_INDEX, children, subject)


def roots(tags: dict[str, Digest], *manifests: StoredManifest, tagged: tuple[Digest, ...] = ()) -> set[Digest]:
    registry, repository = held(tags, *manifests)
    found = untagged_in_storage(registry, repository, tagged)
    assert found.unjudgeable == ""
    return set(found.roots)


def signature(subject: Digest, suffix: str = ".sig") -> str:
    return f"sha256-{subject.hex}{suffix}"


def test_a_manifest_without_a_tag_is_a_root() -> None:
    assert roots({"1": ONE}, leaf(ONE), leaf(TWO)) == {TWO}
    assert roots({}, leaf(ONE), leaf(TWO)) == {ONE, TWO}


def test_a_manifest_tagged_since_is_not_a_root() -> None:
    assert roots({}, leaf(ONE), leaf(TWO), tagged=(TWO,)) == {ONE}


def test_a_child_belongs_to_its_index_tagged_or_not() -> None:
    assert roots({"1": TWO}, leaf(ONE), around(TWO, ONE)) == set()
    assert roots({}, leaf(ONE), around(TWO, ONE), around(THREE, TWO)) == {THREE}


def test_a_referrer_belongs_to_a_subject_that_exists() -> None:
    assert roots({}, leaf(ONE), leaf(TWO, ONE)) == {ONE}
    assert roots({}, leaf(TWO, ONE)) == {TWO}


def test_the_subject_of_a_tagged_artifact_stays_with_everything_around_it() -> None:
    assert roots({"sbom": TWO}, leaf(ONE), leaf(TWO, ONE)) == set()
    assert roots({"sbom": THREE}, leaf(ONE), around(TWO, ONE), leaf(THREE, ONE)) == set()
    assert roots({"sbom": FOUR}, leaf(ONE), around(TWO, ONE), around(THREE, TWO), leaf(FOUR, ONE), leaf(FIVE)) == {FIVE}
    assert roots({"sbom": THREE}, leaf(ONE), leaf(TWO, ONE), leaf(THREE, TWO)) == set()
    assert roots({"all": THREE}, leaf(ONE), leaf(TWO, ONE), around(THREE, TWO)) == set()


def test_a_signature_reaches_nothing_while_nothing_reaches_its_subject() -> None:
    assert roots({signature(ONE): TWO}, leaf(ONE), leaf(TWO)) == {ONE}
    assert roots({signature(ONE): TWO}, leaf(ONE), leaf(TWO, ONE)) == {ONE}
    assert roots({signature(FIVE): TWO}, leaf(ONE), leaf(TWO, ONE)) == set()  # of a subject that is not here


def test_a_signature_counts_once_something_reaches_its_subject() -> None:
    # The tag refers to one; its signature then to two, which refers to three.
    assert roots({"1": ONE, signature(ONE): TWO}, leaf(ONE), leaf(TWO, THREE), leaf(THREE)) == set()
    assert roots({signature(ONE): TWO}, leaf(ONE), leaf(TWO, THREE), leaf(THREE)) == {ONE, THREE}


def test_the_subject_of_something_around_a_tagged_manifest_stays() -> None:
    assert roots({"sbom": FOUR}, leaf(ONE), around(TWO, ONE, subject=THREE), leaf(THREE), leaf(FOUR, ONE)) == set()
    assert roots({"x": FOUR}, leaf(FOUR, FIVE), leaf(ONE)) == {ONE}
    assert roots({"t": TWO}, leaf(ONE, FOUR), around(TWO, ONE), leaf(FOUR, FIVE), leaf(FIVE)) == set()
    beside = roots({"1": FIVE, signature(ONE): TWO}, leaf(FIVE), leaf(ONE), leaf(TWO, THREE), leaf(THREE))
    assert beside == {ONE, THREE}


def test_what_a_child_of_a_child_of_a_tagged_index_refers_to_stays() -> None:
    assert roots({"t": THREE}, around(THREE, TWO), around(TWO, ONE), leaf(ONE, FOUR), leaf(FOUR)) == set()


def test_an_untagged_index_is_reported() -> None:
    registry, repository = held({"1": TWO}, leaf(ONE), around(TWO, ONE), around(THREE, ONE), leaf(FOUR))
    assert untagged_indexes(registry, repository) == {THREE}
    found = untagged_in_storage(registry, repository, ())
    assert found.indexes == {THREE}
    assert set(found.roots) == {THREE, FOUR}
    assert found.roots[FOUR] is None


def test_a_link_without_data_is_skipped() -> None:
    registry, repository = held({"1": ONE, "2": FIVE}, leaf(ONE), leaf(TWO), linked=(THREE, FIVE))
    assert set(untagged_in_storage(registry, repository, ()).roots) == {TWO}
    assert untagged_indexes(registry, repository) == set()


def test_an_unreadable_or_unknown_manifest_prevents_removal() -> None:
    registry, repository = held({}, leaf(ONE), oddities=(Oddity("x/y", "it is torn"),))
    assert untagged_in_storage(registry, repository, ()) == Untagged(
        APP, unjudgeable="not all of the storage could be read: x/y: it is torn"
    )
    for media_type, shown in (("text/odd", "'text/odd'"), ("", "'(none)'")):
        registry, repository = held({}, leaf(ONE), StoredManifest(TWO, Kind.UNKNOWN, media_type))
        found = untagged_in_storage(registry, repository, ())
        assert found.unjudgeable == f"{TWO.short} has the media type {shown}, which may hold anything"
        assert not found.roots


def in_graph(found: RepositoryGraph, *known: Manifest) -> Untagged:
    return untagged_in_graph(found, {one.digest: NOW for one in known})


def test_in_a_graph_only_known_untagged_manifests_are_roots() -> None:
    one, two, three = image("one"), image("two"), image("three")
    found = in_graph(graph({"1": one}, two), one, two, three)
    assert dict(found.roots) == {two.digest: NOW}
    assert found.indexes == frozenset()
    assert dict(in_graph(graph({"1": one}, two, three), two).roots) == {two.digest: NOW}


def test_in_a_graph_what_belongs_to_something_is_not_a_root() -> None:
    child = image("child")
    top = index(child)
    about = image("about", subject=child)
    found = in_graph(graph({}, child, top, about), child, top, about)
    assert set(found.roots) == {top.digest}
    assert found.indexes == {top.digest}
    referring: dict[Digest, tuple[Digest, ...]] = {child.digest: (about.digest,)}
    tagged = in_graph(graph({"sbom": about}, child, referrers=referring), child)
    assert dict(tagged.roots) == {}


def test_a_graph_that_cannot_be_judged_has_no_roots() -> None:
    broken = RepositoryGraph(REPOSITORY, {}, {}, unjudgeable="broken")
    assert untagged_in_graph(broken, {ONE: NOW}) == Untagged(REPOSITORY, unjudgeable="broken")
