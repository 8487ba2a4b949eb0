"""What is held stays, with what it refers to: in a plan, and when the plan is checked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from test_plan import REPOSITORY, going, graph, image, index, made_of, plan
from test_settle import refer

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, RemovalOptions
from dregutil.plan.recheck import recheck
from dregutil.retention.holds import Hold, Holds
from dregutil.select.digests import select_digests

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ONE, TWO, CHILD = image("one"), image("two"), image("child")
TOP = index(CHILD)


def tag_hold(name: str) -> Holds:
    return Holds((Hold(REPOSITORY, NOW, Tag(name)),))


def digest_hold(digest: Digest, **more: object) -> Holds:
    return Holds((Hold(REPOSITORY, NOW, digest=digest, **more),))  # type: ignore[arg-type]


def test_a_held_tag_stays_with_its_digest_and_says_why() -> None:
    made = plan(graph({"1": ONE, "2": TWO}), "1", "2", holds=tag_hold("1"))
    assert going(made) == [TWO.digest]
    (kept,) = made.kept
    assert (kept.tags, kept.reason) == (("1",), "held since 2026-11-26 (`hold --end` ends it)")


def test_a_held_tag_holds_the_digest_that_it_is_on_now() -> None:
    holds = tag_hold("stable")
    assert going(plan(graph({"1": ONE, "stable": TWO}), "1", holds=holds)) == [ONE.digest]
    made = plan(graph({"1": ONE, "stable": ONE}), "1", others_may_go=True, holds=holds)
    assert not made.steps, "although other tags of the digest need not be selected"
    assert "held since" in made.kept[0].reason


def test_of_a_held_tags_digest_another_tag_may_be_removed_alone() -> None:
    found = graph({"1": ONE, "2": ONE})
    made = plan(found, "1", "2", options=RemovalOptions(untag=True), holds=tag_hold("1"))
    assert [(step.action, step.tags) for step in made.steps] == [(Action.UNTAG, ("2",))]
    assert [kept.tags for kept in made.kept] == [("1",)]


def test_a_held_digest_holds_all_its_tags_and_its_children() -> None:
    found = graph({"1": TOP, "1-amd64": CHILD, "2": TWO})
    holds = digest_hold(TOP.digest)
    made = plan(found, "1", "1-amd64", "2", holds=holds)
    assert going(made) == [TWO.digest]
    assert {kept.tags: kept.reason for kept in made.kept} == {
        ("1",): "held since 2026-11-26 (`hold --end` ends it)",
        ("1-amd64",): f"part of the index {TOP.digest.short}, which stays",
    }
    untag = plan(found, "1", options=RemovalOptions(untag=True), holds=holds)
    assert not untag.steps
    assert [kept.tags for kept in untag.kept] == [("1",)]


def test_what_refers_to_something_holds_it() -> None:
    about = image("about", subject=ONE)
    found = graph({"1": ONE}, about, referrers=refer(ONE, about))
    assert set(going(plan(found, "1"))) == {ONE.digest, about.digest}
    made = plan(found, "1", holds=digest_hold(about.digest))
    assert not made.steps
    assert made.kept[0].reason.startswith(f"{about.digest.short} refers to it: held since")


def test_a_signature_tag_that_is_held_holds_the_image_in_its_name() -> None:
    name = f"sha256-{ONE.digest.hex}.sig"
    found = graph({"1": ONE, name: TWO})
    assert set(going(plan(found, "1"))) == {ONE.digest, TWO.digest}
    made = plan(found, "1", holds=tag_hold(name))
    assert not made.steps
    assert "refers to it: held since" in made.kept[0].reason


def test_a_digest_that_is_named_itself_is_held() -> None:
    found = graph({"1": ONE, "2": TWO})
    selection = select_digests(REPOSITORY, [ONE.digest, TWO.digest], with_tags=True)
    assert set(going(made_of(found, selection))) == {ONE.digest, TWO.digest}
    made = made_of(found, selection, holds=tag_hold("1"))
    assert going(made) == [TWO.digest]
    assert "held since" in made.kept[0].reason


def test_what_came_back_with_an_image_is_held_as_long() -> None:
    signature = image("signature")
    name = f"sha256-{ONE.digest.hex}.sig"
    found = graph({"1": ONE, name: signature})
    more = {"run": "20261126T000000Z-00001", "until": NOW + timedelta(days=14), "company": (signature.digest,)}
    made = plan(found, name, holds=digest_hold(ONE.digest, **more))
    assert not made.steps
    assert made.kept[0].reason == "put back on 2026-11-26, held until 2026-12-10 (`hold --end` ends it)"


def test_a_hold_of_another_repository_holds_nothing_here() -> None:
    other = Holds((Hold(Repository("other"), NOW, Tag("1")), Hold(Repository("other"), NOW, digest=ONE.digest)))
    assert going(plan(graph({"1": ONE}), "1", holds=other)) == [ONE.digest]


@pytest.mark.parametrize("holds", [tag_hold("1"), digest_hold(TOP.digest), digest_hold(CHILD.digest)])
def test_a_hold_that_came_since_leaves_the_step_and_what_needs_it(holds: Holds) -> None:
    found = graph({"1": TOP}, CHILD)
    made = plan(found, "1")
    assert len(made.steps) == 2
    dropped = recheck(made.steps, found, RemovalOptions(), holds=holds)
    child_alone = holds == digest_hold(CHILD.digest)
    assert set(dropped) == ({2} if child_alone else {1, 2})
    assert any("held since" in why for why in dropped.values())


def test_a_held_tag_that_the_run_has_swept_leaves_its_digest() -> None:
    """The list does not show the tag any more; its hold says so all the same."""
    made = plan(graph({"1": ONE}), "1")
    swept = graph({}, ONE)
    assert recheck(made.steps, swept, RemovalOptions(), begun={1}) == {}
    assert set(recheck(made.steps, swept, RemovalOptions(), begun={1}, holds=tag_hold("1"))) == {1}


def test_a_hold_ends() -> None:
    hold = Hold(REPOSITORY, NOW, Tag("1"), until=NOW + timedelta(days=1))
    assert Holds.active([hold], NOW).all == (hold,)
    assert Holds.active([hold], NOW + timedelta(days=1)).all == ()
    assert Holds.active([Hold(REPOSITORY, NOW, Tag("1"))], NOW + timedelta(days=9999)).all


def test_the_text_says_who_until_when_and_why() -> None:
    hold = Hold(REPOSITORY, NOW, Tag("1"), until=NOW + timedelta(days=30), by="nele@build", because="the audit")
    assert hold.text == "held by nele@build since 2026-11-26 until 2026-12-26: the audit"
