"""What holds a digest, each guard separately: on graphs built for the test, without a server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace

from test_plan import REPOSITORY, going, graph, image, index, plan

from dregutil.oci.graph import RepositoryGraph, settle
from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Tag


def settled(found: RepositoryGraph, asked: Iterable[Manifest], *doomed: str) -> tuple[set[Digest], dict[Digest, str]]:
    left, held = settle(found, [one.digest for one in asked], {Tag(tag) for tag in doomed}, allow_irreversible=False)
    return set(left), dict(held)


def test_what_depends_on_something_that_stays_is_held_after_any_number_of_rounds() -> None:
    one, two, three = (image(name) for name in ("one", "two", "three"))
    inner = index(one, two)
    outer = index(inner, three)
    found = graph({"1": outer, "stable": outer, "two": two}, inner, one, three)
    left, held = settled(found, (one, inner, two, outer, three), "1", "two")
    assert left == set()
    assert held[outer.digest] == "also 'stable'"
    assert held[inner.digest] == f"part of the index {outer.digest.short}, which stays"
    assert held[one.digest] == f"part of the index {inner.digest.short}, which stays"


def test_one_of_several_parents_that_stays_is_enough_to_hold() -> None:
    shared, alone = image("shared"), image("alone")
    first, second = index(shared, alone), index(shared)
    found = graph({"1": first, "2": second, "keep": second}, shared, alone)
    left, held = settled(found, (first, second, shared, alone), "1", "2")
    assert left == {first.digest, alone.digest}
    assert set(held) == {second.digest, shared.digest}


def test_a_child_of_an_index_that_another_tag_holds_is_held() -> None:
    """Two tags on one index, its child tagged, another tag on the child: the second round must check everything near
    it."""
    child, other = image("child"), image("other")
    top, beside = index(child), index(other)
    signature = image("signature", subject=child)
    found = graph({"a": top, "b": top, "c": child, "d": other, "e": beside}, signature)
    left, held = settled(found, (top, child, other, beside, signature), "a", "c", "d", "e")
    assert left == {other.digest, beside.digest}
    assert held[top.digest] == "also 'b'"
    assert held[child.digest] == f"part of the index {top.digest.short}, which stays"
    assert held[signature.digest] == f"refers to {child.digest.short}, which stays"


def test_a_signature_of_a_subject_that_is_held_later_is_held_too() -> None:
    subject = image("subject")
    top = index(subject)
    signed = image("signed")
    tag = f"sha256-{subject.digest.hex}.sig"
    found = graph({"1": top, "stable": top, tag: signed}, subject)
    left, held = settled(found, (top, subject, signed), "1")
    assert left == set()
    assert held[signed.digest] == f"also '{tag}'"


def test_which_tags_are_or_were_on_a_digest() -> None:
    one, two = image("one"), image("two")
    found = RepositoryGraph(
        REPOSITORY, {Tag("a"): one.digest, Tag("b"): two.digest}, presumed={Tag("c"): one.digest, Tag("d"): two.digest}
    )
    assert found.tags_on(one.digest, map(Tag, "abcde")) == {"a", "c"}


def test_a_missing_tag_holds_what_it_was_on_unless_it_is_doomed_too() -> None:
    one, two = image("one"), image("two")
    lost = {Tag("lost"): one.digest, Tag("other"): two.digest}
    found = replace(graph({"1": one}), dangling=frozenset(lost), presumed=lost)
    assert dict(found.presumed_on) == {one.digest: (Tag("lost"),), two.digest: (Tag("other"),)}
    assert settled(found, (one,), "1") == (
        set(),
        {one.digest: "held by 'lost', which was on it, is listed, and is not there (404)"},
    )
    assert settled(found, (one,), "1", "lost") == ({one.digest}, {})


def test_what_was_not_read_is_held() -> None:
    one = image("one")
    unread = RepositoryGraph(REPOSITORY, {Tag("1"): one.digest})
    assert settled(unread, (one,), "1") == (set(), {one.digest: "its manifest could not be read"})


def test_a_signature_tag_on_its_own_subject_is_held() -> None:
    one = image("one")
    found = graph({f"sha256-{one.digest.hex}": one})
    assert settled(found, (one,))[0] == set()


def test_an_image_that_a_fallback_index_lists_and_that_refers_to_nothing_stays() -> None:
    subject, stranger = image("subject"), image("stranger")
    listed = index(stranger)
    found = graph({"1": subject, f"sha256-{subject.digest.hex}": listed}, stranger)
    made = plan(found, "1")
    assert stranger.digest in found.manifests
    assert going(made) == [subject.digest, listed.digest]


def test_a_fallback_index_goes_with_what_it_lists_of_its_subject_and_leaves_others() -> None:
    subject, gone = image("subject"), image("gone")
    own, of_another = image("own", subject=subject), image("other", subject=gone)
    listed = index(own, of_another)
    tags = {"1": subject, f"sha256-{subject.digest.hex}": listed}
    found = graph(tags, own, of_another, absent=[gone], referrers={subject.digest: (own.digest, of_another.digest)})
    assert set(found.referrers_of(subject.digest)) == {listed.digest, own.digest}
    assert set(going(plan(found, "1"))) == {subject.digest, listed.digest, own.digest}


def test_a_listed_referrer_that_was_not_read_or_has_no_subject_is_none() -> None:
    subject, plain = image("subject"), image("plain")
    unread = Digest.of(b"unread")
    found = graph({"1": subject}, plain, referrers={subject.digest: (plain.digest, unread)})
    assert found.referrers_of(subject.digest) == ()


def test_a_fallback_tag_of_a_longer_digest_is_cut() -> None:
    raw = image("long")
    long = Digest(f"sha512:{'ab' * 64}")
    found = RepositoryGraph(
        REPOSITORY,
        {Tag(f"sha512-{'ab' * 32}"): raw.digest, Tag(f"sha512-{'ab' * 64}.sig"): raw.digest, Tag("x"): long},
        {long: image("subject"), raw.digest: raw},
    )
    assert found.signature_tags_of(long) == (f"sha512-{'ab' * 64}.sig", f"sha512-{'ab' * 32}")
    assert found.named_subjects(Tag(f"sha512-{'ab' * 32}")) == (long,)
    assert found.named_subjects(Tag(f"sha512-{'ab' * 31}cd")) == ()
    assert found.named_subjects(Tag("latest")) == ()


def test_a_subject_that_is_gone_holds_nothing_and_one_that_was_not_checked_holds() -> None:
    subject = image("subject")
    about = image("about", subject=subject)
    assert graph({"a": about}, subject).subjects_of(about.digest) == (subject.digest,)
    assert graph({"a": about}).subjects_of(about.digest) == (subject.digest,)
    assert graph({"a": about}, absent=[subject]).subjects_of(about.digest) == ()
    assert graph({"a": subject}).subjects_of(subject.digest) == ()
    assert graph({}).subjects_of(about.digest) == ()


def test_an_index_lacks_what_is_absent_at_whatever_depth() -> None:
    one, two = image("one"), image("two")
    top = index(one, two)
    above = index(top)
    assert graph({"1": top}, one, absent=[two]).has_missing(top.digest)
    assert graph({"1": above}, top, one, absent=[two]).has_missing(above.digest)
    assert not graph({"1": above}, top, one, two).has_missing(above.digest)
    assert not graph({}, absent=[two]).has_missing(top.digest)


def test_a_tagged_referrer_is_found_at_any_depth() -> None:
    child = image("child")
    top = index(child)
    about = image("about", subject=child)
    deeper = image("deeper", subject=about)
    assert graph({"x": about}, top, child, referrers=refer(child, about)).tagged_referrer(top.digest) == "x"
    assert (
        graph({"x": deeper}, top, child, about, referrers=refer(child, about, deeper)).tagged_referrer(top.digest)
        == "x"
    )
    assert graph({}, top, child, about, referrers=refer(child, about)).tagged_referrer(top.digest) is None
    assert graph({"x": top}, child).tagged_referrer(top.digest) is None


def test_a_tagged_index_around_a_referrer_counts_too() -> None:
    subject = image("subject")
    about = image("about", subject=subject)
    around = index(about)
    found = graph({"x": around}, subject, about, referrers=refer(subject, about))
    assert found.tagged_referrer(subject.digest) == "x"
    outermost = index(around)
    found = graph({"x": outermost}, subject, about, around, referrers=refer(subject, about))
    assert found.tagged_referrer(subject.digest) == "x"


def test_only_a_signature_tag_of_the_digest_is_not_a_tagged_referrer() -> None:
    subject, other = image("subject"), image("other")
    about = image("about", subject=subject)
    own, foreign = f"sha256-{subject.digest.hex}.sig", f"sha256-{other.digest.hex}.sig"
    assert graph({own: about}, subject, referrers=refer(subject, about)).tagged_referrer(subject.digest) is None
    both = graph({foreign: about, own: about}, subject, other, referrers=refer(subject, about))
    assert both.tagged_referrer(subject.digest) == foreign
    second = graph({own: about, "z": about}, subject, referrers=refer(subject, about))
    assert second.tagged_referrer(subject.digest) == "z"


def refer(*chain: Manifest) -> dict[Digest, tuple[Digest, ...]]:
    """Each manifest of a chain refers to the previous one."""
    return {subject.digest: (other.digest,) for subject, other in itertools.pairwise(chain)}


def test_digests_with_a_common_prefix_are_distinguished_if_the_tag_has_all_of_one() -> None:
    one, other = Digest(f"sha512:{'ab' * 64}"), Digest(f"sha512:{'ab' * 32}{'cd' * 32}")
    found = RepositoryGraph(REPOSITORY, {}, {one: image("one"), other: image("other")})
    assert found.named_subjects(Tag(f"sha512-{one.hex}.sig")) == (one,)
    assert set(found.named_subjects(Tag(f"sha512-{'ab' * 32}"))) == {one, other}


def test_a_signature_tag_on_the_digest_it_names_has_no_subject() -> None:
    one, signed = image("one"), image("signed")
    own, signature = f"sha256-{one.digest.hex}", f"sha256-{one.digest.hex}.sig"
    found = graph({own: one, signature: signed})
    assert found.signature_tags_of(one.digest) == (signature,)
    assert found.referrers_of(one.digest) == (signed.digest,)


def test_only_a_fallback_index_lists_referrers() -> None:
    subject = image("subject")
    about = image("about", subject=subject)
    listed = index(about)
    fallback = graph({"1": subject, f"sha256-{subject.digest.hex}": listed}, about)
    assert set(fallback.referrers_of(subject.digest)) == {listed.digest, about.digest}
    signature = graph({"1": subject, f"sha256-{subject.digest.hex}.sig": listed}, about)
    assert signature.referrers_of(subject.digest) == (listed.digest,)
    unread = RepositoryGraph(
        REPOSITORY, {Tag(f"sha256-{subject.digest.hex}"): listed.digest}, {subject.digest: subject, about.digest: about}
    )
    assert unread.referrers_of(subject.digest) == (listed.digest,)


def test_a_tagged_referrer_of_a_grandchild_or_of_what_was_not_read_is_found() -> None:
    child = image("child")
    inner = index(child)
    outer = index(inner)
    about = image("about", subject=child)
    deep = graph({"x": about}, outer, inner, child, referrers=refer(child, about))
    assert deep.tagged_referrer(outer.digest) == "x"
    above = image("above", subject=outer)
    unread = graph({"x": above}, referrers={outer.digest: (above.digest,)})
    assert unread.tagged_referrer(outer.digest) == "x"


def test_a_circle_by_name_terminates() -> None:
    one, two, three = image("one"), image("two"), image("three")
    circle = {f"sha256-{one.digest.hex}.sig": two, f"sha256-{two.digest.hex}.sig": three}
    circle[f"sha256-{three.digest.hex}.sig"] = two
    assert graph(circle, one).tagged_referrer(one.digest) is None


def test_a_list_of_referrers_that_are_gone_goes_with_its_subject_and_nothing_else_that_lacks_a_child() -> None:
    subject, gone = image("subject"), image("gone")
    listed = index(gone)
    fallback = f"sha256-{subject.digest.hex}"
    missing = "a child of this index is missing, so it could not be put back"

    def held(tags: dict[str, Manifest], *doomed: str) -> dict[Digest, str]:
        found = graph({"1": subject, **tags}, listed, absent=[gone])
        return settled(found, (subject, listed), "1", *doomed)[1]

    assert held({fallback: listed}) == {}
    assert held({f"{fallback}.sig": listed})[listed.digest].startswith(missing)
    assert held({fallback: listed, "x": listed}, "x")[listed.digest].startswith(missing)
    assert held({fallback: listed, f"{fallback}.sig": listed})[listed.digest].startswith(missing)
    assert held({})[listed.digest].startswith(missing)
    other = image("other")
    assert held({fallback: listed, f"sha256-{other.digest.hex}": listed}, f"sha256-{other.digest.hex}")[
        listed.digest
    ].startswith(missing)


def test_a_layer_that_is_also_a_manifest_is_a_part_of_its_image() -> None:
    layer = image("layer")
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/json", "digest": Digest.of(b"c"), "size": 1},
        "layers": [{"mediaType": "application/x", "digest": layer.digest, "size": 1}],
    }
    raw = json.dumps(body).encode()
    has_it = parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))
    found = graph({"1": layer, "2": has_it})
    assert dict(found.parents) == {layer.digest: (has_it.digest,)}
    assert settled(found, (layer,), "1")[1] == {
        layer.digest: f"part of the manifest {has_it.digest.short}, which stays"
    }
