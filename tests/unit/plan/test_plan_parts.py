"""The parts of a plan, and the checks just before it is applied: each guard separately."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from test_plan import REPOSITORY, going, graph, image, index, plan
from test_settle import refer

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import placeholder
from dregutil.plan.make import make_plan
from dregutil.plan.model import Action, Plan, RemovalOptions, Step, StepKind
from dregutil.select.selection import HeldBack, Selected, Selection
from dregutil.storage.collector import Collector

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def chosen(found: RepositoryGraph, digest: Digest, *tags: str, may_untag: bool = True, **options: bool) -> Plan:
    entry = Selected(REPOSITORY, digest, tuple(map(Tag, tags)), may_untag=may_untag)
    return make_plan(
        Selection((entry,)), {REPOSITORY: found}, RemovalOptions(**options), registry="r", made_at=NOW, command=""
    )


def test_a_selected_tag_that_has_vanished_is_left_silently() -> None:
    one = image("one")
    found = graph({"1.1": one})
    assert chosen(found, one.digest, "1.0").steps == ()
    assert chosen(found, one.digest, "1.0").kept == ()
    (step,) = chosen(found, one.digest, "1.0", "1.1").steps
    assert step.tags == ("1.1",)


def test_an_untagged_manifest_with_a_referrer_is_listed_as_kept() -> None:
    one = image("one")
    about = image("about", subject=one)
    made = chosen(graph({"x": about}, one, referrers=refer(one, about)), one.digest)
    assert made.steps == ()
    assert [(kept.digest, kept.tags, kept.reason) for kept in made.kept] == [(one.digest, (), "'x' refers to it")]


def test_an_untagged_manifest_is_removed_or_listed_as_kept() -> None:
    one = image("one")
    (step,) = chosen(graph({}, one), one.digest).steps
    assert (step.digest, step.tags, step.is_untagged) == (one.digest, (), True)
    top = index(one)
    made = chosen(graph({"x": top}, one), one.digest)
    assert made.steps == ()
    assert [kept.reason for kept in made.kept] == [f"part of the index {top.digest.short}, which stays"]


def test_an_untag_step_has_the_kind_of_its_digest() -> None:
    one = image("one")
    for on, kind in ((one, StepKind.IMAGE), (index(one), StepKind.INDEX)):
        (step,) = chosen(graph({"1": on, "stable": on}, one), on.digest, "1", untag=True).steps
        assert (step.action, step.kind, step.because) == (Action.UNTAG, kind, "the digest stays: also 'stable'")


def test_a_selection_may_leave_the_tags_of_what_stays() -> None:
    one = image("one")
    made = chosen(graph({"1": one, "stable": one}), one.digest, "1", may_untag=False, untag=True)
    assert made.steps == ()
    assert [(kept.tags, kept.reason) for kept in made.kept] == [((Tag("1"),), "also 'stable'")]


def test_what_an_interrupted_run_left_is_never_untagged_nor_what_was_not_read() -> None:
    raw = placeholder(b"of a run")
    left = parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))
    said = "left by an interrupted run: resume or undo it"
    held = HeldBack(REPOSITORY, left.digest, (Tag("1"),), "also 'other:1'")
    made = plan(graph({"1": left}), held=[held], options=RemovalOptions(untag=True))
    assert (made.steps, [kept.reason for kept in made.kept]) == ((), [said])
    unread = RepositoryGraph(REPOSITORY, {Tag("1"): left.digest})
    made = plan(unread, held=[held], options=RemovalOptions(untag=True))
    assert (made.steps, [kept.reason for kept in made.kept]) == ((), ["also 'other:1'"])


def test_an_index_goes_with_its_children_and_attestations_each_by_its_name() -> None:
    child, statement = image("child"), image("statement")
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": child.digest}
    listed: list[dict[str, object]] = [
        {"mediaType": one.media_type, "digest": one.digest, "size": len(one.raw)} for one in (child, statement)
    ]
    listed[1]["annotations"] = about
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
    top = parse_manifest(raw, OCI_INDEX, Digest.of(raw))
    steps = {step.digest: step for step in plan(graph({"1": top}, child, statement), "1").steps}
    assert (steps[top.digest].kind, steps[top.digest].because) == (StepKind.INDEX, "selected")
    assert steps[child.digest].because == f"child of {top.digest.short}"
    assert steps[statement.digest].because == f"attestation of {top.digest.short}"


def test_the_children_of_a_signature_go_with_it_and_those_of_a_fallback_tag_do_not() -> None:
    subject, child = image("subject"), image("child")
    signed = index(child)
    signature, fallback = f"sha256-{subject.digest.hex}.sig", f"sha256-{subject.digest.hex}"
    assert going(plan(graph({"1": subject, signature: signed}, child), signature)) == [signed.digest, child.digest]
    assert going(plan(graph({"1": subject, fallback: signed}, child), fallback)) == [signed.digest]


def test_a_plan_is_made_of_each_repository_that_can_be_judged() -> None:
    one, other = image("one"), Repository("other")
    entries = tuple(Selected(name, one.digest, (Tag("1"),)) for name in (other, REPOSITORY))
    found = {
        other: RepositoryGraph(other, unjudgeable="its list was cut short"),
        REPOSITORY: replace(graph({"1": one}), dangling=frozenset({Tag("b"), Tag("a")})),
    }
    made = make_plan(
        Selection(entries),
        found,
        RemovalOptions(),
        registry="r",
        made_at=NOW,
        command="",
        also_in={one.digest: [other]},
    )
    assert dict(made.left_out) == {other: "its list was cut short"}
    assert [(step.repository, step.digest, step.also_in) for step in made.steps] == [(REPOSITORY, one.digest, (other,))]
    assert dict(made.dangling) == {REPOSITORY: (Tag("a"), Tag("b"))}


def test_a_plan_claims_nothing_that_was_not_computed() -> None:
    made = Plan("r", NOW, "", (Step(1, Action.DELETE, REPOSITORY, Digest.of(b"x"), (), StepKind.IMAGE, ""),))
    assert (made.steps[0].size, made.steps[0].frees) == (0, 0)
    assert (made.reclaim.reclaimable_bytes, made.reclaim.exact, made.reclaim.collector) == (0, False, Collector.DEFAULT)
    assert not made.names_repositories


def test_what_was_selected_and_could_not_be_read_is_kept() -> None:
    one = image("one")
    unread = RepositoryGraph(REPOSITORY, {Tag("1"): one.digest})
    for found in (unread, RepositoryGraph(REPOSITORY, {Tag("1"): one.digest}, absent=frozenset({one.digest}))):
        made = chosen(found, one.digest, "1")
        assert [kept.reason for kept in made.kept] == ["its manifest could not be read"]
    gone = chosen(RepositoryGraph(REPOSITORY, absent=frozenset({one.digest})), one.digest)
    assert gone.kept == ()
    assert gone.steps == ()


def test_steps_are_numbered_and_need_the_steps_they_depend_on() -> None:
    child, other = image("child"), image("other")
    top = index(child)
    found = graph({"1": top, "a": other, "b": other}, child)
    made = plan(found, "1", "a", options=RemovalOptions(untag=True))
    assert [(step.number, step.action, step.needs) for step in made.steps] == [
        (1, Action.DELETE, ()),
        (2, Action.DELETE, (1,)),
        (3, Action.UNTAG, ()),
    ]
    assert made.steps[2].size == len(other.raw) + 2
    assert made.removed_tags == 2
    assert made.removed_untagged == 0


def test_only_what_was_selected_itself_counts_as_untagged() -> None:
    one = image("one")
    for kind, tags, is_untagged in (
        (StepKind.IMAGE, (), True),
        (StepKind.INDEX, (), True),
        (StepKind.CHILD, (), False),
        (StepKind.REFERRER, (), False),
        (StepKind.IMAGE, (Tag("1"),), False),
    ):
        assert Step(1, Action.DELETE, REPOSITORY, one.digest, tags, kind, "").is_untagged is is_untagged
