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
) -> Plan:
    """The plan that removes `tags`, as a selection of exactly these."""
    chosen: dict[Digest, list[Tag]] = {}
    for tag in tags:
        chosen.setdefault(graph.tags[Tag(tag)], []).append(Tag(tag))
    entries = tuple(
        Selected(
            REPOSITORY,
            digest,
            tuple(found),
            tuple(other for other in graph.tags_of[digest] if other not in found) if others_may_go else (),
        )
        for digest, found in chosen.items()
    )
    selection = Selection(selected=entries, held=tuple(held), absent=(), unmatched=0)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return make_plan(selection, {REPOSITORY: graph}, options or RemovalOptions(), registry="r", made_at=now, command="")


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
