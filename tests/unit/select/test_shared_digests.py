"""Which digests a selection removes, and which another tag holds back."""

from __future__ import annotations

import pytest

from dregutil.errors import IntersectionError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.selection import (
    MatchRules,
    Selected,
    Selection,
    keep_digests,
    select_repositories,
    select_tags,
    unmatched_tags,
)
from dregutil.select.selector import TagSelector

WEB, API, GONE = Repository("web"), Repository("api"), Repository("gone")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def inventory(**repositories: str) -> Inventory:
    """`web="1.0=a 1.1=b"`: tags with their images."""
    return Inventory(
        {
            Repository(name): {Tag(tag): digest(image) for tag, image in (pair.split("=") for pair in pairs.split())}
            for name, pairs in repositories.items()
        }
    )


def select(found: Inventory, *tags: str, exclude: str = "", **rules: bool) -> Selection:
    selector = TagSelector.build(tags, [], exclude.split())
    return select_tags(found, [WEB], selector, MatchRules(**rules))


def shown(selection: Selection) -> list[str]:
    return [
        " ".join(one.tags) + (f" + {' '.join(one.other_tags)}" if one.other_tags else "") for one in selection.selected
    ]


def held(selection: Selection) -> list[tuple[str, str]]:
    return [(" ".join(one.tags), one.reason) for one in selection.held]


def test_a_digest_is_removed_if_all_of_its_tags_are_selected() -> None:
    found = select(inventory(web="1.10=b 1.9=a 1.0=a 2.0=c"), "<2")
    assert shown(found) == ["1.0 1.9", "1.10"]
    assert found.held == ()
    assert found.unmatched == 1
    assert found.absent == ()
    assert not found.names_repositories
    assert list(found.touched()) == [(WEB, digest("a")), (WEB, digest("b"))]


def test_another_tag_holds_a_digest_back_unless_ignored() -> None:
    tags = inventory(web="1.0=a latest=a 1.1=b")
    found = select(tags, "<2")
    assert shown(found) == ["1.1"]
    assert held(found) == [("1.0", "also 'latest'")]
    assert found.held[0].holders == ("latest",)
    assert list(found.touched()) == [(WEB, digest("b")), (WEB, digest("a"))]
    assert shown(select(tags, "<2", match_all_tags=False)) == ["1.0 + latest", "1.1"]
    with pytest.raises(IntersectionError, match="is also 'latest', outside the selection") as caught:
        select(tags, "<2", raise_intersecting_tag=True)
    assert "--raise-intersecting-tag" in caught.value.advice
    assert shown(select(tags, "<2", raise_intersecting_repository=True)) == ["1.1"]


def test_another_repository_holds_a_digest_back_unless_ignored() -> None:
    tags = inventory(web="1.0=a 1.1=b", api="9=a")
    assert held(select(tags, "<2")) == [("1.0", "also 'api:9'")]
    assert shown(select(tags, "<2", ignore_other_repositories=True)) == ["1.0", "1.1"]
    assert held(select(tags, "<2", match_all_tags=False)) == [("1.0", "also 'api:9'")]
    with pytest.raises(IntersectionError, match="is also 'api:9'") as caught:
        select(tags, "<2", raise_intersecting_repository=True)
    assert "--raise-intersecting-repo" in caught.value.advice
    assert held(select(tags, "<2", raise_intersecting_tag=True)) == [("1.0", "also 'api:9'")]


def test_a_digest_in_two_selected_repositories_needs_all_tags_of_both() -> None:
    tags = inventory(web="1.0=a", api="1.0=a 9=b latest=b")
    both = select_tags(tags, [WEB, API, WEB], TagSelector.build(["<2"]))
    assert [(one.repository, one.tags) for one in both.selected] == [(WEB, ("1.0",)), (API, ("1.0",))]
    assert both.unmatched == 2
    beside = select_tags(inventory(web="1.0=a", api="latest=a"), [WEB, API], TagSelector.build(["<2"]))
    assert held(beside) == [("1.0", "also 'api:latest'")]
    assert held(
        select_tags(
            inventory(web="1.0=a", api="latest=a"),
            [WEB, API],
            TagSelector.build(["<2"]),
            MatchRules(ignore_other_repositories=True),
        )
    ) == [("1.0", "also 'api:latest'")]


