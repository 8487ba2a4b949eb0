"""What a plan removes, what it leaves, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.make import make_plan
from dregutil.plan.model import Action, Plan, RemovalOptions, StepKind
from dregutil.retention.holds import Holds
from dregutil.select.digests import select_digests
from dregutil.select.selection import HeldBack, Selected, Selection

REPOSITORY = Repository("shop/web")


def image(seed: str, *, subject: Manifest | None = None) -> Manifest:
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/json", "digest": Digest.of(seed.encode()), "size": 2},
        "layers": [],
    }
    if subject is not None:
        body["subject"] = {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)}
    return _read(body, OCI_MANIFEST)


def index(*children: Manifest) -> Manifest:
    listed = [{"mediaType": child.media_type, "digest": child.digest, "size": len(child.raw)} for child in children]
    return _read({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}, OCI_INDEX)


def _read(body: dict[str, object], media_type: str) -> Manifest:
    raw = json.dumps(body).encode()
    return parse_manifest(raw, media_type, Digest.of(raw))


def graph(
    tags: dict[str, Manifest],
    *others: Manifest,
    referrers: dict[Digest, tuple[Digest, ...]] | None = None,
    absent: Iterable[Manifest] = (),
) -> RepositoryGraph:
    manifests = {manifest.digest: manifest for manifest in (*tags.values(), *others)}
    return RepositoryGraph(
        REPOSITORY,
        {Tag(tag): manifest.digest for tag, manifest in tags.items()},
        manifests,
        referrers or {},
        frozenset(manifest.digest for manifest in absent),
    )


def plan(
    graph: RepositoryGraph,
    *tags: str,
    options: RemovalOptions | None = None,
    others_may_go: bool = False,
    held: Iterable[HeldBack] = (),
    named: bool = False,
    holds: Holds | None = None,
) -> Plan:
    """The plan that removes `tags`, as a selection of exactly these; `named`: by their names."""
    chosen: dict[Digest, list[Tag]] = {}
    for tag in tags:
        chosen.setdefault(graph.tags[Tag(tag)], []).append(Tag(tag))
    entries = tuple(
        Selected(
            REPOSITORY,
            digest,
            tuple(found),
            tuple(other for other in graph.tags_of[digest] if other not in found) if others_may_go else (),
            is_named=named,
        )
        for digest, found in chosen.items()
    )
    return made_of(graph, Selection(selected=entries, held=tuple(held), absent=(), unmatched=0), options, holds)


def plan_digests(graph: RepositoryGraph, *named: Manifest, with_tags: bool = False) -> Plan:
    """The plan that removes manifests by their digests."""
    return made_of(graph, select_digests(REPOSITORY, [one.digest for one in named], with_tags=with_tags))


def made_of(
    graph: RepositoryGraph,
    selection: Selection,
    options: RemovalOptions | None = None,
    holds: Holds | None = None,
) -> Plan:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return make_plan(
        selection,
        {REPOSITORY: graph},
        options or RemovalOptions(),
        registry="r",
        made_at=now,
        command="",
        holds=holds,
    )


def going(plan: Plan) -> list[Digest]:
    return [step.digest for step in plan.steps]


def test_an_image_goes_with_all_its_selected_tags() -> None:
    one = image("one")
    made = plan(graph({"1.0": one, "1.0.0": one, "2.0": image("two")}), "1.0", "1.0.0")
    assert going(made) == [one.digest]
    assert made.steps[0].tags == ("1.0", "1.0.0")
    assert made.steps[0].kind is StepKind.IMAGE


def test_a_tag_pushed_since_holds_its_digest() -> None:
    one = image("one")
    made = plan(graph({"1.0": one, "stable": one}), "1.0")
    assert made.steps == ()
    assert made.kept[0].reason == "also 'stable'"


def test_untag_removes_only_the_selected_tags() -> None:
    one = image("one")
    made = plan(graph({"1.0": one, "stable": one}), "1.0", options=RemovalOptions(untag=True))
    assert [(step.action, step.tags) for step in made.steps] == [(Action.UNTAG, ("1.0",))]


def test_untag_removes_tags_that_the_selection_held_back() -> None:
    one = image("one")
    held = HeldBack(REPOSITORY, one.digest, (Tag("1.0"),), "also other/repo:1.0", ("other/repo:1.0",))
    made = plan(graph({"1.0": one}), options=RemovalOptions(untag=True), held=[held])
    assert [(step.action, step.tags) for step in made.steps] == [(Action.UNTAG, ("1.0",))]


def test_a_tag_that_has_moved_is_left_with_the_reason() -> None:
    one, two = image("one"), image("two")
    moved = graph({"1.0": two}, one)
    chosen = Selection(selected=(Selected(REPOSITORY, one.digest, (Tag("1.0"),), ()),), held=(), absent=(), unmatched=0)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = make_plan(chosen, {REPOSITORY: moved}, RemovalOptions(), registry="r", made_at=now, command="")
    assert made.steps == ()
    assert "moved" in made.kept[0].reason


def test_children_go_after_their_index() -> None:
    amd, arm = image("amd"), image("arm")
    multi = index(amd, arm)
    made = plan(graph({"1.0": multi}, amd, arm), "1.0")
    assert going(made)[0] == multi.digest
    assert {step.digest for step in made.steps[1:]} == {amd.digest, arm.digest}
    assert all(step.needs == (1,) and step.kind is StepKind.CHILD for step in made.steps[1:])


def test_keep_children_leaves_them() -> None:
    amd = image("amd")
    multi = index(amd)
    made = plan(graph({"1.0": multi}, amd), "1.0", options=RemovalOptions(keep_children=True))
    assert going(made) == [multi.digest]


def test_a_child_that_a_kept_index_shares_stays() -> None:
    amd, arm, new = image("amd"), image("arm"), image("new")
    old, kept = index(amd, arm), index(amd, new)
    made = plan(graph({"1.0": old, "2.0": kept}, amd, arm, new), "1.0")
    assert going(made) == [old.digest, arm.digest]


def test_a_child_with_a_kept_tag_stays_and_one_with_a_doomed_tag_follows_its_index() -> None:
    amd, arm = image("amd"), image("arm")
    multi = index(amd, arm)
    tags = {"1.0": multi, "amd": amd, "arm": arm}
    made = plan(graph(tags), "arm", "1.0")
    assert going(made) == [multi.digest, arm.digest]
    assert made.steps[1].needs == (1,)


def test_a_tagged_child_of_a_kept_index_is_never_deleted() -> None:
    amd = image("amd")
    made = plan(graph({"1.0": index(amd), "1.0-amd64": amd}), "1.0-amd64")
    assert made.steps == ()
    assert "part of the index" in made.kept[0].reason


def test_an_untagged_index_that_is_known_holds_its_children() -> None:
    amd = image("amd")
    made = plan(graph({"1.0": amd}, index(amd)), "1.0")
    assert made.steps == ()


def test_nested_indexes_go_from_the_outside_in() -> None:
    leaf = image("leaf")
    inner = index(leaf)
    outer = index(inner)
    made = plan(graph({"1.0": outer}, inner, leaf), "1.0")
    assert going(made) == [outer.digest, inner.digest, leaf.digest]
    assert [step.needs for step in made.steps] == [(), (1,), (2,)]


def test_cosign_signatures_go_with_their_subject() -> None:
    one, signature = image("one"), image("signature")
    tags = {"1.0": one, f"sha256-{one.digest.hex}.sig": signature, "2.0": image("two")}
    made = plan(graph(tags), "1.0")
    assert going(made) == [one.digest, signature.digest]
    assert made.steps[1].kind is StepKind.REFERRER
    assert made.steps[1].needs == (1,)


def test_keep_referrers_leaves_them() -> None:
    one, signature = image("one"), image("signature")
    tags = {"1.0": one, f"sha256-{one.digest.hex}.sig": signature}
    assert going(plan(graph(tags), "1.0", options=RemovalOptions(keep_referrers=True))) == [one.digest]


def test_a_bill_of_materials_of_two_subjects_goes_with_both_only() -> None:
    one, two, sbom = image("one"), image("two"), image("sbom")
    tags = {
        "1.0": one,
        "2.0": two,
        f"sha256-{one.digest.hex}.sbom": sbom,
        f"sha256-{two.digest.hex}.sbom": sbom,
    }
    assert going(plan(graph(tags), "1.0")) == [one.digest]
    assert set(going(plan(graph(tags), "1.0", "2.0"))) == {one.digest, two.digest, sbom.digest}


def test_referrers_of_the_api_go_too_and_theirs_with_them() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    signature = image("signature", subject=sbom)
    found = graph(
        {"1.0": one}, sbom, signature, referrers={one.digest: (sbom.digest,), sbom.digest: (signature.digest,)}
    )
    assert going(plan(found, "1.0")) == [one.digest, sbom.digest, signature.digest]


def test_a_listed_referrer_that_names_another_subject_is_left() -> None:
    one, two = image("one"), image("two")
    stray = image("stray", subject=two)
    found = graph({"1.0": one, "2.0": two}, stray, referrers={one.digest: (stray.digest,)})
    assert going(plan(found, "1.0")) == [one.digest]


def test_the_fallback_index_and_what_it_lists_go_with_the_subject() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    fallback = index(sbom, image("no referrer at all"))
    found = graph({"1.0": one, f"sha256-{one.digest.hex}": fallback}, sbom)
    assert going(plan(found, "1.0")) == [one.digest, fallback.digest, sbom.digest]


def test_a_fallback_tag_on_the_subject_itself_is_not_an_answer_and_holds_it() -> None:
    one = image("one")
    found = graph({"1.0": one, f"sha256-{one.digest.hex}": one})
    assert plan(found, "1.0").steps == ()


def test_the_signature_of_a_child_of_a_kept_index_stays() -> None:
    amd, signature = image("amd"), image("signature")
    old, kept = index(amd), index(amd, image("arm"))
    tags = {"1.0": old, "2.0": kept, f"sha256-{amd.digest.hex}.sig": signature}
    assert going(plan(graph(tags, amd), "1.0")) == [old.digest]


def test_a_selected_referrer_of_a_subject_that_stays_is_held() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    made = plan(graph({"1.0": one, "sbom": sbom}), "sbom")
    assert made.steps == ()
    assert "refers to" in made.kept[0].reason


def test_a_referrer_that_is_named_goes_although_its_subject_stays() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    signature = image("signature", subject=sbom)
    found = graph({"1.0": one, "sbom": sbom}, signature, referrers={sbom.digest: (signature.digest,)})
    made = plan(found, "sbom", named=True)
    assert going(made) == [sbom.digest, signature.digest]
    assert [step.is_named for step in made.steps] == [True, False]
    both = plan(found, "1.0", "sbom", named=True)
    assert going(both) == [one.digest, sbom.digest, signature.digest]


def test_a_named_referrer_that_an_index_lists_stays_with_it() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    made = plan(graph({"1.0": one, "sbom": sbom, f"sha256-{one.digest.hex}": index(sbom)}), "sbom", named=True)
    assert made.steps == ()
    assert "part of the index" in made.kept[0].reason


def test_the_plan_says_which_referrers_a_fallback_tag_hides() -> None:
    one, two = image("one"), image("two")
    sbom, signature = image("sbom", subject=one), image("signature", subject=one)
    fallback = f"sha256-{one.digest.hex}"
    found = graph({"1.0": one, "stable": one, "2.0": two, fallback: index(sbom, signature)}, sbom, signature)
    made = plan(found, fallback, named=True)
    assert going(made) == [found.tags[Tag(fallback)]]
    assert made.steps[0].because == f"hides 2 referrers of {one.digest.short} (1.0, stable)"
    kept = HeldBack(REPOSITORY, made.steps[0].digest, (Tag(fallback),), "--untag keeps it")
    alone = made_of(found, Selection(held=(kept,)), RemovalOptions(untag=True))
    assert alone.steps[0].because == f"the digest stays: --untag keeps it; {made.steps[0].because}"
    gone = graph({"1.0": one, fallback: index(sbom)}, absent=[sbom])
    made = plan(gone, fallback, options=RemovalOptions(allow_irreversible=True))
    assert made.steps[0].because == "selected", "it lists nothing that is there"
    whole = plan(found, "1.0", "stable", fallback, named=True)
    assert len(whole.steps) == 4
    assert not any("hides" in step.because for step in whole.steps), "they go with their subject"
    orphaned = graph({fallback: index(sbom)}, sbom, absent=[one])
    assert plan(orphaned, fallback).steps[0].because == f"hides 1 referrer of {one.digest.short}"


def test_a_digest_without_a_tag_goes_when_it_is_named() -> None:
    one, child = image("one"), image("child")
    top = index(child)
    assert going(plan_digests(graph({"1.0": image("two")}, one), one)) == [one.digest]
    assert going(plan_digests(graph({}, top, child), top)) == [top.digest, child.digest]
    assert going(plan_digests(graph({}, top, child), child, top)) == [top.digest, child.digest]


def test_a_named_digest_that_has_tags_stays_unless_they_go_with_it() -> None:
    one = image("one")
    found = graph({"1.0": one, "stable": one, "2.0": image("two")})
    made = plan_digests(found, one)
    assert made.steps == ()
    assert made.kept[0].tags == ("1.0", "stable")
    assert made.kept[0].reason == "has tags, and only its digest was named (--with-tags takes them too)"
    made = plan_digests(found, one, with_tags=True)
    assert going(made) == [one.digest]
    assert made.steps[0].tags == ("1.0", "stable")


@pytest.mark.parametrize("with_tags", [False, True])
def test_a_named_child_of_an_index_that_stays_is_held(with_tags: bool) -> None:
    child, other = image("child"), image("other")
    top = index(child, other)
    for tags in ({"1.0": top}, {"1.0": index(top)}, {"1.0": top, "child": child}):
        made = plan_digests(graph(tags, child, top), child, with_tags=with_tags)
        assert made.steps == ()
        reason = made.kept[0].reason
        assert f"part of the index {top.digest.short}, which stays" in reason or reason.startswith("has tags")
    assert going(plan_digests(graph({"2.0": other}, top, child), child)) == [], "no tag names the index either"


def test_a_named_digest_to_which_a_tag_refers_is_held() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    made = plan_digests(graph({"sbom": sbom}, one, referrers={one.digest: (sbom.digest,)}), one)
    assert made.steps == ()
    assert made.kept[0].reason == "'sbom' refers to it"


def test_a_named_digest_that_is_not_there_is_in_no_plan() -> None:
    one = image("one")
    made = plan_digests(graph({"2.0": image("two")}, absent=[one]), one)
    assert (made.steps, made.kept) == ((), ())


def test_a_referrer_whose_subject_is_gone_may_go() -> None:
    one = image("one")
    sbom = image("sbom", subject=one)
    assert going(plan(graph({"sbom": sbom}, absent=[one]), "sbom")) == [sbom.digest]


def test_a_signature_tag_goes_when_named_exactly() -> None:
    one, signature = image("one"), image("signature")
    name = f"sha256-{one.digest.hex}.sig"
    assert going(plan(graph({"1.0": one, name: signature}), name)) == [signature.digest]


def test_what_could_not_be_put_back_needs_the_option() -> None:
    child = image("child")
    broken = index(child)
    found = graph({"1.0": broken}, absent=[child])
    assert plan(found, "1.0").steps == ()
    allowed = plan(found, "1.0", options=RemovalOptions(allow_irreversible=True))
    assert going(allowed) == [broken.digest]
    raw = json.dumps({"schemaVersion": 1, "fsLayers": []}).encode()
    old = parse_manifest(raw, DOCKER_SCHEMA1, Digest.of(raw))
    assert plan(graph({"old": old}), "old").steps == ()


def test_a_circle_by_name_is_left_whole() -> None:
    amd = image("amd")
    outer = index(amd)
    found = graph({"1.0": amd, f"sha256-{amd.digest.hex}.att": outer})
    made = plan(found, "1.0")
    assert made.steps == ()
    assert "cycle" in made.kept[0].reason


def test_a_repository_that_cannot_be_judged_is_left_out() -> None:
    found = RepositoryGraph(REPOSITORY, unjudgeable="its list was cut short")
    selection = Selection(
        selected=(Selected(REPOSITORY, image("one").digest, (Tag("1.0"),), ()),), held=(), absent=(), unmatched=0
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = make_plan(selection, {REPOSITORY: found}, RemovalOptions(), registry="r", made_at=now, command="")
    assert made.steps == ()
    assert made.left_out == {REPOSITORY: "its list was cut short"}


@pytest.mark.parametrize("others_may_go", [True, False])
def test_no_match_all_tags_removes_the_tags_that_were_seen(others_may_go: bool) -> None:
    one = image("one")
    made = plan(graph({"1.0": one, "stable": one}), "1.0", others_may_go=others_may_go)
    assert going(made) == ([one.digest] if others_may_go else [])
