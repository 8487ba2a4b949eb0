"""The checks just before a step is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from test_plan import REPOSITORY, graph, image, index, plan, plan_digests
from test_settle import refer

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Tag
from dregutil.plan.file import decode_step, encode_step
from dregutil.plan.model import Action, Plan, RemovalOptions, Step, StepKind
from dregutil.plan.recheck import CHECKS, Check, recheck
from dregutil.retention.holds import Hold, Holds

ONE, TWO, CHILD, SIGNATURE = image("one"), image("two"), image("child"), image("signature")
TOP, ABOUT = index(CHILD), image("about", subject=ONE)
SIGNED = {"1": ONE, f"sha256-{ONE.digest.hex}.sig": SIGNATURE}
UNTAG = RemovalOptions(untag=True)
STRAY = Step(1, Action.DELETE, REPOSITORY, ONE.digest, (), StepKind.IMAGE, "untagged")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
HOLDS: dict[str, object] = {"holds": Holds((Hold(REPOSITORY, SINCE, Tag("1")),))}

# For each check: steps, what the repository has become, what the run has done, and the step that the check alone holds.
HELD: dict[str, tuple[Sequence[Step], RepositoryGraph, dict[str, object], int]] = {
    "tag_moved": (
        plan(graph({"1": ONE, "stable": ONE}), "1", options=UNTAG).steps,
        graph({"1": TWO, "stable": ONE}),
        {},
        1,
    ),
    "need_is_back": (
        plan(graph({"1": TOP}, CHILD), "1").steps,
        graph({}, CHILD, TOP),
        {"begun": {1}, "gone": {1: TOP.digest}},
        2,
    ),
    "tag_refers_to_it": ([STRAY], graph({"x": ABOUT}, ONE, referrers=refer(ONE, ABOUT)), {}, 1),
    "tag_came": (
        plan(graph(SIGNED), "1").steps,
        graph({**SIGNED, f"sha256-{ONE.digest.hex}.att": SIGNATURE}),
        {},
        2,
    ),
    "all_tags_moved": (plan(graph({"1": ONE}), "1").steps, graph({"1": TWO}, ONE), {"begun": {1}}, 1),
    "held": (plan(graph({"1": ONE, "2": ONE}), "1", options=UNTAG).steps, graph({"1": ONE, "2": ONE}), HOLDS, 1),
    "all_tags_were_removed": (plan(graph({"1": ONE}), "1").steps, graph({}, ONE), {}, 1),
}


@pytest.mark.parametrize("check", [check for checks in CHECKS.values() for check in checks])
def test_without_each_check_a_wrong_step_would_remain(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, now, done, number = HELD[check.__name__]
    assert set(recheck(steps, now, RemovalOptions(), **done)) == {number}  # type: ignore[arg-type]
    others = {action: tuple(other for other in checks if other is not check) for action, checks in CHECKS.items()}
    monkeypatch.setattr("dregutil.plan.recheck.CHECKS", others)
    assert recheck(steps, now, RemovalOptions(), **done) == {}  # type: ignore[arg-type]


def test_every_check_is_called() -> None:
    assert {check.__name__ for checks in CHECKS.values() for check in checks} == HELD.keys()


def test_a_tag_moved_off_a_digest_that_is_gone_is_left() -> None:
    made = plan(graph({"1": ONE, "stable": ONE}), "1", options=UNTAG)
    moved = graph({"1": TWO}, absent=[ONE])
    assert rechecked(made, moved) == {1: f"'1' has moved to {TWO.digest.short}"}


def test_the_first_failed_check_gives_the_reason() -> None:
    came = graph({"new": ONE, "x": ABOUT}, referrers=refer(ONE, ABOUT))
    assert dict(recheck([STRAY], came, RemovalOptions())) == {1: "'x' refers to it"}
    made, has_moved = plan(graph({"1": ONE}), "1"), f"'1' has moved to {TWO.digest.short}"
    assert rechecked(made, graph({"1": TWO, "new": ONE})) == {1: "also 'new'"}
    assert rechecked(made, graph({"1": TWO}, ONE)) == {1: has_moved}


def rechecked(made: Plan, now: RepositoryGraph, **more: object) -> dict[int, str]:
    return dict(recheck(made.steps, now, made.options, **more))  # type: ignore[arg-type]


def test_recheck_drops_a_tag_removed_by_another_client() -> None:
    one = image("one")
    made = plan(graph({"1.0": one, "1.1": one}), "1.0", "1.1")
    assert rechecked(made, graph({"1.1": one})) == {}
    assert rechecked(made, graph({}, one)) == {1: "'1.0' is no longer on it"}
    assert rechecked(made, graph({}, one), begun={1}) == {}
    assert rechecked(made, graph({}, one), begun={2}) == {1: "'1.0' is no longer on it"}


def test_recheck_drops_a_moved_tag_and_says_where_it_is() -> None:
    one, two = image("one"), image("two")
    made = plan(graph({"1.0": one, "1.1": one}), "1.0", "1.1")
    assert rechecked(made, graph({"1.0": two}, one)) == {1: f"'1.0' has moved to {two.digest.short}"}
    assert rechecked(made, graph({"1.0": two, "1.1": one})) == {}
    untag = plan(graph({"1.0": one, "stable": one}), "1.0", options=RemovalOptions(untag=True))
    assert rechecked(untag, graph({"1.0": two, "stable": one})) == {1: f"'1.0' has moved to {two.digest.short}"}
    assert rechecked(untag, graph({"stable": one})) == {}
    assert rechecked(untag, graph({"1.0": one, "stable": one})) == {}


def test_recheck_drops_a_signature_whose_index_exists_again() -> None:
    child = image("child")
    top = index(child)
    made = plan(graph({"1": top}, child), "1")
    gone = {1: top.digest}
    assert rechecked(made, graph({}, child, absent=[top]), begun={1}, gone=gone) == {}
    again = graph({}, child, top)
    assert rechecked(made, again, begun={1}, gone=gone)[2] == f"{top.digest.short}, to which it belongs, is there again"
    assert set(rechecked(made, graph({}, child, top), begun={1}, gone={9: top.digest})) == set()


def test_recheck_treats_a_gone_digest_as_holding_and_a_tagged_one_as_existing() -> None:
    one = image("one")
    made = plan(graph({"1": one}), "1")
    assert rechecked(made, graph({}, absent=[one])) == {}
    odd = RepositoryGraph(REPOSITORY, {Tag("1"): one.digest, Tag("new"): one.digest}, {}, {}, frozenset({one.digest}))
    assert rechecked(made, odd) == {1: "also 'new'"}


def test_recheck_checks_every_step() -> None:
    one, two, three = image("one"), image("two"), image("three")
    tags = {"1": one, "2": two, "stable": one, "beta": two}
    untag = plan(graph(tags), "1", "2", options=RemovalOptions(untag=True))
    moved = graph({**tags, "1": three, "2": three})
    assert list(rechecked(untag, moved)) == [1, 2]
    made = plan(graph({"1": one, "2": two}), "1", "2")
    assert rechecked(made, graph({"2": three}, two, absent=[one])) == {2: f"'2' has moved to {three.digest.short}"}


def test_recheck_of_a_repository_that_cannot_be_judged_drops_all() -> None:
    one = image("one")
    made = plan(graph({"1": one}), "1")
    assert rechecked(made, RepositoryGraph(REPOSITORY, unjudgeable="broken")) == {1: "broken"}


def test_recheck_drops_the_subject_of_a_new_tag() -> None:
    one = image("one")
    step = Step(1, Action.DELETE, REPOSITORY, one.digest, (), StepKind.IMAGE, "stray")
    about = image("about", subject=one)
    found = graph({"x": about}, one, referrers=refer(one, about))
    assert dict(recheck([step], found, RemovalOptions())) == {1: "'x' refers to it"}
    tagged = Step(1, Action.DELETE, REPOSITORY, one.digest, (Tag("1"),), StepKind.IMAGE, "selected")
    found = graph({"1": one, "x": about}, referrers=refer(one, about))
    assert dict(recheck([tagged], found, RemovalOptions())) == {}


@pytest.mark.parametrize("allowed", [False, True])
def test_recheck_checks_again_what_could_not_be_put_back(allowed: bool) -> None:
    child = image("child")
    top = index(child)
    made = plan(graph({"1": top}, child), "1", options=RemovalOptions(allow_irreversible=allowed))
    dropped = rechecked(made, graph({"1": top}, absent=[child]))
    assert dropped == ({} if allowed else {1: dropped.get(1, "")})


def test_recheck_drops_a_digest_with_a_new_tag_and_what_goes_with_it() -> None:
    amd = image("amd")
    multi, other = index(amd), image("other")
    made = plan(graph({"1.0": multi, "2.0": other}, amd), "1.0", "2.0")
    fresh = graph({"1.0": multi, "new": multi, "2.0": other}, amd)
    assert set(recheck(made.steps, fresh, RemovalOptions())) == {
        step.number for step in made.steps if step.digest != other.digest
    }


def test_recheck_drops_a_child_that_a_new_index_holds() -> None:
    amd, arm = image("amd"), image("arm")
    multi = index(amd, arm)
    made = plan(graph({"1.0": multi}, amd, arm), "1.0")
    fresh = graph({"1.0": multi, "2.0": index(amd)}, amd, arm)
    dropped = recheck(made.steps, fresh, RemovalOptions())
    assert [step.digest for step in made.steps if step.number in dropped] == [amd.digest]


def test_recheck_drops_a_moved_tag_and_treats_a_gone_digest_as_holding() -> None:
    one, two, three = image("one"), image("two"), image("three")
    made = plan(graph({"1": one, "2": two}), "1", "2")
    fresh = graph({"1": three}, one, absent=[two])
    dropped = recheck(made.steps, fresh, RemovalOptions())
    assert list(dropped) == [1]
    assert "moved" in dropped[1]


def test_a_named_referrer_still_goes_and_another_stays_with_its_subject() -> None:
    """Also after the plan or the record was written and read."""
    sbom = image("sbom", subject=ONE)
    now = graph({"1": ONE, "sbom": sbom})
    (step,) = plan(now, "sbom", named=True).steps
    assert recheck([decode_step(encode_step(step))], now, RemovalOptions()) == {}
    assert "refers to" in recheck([replace(step, is_named=False)], now, RemovalOptions())[1]


def test_a_tag_that_moves_onto_a_named_digest_holds_it() -> None:
    steps = plan_digests(graph({"2": TWO}, ONE), ONE).steps
    assert recheck(steps, graph({"2": TWO}, ONE), RemovalOptions()) == {}
    assert recheck(steps, graph({"2": ONE}, TWO), RemovalOptions()) == {1: "also '2'"}
    steps = plan_digests(graph({"1": ONE}), ONE, with_tags=True).steps
    assert recheck(steps, graph({"1": ONE, "2": ONE}), RemovalOptions()) == {1: "also '2'"}
    assert 1 in recheck(steps, graph({"1": TWO}, ONE), RemovalOptions())


def test_an_index_that_comes_to_need_a_named_digest_holds_it() -> None:
    steps = plan_digests(graph({}, CHILD), CHILD).steps
    assert "part of the index" in recheck(steps, graph({"1": TOP}, CHILD), RemovalOptions())[1]
    assert "part of the index" in recheck(steps, graph({}, CHILD, TOP), RemovalOptions())[1]