def test_an_excluded_tag_holds_under_any_rules() -> None:
    tags = inventory(web="1.0=a 1.1=a 1.2=b")
    for rules in ({}, {"match_all_tags": False}, {"match_all_tags": False, "ignore_other_repositories": True}):
        found = select(tags, "<2", exclude="1.1", **rules)
        assert shown(found) == ["1.2"]
        assert held(found) == [("1.0", "excluded by '1.1'")]
    elsewhere = select_tags(
        inventory(web="1.0=a", api="1.1=a"),
        [WEB, API],
        TagSelector.build(["1.0"], [], ["1.1"]),
        MatchRules(match_all_tags=False, ignore_other_repositories=True),
    )
    assert held(elsewhere) == [("1.0", "excluded by 'api:1.1'")]
    outside = select(inventory(web="1.0=a", api="1.1=a"), "1.0", exclude="1.1", ignore_other_repositories=True)
    assert shown(outside) == ["1.0"]


def test_a_tag_that_may_be_excluded_holds() -> None:
    assert held(select(inventory(web="1.0=a 4829103=a"), "1.0", exclude=">=100", match_all_tags=False)) == [
        ("1.0", "excluded by '4829103'")
    ]


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ("a", "also 'a'"),
        ("c a b", "also 'a', 'b', 'c'"),
        ("d c a b", "also 'a', 'b', 'c' and 1 more"),
        ("e d c a b", "also 'a', 'b', 'c' and 2 more"),
    ],
)
def test_up_to_three_holders_are_named(others: str, reason: str) -> None:
    found = select(inventory(web="1.0=x " + " ".join(f"{tag}=x" for tag in others.split())), "1.0")
    assert held(found) == [("1.0", reason)]
    assert found.held[0].holders == tuple(sorted(others.split()))


def test_only_the_digests_that_a_search_found() -> None:
    tags = inventory(web="1.0=a 1.1=b latest=b")
    found = select_tags(tags, [WEB], TagSelector.build(["<2"]), digests={digest("a")})
    assert shown(found) == ["1.0"]
    assert found.unmatched == 2
    assert found.held == ()


def test_whole_repositories() -> None:
    tags = inventory(web="1.0=a latest=a 1.1=b sha256-x=c", api="9=b")
    found = select_repositories(tags, [WEB, GONE])
    assert sorted(shown(found)) == ["1.0 latest", "sha256-x"]
    assert held(found) == [("1.1", "also 'api:9'")]
    assert found.absent == (GONE,)
    assert found.unmatched == 0
    assert found.names_repositories


def test_a_selected_digest_may_be_untagged_and_its_reason_is_selected() -> None:
    (one,) = select(inventory(web="1.0=a"), "1.0").selected
    assert one.may_untag
    assert one.because == "selected"


def test_whole_repositories_by_the_rules() -> None:
    tags = inventory(web="1.0=a", api="9=a")
    found = select_repositories(tags, [WEB], MatchRules(ignore_other_repositories=True))
    assert shown(found) == ["1.0"]
    with pytest.raises(IntersectionError):
        select_repositories(tags, [WEB], MatchRules(raise_intersecting_repository=True))


def test_unmatched_tags_are_counted_among_existing_ones() -> None:
    read = inventory(web="1.0=a 1.1=b latest=b old=c", api="9=z")
    found = select(read, "<2")
    assert held(found) == [("1.1", "also 'latest'")]
    assert found.unmatched == 2
    assert unmatched_tags(found, read, {WEB: dict(read.tags(WEB))}) == 2
    assert unmatched_tags(found, read, {WEB: {Tag("1.0"): digest("a"), Tag("latest"): digest("b")}}) == 1
    assert unmatched_tags(found, read, {WEB: {**read.tags(WEB), Tag("new"): digest("d"), Tag("2.0"): digest("d")}}) == 4
    assert unmatched_tags(found, read, {}) == 2
    assert unmatched_tags(found, read, {WEB: {Tag(tag): digest(tag) for tag in ("1.1", "latest", "old")}}) == 2


def test_nothing_is_unmatched_if_nothing_was_examined() -> None:
    assert Selection().unmatched == 0


def test_a_selection_whose_digests_all_stay() -> None:
    tags = inventory(web="1.0=a 1.1=b latest=b")
    found = keep_digests(select(tags, "<2"))
    assert found.selected == ()
    assert held(found) == [("1.0", "--untag keeps it"), ("1.1", "also 'latest'")]
    assert keep_digests(Selection((Selected(WEB, digest("a"), ()),))).held == ()
