"""Dates on which images expire: how they are read, and what policies warn about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dregutil.cli.policy_warnings import expiry_warnings
from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Repository, Tag
from dregutil.retention.expiry import expiry_of, parse_expiry
from dregutil.retention.explain import Factor, explain
from dregutil.retention.judge import judge
from dregutil.retention.policy import Expires
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import Served, TagFacts
from histories import NOW, digest_of

APP = Repository("app")
POLICY = read_policy("version: 1\npolicies:\n  - {name: p, repositories: ['**'], expires: {label: ttl}}")


def image(tag: str, days: int, **labels: str) -> TagFacts:
    created = NOW - timedelta(days=days)
    content = ImageDetails(digest_of(tag), "", 1, created, labels)
    return TagFacts(Tag(tag), content.digest, created, content=content)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2w", timedelta(weeks=2)),
        (" 12h ", timedelta(hours=12)),
        ("2026-12-01T08:00:00+02:00", datetime(2026, 12, 1, 6, tzinfo=UTC)),
        ("2026-12-01 08:00:00.5z", datetime(2026, 12, 1, 8, microsecond=500000, tzinfo=UTC)),
        ("2026-12-01", datetime(2026, 12, 2, tzinfo=UTC)),
        *((text, None) for text in ("", "0d", "-3d", "2 weeks", "never", "2026-13-01", "20261201", "2026-W01-1")),
        *((text, None) for text in ("2026-12-01T08:00", "9999-12-31", "1001y", "1609459200", "2026-12-01T25:00:00Z")),
    ],
)
def test_what_a_label_says(text: str, found: object) -> None:
    assert parse_expiry(text, UTC) == found


def test_what_cannot_be_read_and_what_most_images_share_is_named() -> None:
    facts = [image(f"a{number}", number + 30, ttl="2w") for number in range(4)]
    other = [image("b", 3, ttl="1w"), image("c", 2, ttl="soon"), image("d", 2)]
    assert [one.shown("f") for one in expiry_warnings(POLICY, {APP: [*facts, *other]})] == [
        "f:3:5: 'p': 4 of 7 images of app have ttl=2w; is it inherited from their base image?",
        "f:3:5: 'p': 1 tag with a ttl that cannot be read, kept: app:c (soon)",
    ]
    assert not list(expiry_warnings(POLICY, {APP: [*facts[:3], *other[:1], image("e", 1), image("f", 1)]}))


def test_why_names_the_date() -> None:
    facts = [image("a", 30, ttl="2w"), image("b", 3, ttl="1w"), image("c", 4)]
    verdicts = judge(POLICY, {APP: facts}, now=NOW).verdicts[APP]
    told = [[one for one in explain(POLICY, verdicts, verdict, NOW) if "expir" in one.what] for verdict in verdicts]
    assert told == [
        [Factor("expires: ttl", keeps=False, text="it expired 16d ago: ttl=2w")],
        [Factor("expires: ttl", keeps=True, text="it expires 2026-11-28 12:00 UTC: ttl=1w")],
        [Factor("expires: ttl", keeps=True, text="it has no ttl")],
    ]


def test_what_has_no_date_does_not_expire_by_when_it_was_pushed() -> None:
    """That only makes a date later: what a service says never removes more."""
    pushed = Served(pushed=NOW - timedelta(hours=12))
    dated = replace(image("a", 30, ttl="12h"), served=pushed)
    undated = replace(dated, created=None)
    seen = replace(undated, seen=NOW - timedelta(days=1))
    expires = Expires("ttl", from_seen=True)
    assert expiry_of(expires, undated, None, UTC, NOW).at is None
    assert expiry_of(expires, dated, dated.created, UTC, NOW).at == NOW
    assert expiry_of(expires, seen, None, UTC, NOW).at == NOW
