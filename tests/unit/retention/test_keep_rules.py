"""What each keep rule keeps in edge cases, and where its reasons come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from dregutil.oci.names import Repository, Tag
from dregutil.retention.explain import explain
from dregutil.retention.judge import judge
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import TagFacts, Verdict
from histories import NOW, digest_of, moment

APP = Repository("app")


def judged(keep: str, tags: str, more: str = "", defaults: str = "min_age: 0s") -> tuple[Verdict, ...]:
    """The verdicts on `tags`, lines of `tag date [digest]`, by one policy."""
    policies = read_policy(
        f"version: 1\ndefaults: {{{defaults}}}\npolicies:\n"
        f"  - {{name: p, repositories: ['**'], keep: {{{keep}}}, allow_empty: true{more}}}\n"
    )
    facts = [_facts(line.split()) for line in tags.splitlines() if line.strip()]
    return judge(policies, {APP: facts}, now=NOW).verdicts[APP]


def _facts(words: Sequence[str]) -> TagFacts:
    tag, date, *digest = words
    return TagFacts(Tag(tag), digest_of(digest[0] if digest else tag), moment(date))


def kept(keep: str, tags: str, more: str = "", defaults: str = "min_age: 0s") -> list[str]:
    return [str(one.facts.tag) for one in judged(keep, tags, more, defaults) if not one.goes]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("daily: 1", "jan1b"),
        ("daily: 2", "dec31 jan1b"),
        ("daily: 3", "dec30 dec31 jan1b"),
        ("daily: 4", "lastyear dec30 dec31 jan1b"),
        ("weekly: 1", "jan1b"),
        ("weekly: 2", "lastyear jan1b"),
        ("monthly: 2", "dec31 jan1b"),
        ("monthly: 3", "dec31 jan1b"),
        ("yearly: 1", "jan1b"),
        ("yearly: 2", "dec31 jan1b"),
    ],
)
def test_the_calendar_over_new_year(keep: str, expected: str) -> None:
    """The first of January is a different day in each year; its week began in December."""
    tags = """
        lastyear  2024-12-01T10:00
        dec30     2024-12-30T10:00
        dec31     2024-12-31T10:00
        jan1a     2025-01-01T10:00
        jan1b     2025-01-01T11:00
    """
    assert kept(keep, tags) == expected.split()


def test_the_same_day_of_two_years_is_two_days() -> None:
    assert kept("daily: 2", "a 2024-03-01\nb 2025-03-01") == ["a", "b"]
    assert kept("monthly: 2", "a 2024-03-01\nb 2025-03-01") == ["a", "b"]
    assert kept("weekly: 2", "a 2024-03-01\nb 2025-03-01") == ["a", "b"]
    assert kept("daily: 1", "a 2024-03-05\nb 2025-03-01") == ["b"]


def test_within_excludes_its_exact_age() -> None:
    assert kept("within: 2h", "a 2h\nb 119m\nc 121m") == ["b"]


def test_all_needs_all_of_its_rules() -> None:
    tags = "a 40d\nb 30d\nc 20d\nd 5d\nx 1d"
    assert kept("all: [{last: 4}, {within: 35d}]", tags) == ["b", "c", "d", "x"]
    assert kept("all: [{last: 4}, {within: 35d}, {tags: '[a-c]'}]", tags) == ["b", "c"]
    assert kept("all: [{tags: '[a-c]'}, {last: 4}, {within: 25d}]", tags) == ["c"]


def test_last_counts_images_by_time_and_keeps_ties_whole() -> None:
    tags = "a 40d\nb 30d x\nc 30d y\nd 20d z\ne 20d z"
    assert kept("last: 1", tags) == ["d", "e"]
    assert kept("last: 2", tags) == ["b", "c", "d", "e"]
    assert kept("last: 3", tags) == ["b", "c", "d", "e"]
    assert kept("last: 4", tags) == ["a", "b", "c", "d", "e"]


def test_groups_ordered_by_time_are_judged_separately() -> None:
    tags = "1.3-alpine 40d\n1.4-alpine 30d\n1.3-slim 41d\n1.4-slim 31d\n1.3 42d\n1.4 32d"
    assert kept("last: 1", tags, ", group_by: variant") == ["1.4-alpine", "1.4-slim", "1.4"]
    assert kept("last: 1", tags, ", group_by: minor") == ["1.3-alpine", "1.4-alpine"]
    assert kept("last: 1", tags, ", group_by: major") == ["1.4-alpine"]


def test_a_word_before_the_numbers_makes_a_separate_group() -> None:
    tags = "1.4 40d\n1.3 41d\nrelease-1.4 30d\nrelease-1.3 31d"
    assert kept("last: 1", tags, ", order: version") == ["1.4", "release-1.4"]
    assert kept("last: 1", tags, ", group_by: minor") == ["1.4", "1.3", "release-1.4", "release-1.3"]
    assert kept("last: 1", tags) == ["release-1.4"]


def test_groups_of_a_regular_expression() -> None:
    select = ", select: {regex: '(?P<branch>[a-z]+)(-(?P<kind>[0-9]+))?'}, group_by: "
    tags = "main-1 40d\nmain-2 30d\ndev-1 20d\ndev-2 10d\nmain 50d"
    assert kept("last: 1", tags, f"{select}branch") == ["main-2", "dev-2"]
    assert kept("last: 1", tags, f"{select}kind") == ["dev-1", "dev-2", "main"]
    assert kept("last: 1", tags, f"{select}[branch, kind]") == ["main-1", "main-2", "dev-1", "dev-2", "main"]


def test_what_is_young_or_not_known_to_be_old_stays() -> None:
    day = "min_age: 1d"
    assert kept("none: true", "a 23h\nb 24h\nc 25h\nd -", defaults=day) == ["a", "d"]
    reasons = {
        str(one.facts.tag): [str(reason) for reason in one.reasons] for one in judged("last: 1", "a 2h\nb -", "", day)
    }
    assert reasons == {
        "a": ["last: 1", "younger than min_age: 1d"],
        "b": ["its date is unknown", "not known to be older than min_age: 1d"],
    }


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("a 2024-05-01\nb 2024-05-01\nc 2024-06-01", "a b c"),  # two of three
        ("a 2024-05-01\nb 2024-05-01\nc 2024-06-01\nd 2024-07-01", "d"),  # just half
        ("a 2024-05-01 x\nb 2024-05-01 x\nc 2024-06-01", "c"),  # one image
        ("a 2024-05-01", "a"),
    ],
)
def test_a_date_shared_by_more_than_half_is_unknown(tags: str, expected: str) -> None:
    assert kept("last: 1", tags) == expected.split()


def test_an_implausible_date_takes_no_place() -> None:
    assert kept("last: 1", "a 1970-01-01\nb 40d\nc 2030-01-01\nd 30d") == ["a", "c", "d"]
    assert kept("last: 1", "a 2012-12-31T23:59:59\nb 2013-01-01\nc 40d") == ["a", "c"]


def test_the_explanation_gives_the_number_of_newer_tags_and_the_order() -> None:
    def standing(tags: str, of: str, more: str = "") -> str:
        policies = read_policy(
            "version: 1\ndefaults: {min_age: 0s}\npolicies:\n"
            f"  - {{name: p, repositories: ['**'], keep: {{last: 1}}{more}}}\n"
        )
        facts = [_facts(line.split()) for line in tags.splitlines()]
        verdicts = judge(policies, {APP: facts}, now=NOW).verdicts[APP]
        (one,) = [verdict for verdict in verdicts if verdict.facts.tag == of]
        return next(found.text for found in explain(policies, verdicts, one, NOW) if found.what == "last: 1")

    tags = "1.0 40d\n1.1 30d x\n1.2 20d x\n1.3 10d"
    assert standing(tags, "1.0") == "by date, 2 newer of 3 images in its group"
    assert standing(tags, "1.0", ", order: version") == "by version, 2 newer of 3 images in its group"
    assert standing(tags, "1.3", ", order: version") == "by version, 0 newer of 3 images in its group"
    assert standing("main 3d\n1.0 4d", "main", ", order: version") == "it has no place in the order"
    letters = "1.0.1 40d\n1.0.2 30d\n1.0.2a 20d\n1.0.2k 10d"
    assert standing(letters, "1.0.1", ", order: version") == "by version, 1 newer of 4 images in its group"
    assert standing(letters, "1.0.2", ", order: version") == "by version, 0 newer of 4 images in its group"


def test_the_date_a_verdict_is_based_on() -> None:
    (one,) = judged("last: 1", "a 40d")
    assert one.date == NOW - timedelta(days=40)
    assert isinstance(one.date, datetime)
    assert one.policy == "p"
