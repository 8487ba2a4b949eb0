"""`ls`: order, cells and objects of tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dregutil.inventory.tag_history import Sighting
from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.report.layout import cells
from dregutil.report.listing import COLUMNS, SORTS, ListedTag, listing_lines, listing_objects, sorted_tags

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEX = "ab" * 32


def listed(tag: str, days: float | None = None, size: int = 1000, repository: str = "shop/web") -> ListedTag:
    digest = Digest(f"sha256:{hash((tag, repository)) % 16**12:012x}{HEX[:52]}")
    created = None if days is None else NOW - timedelta(days=days)
    details = ImageDetails(digest, "type", size, created, {"team": "shop"}, ("linux/amd64", "linux/arm64"))
    return ListedTag(Repository(repository), Tag(tag), digest, details)


def names(tags: list[ListedTag]) -> list[str]:
    return [one.tag for one in tags]


def test_the_orders() -> None:
    tags = [listed("1.10", 3, 5), listed("latest", 1, 9), listed("1.9", 30, 7), listed("odd", None, 1)]
    assert names(sorted_tags(tags, "version", NOW)) == ["1.9", "1.10", "latest", "odd"]
    assert names(sorted_tags(tags, "name", NOW)) == ["1.10", "1.9", "latest", "odd"]
    assert names(sorted_tags(tags, "age", NOW)) == ["1.9", "1.10", "latest", "odd"]
    assert names(sorted_tags(tags, "age", NOW, is_reversed=True)) == ["latest", "1.10", "1.9", "odd"]
    assert names(sorted_tags(tags, "size", NOW)) == ["latest", "1.9", "1.10", "odd"]


def test_a_tag_that_was_not_read_comes_last_by_age_and_by_size() -> None:
    unread = ListedTag(Repository("shop/web"), Tag("0.1"), Digest(f"sha256:{HEX}"))
    for by in ("age", "size"):
        for is_reversed in (False, True):
            assert sorted_tags([unread, listed("1.0", 1)], by, NOW, is_reversed=is_reversed)[-1] is unread


TAGS = st.lists(
    st.builds(
        listed,
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,40}", fullmatch=True),
        st.one_of(st.none(), st.floats(0.001, 4000)),
        st.integers(0, 10**13),
        st.sampled_from(["shop/web", "a-group/of-a/repository-with-a-long/name", "x"]),
    ),
    max_size=6,
)


@given(TAGS, st.sampled_from(SORTS), st.booleans())
def test_sorting_loses_no_tag(tags: list[ListedTag], by: str, is_reversed: bool) -> None:
    found = sorted_tags(tags, by, NOW, is_reversed=is_reversed)
    assert sorted(map(id, found)) == sorted(map(id, tags))


@given(TAGS, st.integers(80, 200))
def test_the_usual_columns_fit_a_terminal(tags: list[ListedTag], width: int) -> None:
    columns = ("repository", "tag", "age", "size", "platforms", "digest")
    lines = listing_lines(tags, columns, NOW, address="registry.example.com", width=width)
    assert all(cells(line) <= width for line in lines)


def test_a_row_on_a_terminal_and_in_a_pipe() -> None:
    columns = ("repository", "tag", "age", "size", "platforms", "digest")
    one = listed("1.0", 20, 184_000_000)
    on_terminal = list(listing_lines([one], columns, NOW, address="registry.example.com", width=80))
    assert on_terminal[1] == f"shop/web    1.0  2 weeks  184 MB  linux/amd64, linux/arm64  {one.digest.hex[:12]}"
    piped = list(listing_lines([one], columns, NOW, address="registry.example.com", width=None))
    assert piped[1].endswith(one.digest)


def test_a_date_that_is_not_known_is_not_a_date_that_was_not_read() -> None:
    unread = ListedTag(Repository("shop/web"), Tag("0.1"), Digest(f"sha256:{HEX}"))
    rows = list(listing_lines([unread, listed("1.0")], ("tag", "age"), NOW, address="", width=None))
    assert [row.split() for row in rows[1:]] == [["0.1", "-"], ["1.0", "unknown"]]


def test_what_the_records_know_of_a_push() -> None:
    def shown(sighting: Sighting | None) -> str:
        tag = ListedTag(Repository("shop/web"), Tag("1.0"), Digest(f"sha256:{HEX}"), sighting=sighting)
        return list(listing_lines([tag], ("pushed",), NOW, address="", width=None))[1]

    def ago(days: float) -> datetime:
        return NOW - timedelta(days=days)

    assert shown(None) == "-"
    assert shown(Sighting(ago(5), came=True, unseen=ago(6))) == "5 days to 6 days ago"
    assert shown(Sighting(ago(5), came=True, unseen=ago(5.1))) == "5 days ago"
    assert shown(Sighting(ago(40), came=False)) == "over 5 weeks ago"


def test_an_object_has_the_keys_of_its_columns() -> None:
    (found,) = listing_objects([listed("1.0", 20)], COLUMNS, address="registry.example.com")
    assert found["image"] == "registry.example.com/shop/web:1.0"
    assert found["created"] == "2026-05-12T00:00:00+00:00"
    assert found.keys() == {*COLUMNS, "pushed_after", "pushed_before"} - {"age", "pushed"}
