"""Searches in the index of images find what a loop over all rows finds; what is typed is read, or refused."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.pulls.pull import Pull, RepositoryPulls, SourceKind
from dregutil.retention.holds import Hold, Holds
from dregutil.select.content_selector import Label
from dregutil.serve.images import flags, schema
from dregutil.serve.images.facts import Verdicts
from dregutil.serve.images.query import DigestPrefix, Query, parse_query
from dregutil.serve.images.search import SORTS, Searcher
from indexed import NOW, Expected, Shelf, ago, named

SHELF = Shelf()
BASE = SHELF.image(["base"], created=ago(400), size=7)
WEB = SHELF.image(["base", "web"], created=ago(30), labels={"team": "a", "x": ""}, size=300)
API = SHELF.image(["base", "api"], created=ago(30), labels={"team": "b=c", "x": "<script>"}, platform="linux/arm64")
ODD = SHELF.image(["web", "base"], created=ago(20_000), algorithm="sha512", labels={"\u202ex": "ü" * 10_000})
BOTH = SHELF.index([WEB, API])
UNREAD = Digest.of(b"never read")
DIGESTS = [BASE, WEB, API, ODD, BOTH, UNREAD, Digest.of(b"nor this", "sha512")]
NAMES = ["shop/web", "shop/api", "a", "a-b", "a/b", "a.b/c"]
TAGS = ["latest", "1.0", "1.0-RC", "v1", "A", "_", "a", "web"]

REGISTRIES = st.dictionaries(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(TAGS), st.sampled_from(DIGESTS), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)
WORDS = st.sampled_from(
    ["web", "a:", ":a", "1.0", ":", "b:1", "a", "p/w", "rc", "x", "::", "\n", "é", "\x01", "-", "_"]
)
PREFIXES = st.builds(
    lambda digest, number, named: DigestPrefix(digest.hex[:number], digest.algorithm if named else ""),
    st.sampled_from(DIGESTS),
    st.integers(4, 64),
    st.booleans(),
)
LABELS = st.builds(
    Label, st.sampled_from(["team", "x", "\u202ex", "no"]), st.sampled_from([None, "", "a", "b=c", "<script>"])
)
TERMS = st.one_of(
    st.tuples(st.just("words"), WORDS),
    st.tuples(st.just("digests"), PREFIXES),
    st.tuples(st.just("labels"), LABELS),
    st.tuples(st.just("layers"), st.sampled_from([SHELF.layer("base"), SHELF.layer("web"), WEB])),
    st.tuples(st.just("platforms"), st.sampled_from(["linux", "arm64", "linux/amd64", "windows"])),
    st.tuples(st.just("older"), st.sampled_from([timedelta(days=29), timedelta(days=31)])),
    st.tuples(st.just("larger"), st.sampled_from([0, 500, 1000])),
    st.tuples(st.just("states"), st.sampled_from(["held", "remove", "keep"])),
)


def query_of(terms: list[tuple[str, Any]]) -> Query:
    values: dict[str, list[Any]] = {}
    for name, value in terms:
        values.setdefault(name, []).append(value)
    return Query(**{name: tuple(dict.fromkeys(some)) for name, some in values.items()})


QUERIES = st.lists(TERMS, max_size=2).map(query_of)
HELD = Holds((Hold(Repository("shop/web"), NOW, tag=Tag("1.0")), Hold(Repository("a"), NOW, digest=WEB)))
REMOVED = {Repository("a"): {Tag("v1"): (WEB, "late"), Tag("A"): (API, "old")}}
VERDICTS = Verdicts(REMOVED, lambda name: name.startswith("shop"))


Registry = Mapping[str, Mapping[str, Digest]]


def read_or_advice(text: str) -> tuple[Query | None, str]:
    try:
        return parse_query(text), ""
    except UsageError as error:
        return None, error.advice


def pulls(repository: Repository) -> RepositoryPulls:
    pull = Pull(repository, API, ago(1), "docker", SourceKind.EVENTS)
    return RepositoryPulls({API: pull}) if repository.startswith("shop") else RepositoryPulls()


@pytest.mark.property
@given(st.none() | REGISTRIES, REGISTRIES, QUERIES, st.sampled_from(SORTS), st.booleans(), st.integers(0, 5))
def test_a_search_finds_what_a_loop_over_all_rows_finds(
    former: Registry | None, tags: Registry, query: Query, sort: str, is_descending: bool, offset: int
) -> None:
    """Also where an earlier index was taken over."""
    limit = 4
    with tempfile.TemporaryDirectory() as folder:
        if former is not None:
            SHELF.build(Path(folder), former, now=ago(2)).close()
        index = SHELF.build(Path(folder), tags, holds=HELD, verdicts=VERDICTS, pulls=pulls)
        searcher = Searcher(index)
        everything = searcher.search(Query(), limit=1000).rows
        assert named(everything) == [f"{name}:{tag}" for name in sorted(tags) for tag in sorted(tags[name])]
        assert [row.digest for row in everything] == [tags[row.repository][row.tag] for row in everything]
        expected = Expected(everything, SHELF.database.details).search(query, sort, is_descending=is_descending)
        for _ in range(2):  # the second is from what was kept
            searcher.flags(query, NOW)
            found = searcher.search(query, sort=sort, is_descending=is_descending, offset=offset, limit=limit, now=NOW)
            assert found.total == len(expected)
            assert named(found.rows) == expected[offset : offset + limit]


@pytest.mark.property
@given(REGISTRIES, st.sampled_from(["shop/web:1.0", "a:A", "a-b"]))
def test_a_base_is_found_by_its_layers(tags: Registry, base: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        searcher = Searcher(SHELF.build(Path(folder), tags))
        query = Query(bases=(Reference.parse(base),))
        everything = searcher.search(Query(), limit=1000).rows
        on = {f"{row.repository}:{row.tag}": row.digest for row in everything}.get(
            base if ":" in base else f"{base}:latest"
        )
        if on is None or SHELF.database.details(on) is None:
            with pytest.raises(UsageError) as refused:
                searcher.search(query)
            assert refused.value.advice
            return
        expected = Expected(everything, SHELF.database.details).search(query, "repository", is_descending=False)
        assert named(searcher.search(query).rows) == expected


@pytest.mark.property
@given(st.text(max_size=60) | st.text(alphabet='ab:"\\ =\n', max_size=12) | st.from_regex(r"[a-z0-9]{2,9}:\S{0,8}"))
def test_any_text_is_read_or_refused_with_advice(text: str) -> None:
    read, advice = read_or_advice(text)
    assert advice if read is None else parse_query(read.text) == read


@pytest.mark.property
@given(QUERIES)
def test_a_query_is_the_same_when_it_is_written_and_read_again(query: Query) -> None:
    assert parse_query(query.text) == query


@pytest.mark.property
@given(
    st.lists(st.text(alphabet="ab.", max_size=5), max_size=12),
    st.text(alphabet="ab.\n\x01", max_size=3),
)
def test_flags_of_lines_are_those_of_each_line(lines: list[str], word: str) -> None:
    text, raw = "".join(f"\n{line}" for line in lines).encode(), word.encode()
    for how, expected in (
        (flags.containing, [word in line for line in lines]),
        (flags.begun_by, [line.startswith(word) for line in lines]),
        (flags.ended_by, [line.endswith(word) for line in lines]),
    ):
        assert list(map(bool, how(text, raw, len(lines)))) == expected


@pytest.mark.property
@given(st.sets(st.integers(0, 99)), st.integers(100, 5000))
def test_rows_are_read_as_they_were_packed(rows: set[int], number: int) -> None:
    found = schema.unpacked_rows(schema.packed_rows(sorted(rows), number), number)
    assert len(found) == number
    assert {row for row in range(number) if found[row]} == rows
