"""Histories of tags in the format of the golden files in tests/retention.

A line has a tag, its creation date (`-`: none; `3d`: three days before NOW), other facts, and after `->` the expected
verdict (none for a tag that is `missing`):
`1.4.2  2026-11-01  digest=a seen=1d  ->  keep  last: 3, within: 90d`. A tag is in the repository `app` unless it names
another (`shop/web:1.0`); `@a` is the digest `a` without a tag.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import Pull, Source, SourceKind, Span
from dregutil.retention.holds import Hold
from dregutil.retention.verdict import Former, TagFacts
from dregutil.select.quantity import parse_duration

HOLD = Hold(Repository("app"), datetime(2026, 11, 1, tzinfo=UTC), until=datetime(2026, 11, 15, tzinfo=UTC), run="1")

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml is ten times as fast
FOLDER = Path(__file__).with_name("retention")


@dataclass(frozen=True)
class Case:
    """`expected`: decision and reasons, by repository and tag. `meaning`: the number of the rule in the manual."""

    name: str
    policy: str
    facts: Mapping[Repository, Sequence[TagFacts]]
    expected: Mapping[tuple[str, str], tuple[str, str]]
    in_use: str = ""
    meaning: int = 0
    names: str = ""
    doomed: str = ""
    recorded: str = ""  # for how long pulls are recorded


def cases() -> list[Case]:
    found = []
    for path in sorted(FOLDER.glob("*.yml")):
        found += [_case(path.stem, document) for document in yaml.load_all(path.read_text(), LOADER)]
    return found


def digest_of(name: str) -> Digest:
    return Digest.of(name.encode())


def moment(text: str) -> datetime | None:
    if text == "-":
        return None
    if text[-1] in "smhdwy":
        return NOW - parse_duration(text)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _case(file: str, document: Any) -> Case:
    facts: dict[Repository, list[TagFacts]] = defaultdict(list)
    expected: dict[tuple[str, str], tuple[str, str]] = {}
    for line in document["tags"].splitlines():
        if not line.strip():
            continue
        left, _, right = line.partition("->")
        repository, one = _facts(left.split())
        facts[repository].append(one)
        if one.missing_since is not None:
            continue
        decision, _, reasons = right.strip().partition(" ")
        expected[repository, one.tag or str(one.digest)] = (decision, reasons.strip())
    return Case(
        f"{file}: {document['case']}",
        document["policy"],
        facts,
        expected,
        document.get("in_use", ""),
        int(document.get("meaning", 0)),
        document.get("names", ""),
        document.get("doomed", ""),
        document.get("recorded", ""),
    )


def _facts(words: list[str]) -> tuple[Repository, TagFacts]:
    place, colon, tag = words[0].rpartition(":")
    if tag.startswith("@"):
        return Repository(place if colon else "app"), _untagged(tag.removeprefix("@"), words)
    more = _more(words)
    labels = _pairs(more.get("label", ""))
    digest, unread = digest_of(more.get("digest", tag)), "unread" in more
    content = ImageDetails(
        digest,
        more.get("type", ""),
        int(more.get("size", 1000)),
        moment(words[1]),
        labels,
        tuple(platform for platform in more.get("platform", "").split("+") if platform),
        artifact_type=more.get("artifact", ""),
        annotations=_pairs(more.get("annotation", "")),
    )
    return Repository(place if colon else "app"), TagFacts(
        Tag(tag),
        digest,
        moment(words[1]),
        moment(more.get("seen", "-")),
        moment(more.get("since", more.get("seen", "-"))),
        1000,
        labels,
        tuple(digest_of(name) for name in more.get("children", "").split("+") if name),
        digest_of(more["referrer"]) if "referrer" in more else None,
        "the registry gave nothing" if unread else "",
        moment(more.get("unseen", "-")),
        None if (former := moment(more.get("former", "-"))) is None else Former(former),
        moment(more.get("young", "-")),
        HOLD if "held" in more else None,
        moment(more.get("missing", "-")),
        content=None if unread else content,
        pull=_pull(Repository(place if colon else "app"), Tag(tag), more.get("pulled", "")),
    )


def _pull(repository: Repository, tag: Tag, age: str) -> Pull | None:
    return Pull(repository, tag, NOW - parse_duration(age), "podman/5", SourceKind.EVENTS) if age else None


def sources_of(case: Case) -> list[Source]:
    """What has recorded pulls in a case."""
    since = NOW - parse_duration(case.recorded) if case.recorded else None
    return [] if since is None else [Source(SourceKind.EVENTS, "one", (Span(since, NOW),))]


def _pairs(text: str) -> dict[str, str]:
    """`team:web+keep:true` as a mapping."""
    return dict(pair.split(":", 1) for pair in text.split("+") if pair)


def _untagged(name: str, words: list[str]) -> TagFacts:
    more = _more(words)
    seen = moment(more.get("seen", "-"))
    contains = tuple(digest_of(child) for child in more.get("children", "").split("+") if child)
    return TagFacts(None, digest_of(name), moment(words[1]), seen, seen, 1000, contains=contains)


def _more(words: list[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words[2:])
