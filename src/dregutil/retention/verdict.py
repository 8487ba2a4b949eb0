"""What is known of a tag, and what was decided about it, with every reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Decision", "Former", "InUse", "Judgement", "Late", "Reason", "ReasonKind", "TagFacts", "Verdict"]

_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Former:
    """What the records knew of a tag before it was missing for a while; each as in `TagFacts`."""

    known_since: datetime
    seen: datetime | None = None
    unseen: datetime | None = None


@dataclass(frozen=True, slots=True)
class TagFacts:
    """A tag as it was read; or, with `tag` None, a manifest that no tag names and that belongs to nothing else.

    `created` is what its content says, believed or not. `seen` is when our records saw this tag come to this digest,
    None where it was there before them; `unseen`, if known, is the complete crawl before that, which did not find it
    so, or `seen` itself where its image was known before. `known_since` is since when they have known it so. Of what
    has no tag, it and `seen` are when it came into the repository, or lost its last tag. `contains` are the digests of
    an index's children. `subject` is what it hangs on, if on anything. `unread` says why its content is not known.

    `former`: what the records knew of a tag that was missing for a while, and came back on the same digest.
    `young_since`: the records were lost, and the new ones began then. `held` says why it stays whatever the rules are.
    `missing_since`: the tag itself was not found since; it is not judged, and what it named stays.
    """

    tag: Tag | None
    digest: Digest
    created: datetime | None = None
    seen: datetime | None = None
    known_since: datetime | None = None
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    contains: tuple[Digest, ...] = ()
    subject: Digest | None = None
    unread: str = ""
    unseen: datetime | None = None
    former: Former | None = None
    young_since: datetime | None = None
    held: str = ""
    missing_since: datetime | None = None

    @property
    def before(self) -> TagFacts:
        """As it was before it was missing; the same where it never was."""
        if self.former is None:
            return self
        former = self.former
        return replace(self, seen=former.seen, known_since=former.known_since, unseen=former.unseen, former=None)

    @property
    def name(self) -> str:
        """As it stands behind a repository's name: `:1.0`, or `@sha256:0a1b2c3d4e5f`."""
        return f"@{self.digest.short}" if self.tag is None else f":{self.tag}"


class Late(NamedTuple):
    """When a tag came that has an older image, or, with `back`, when it came back."""

    date: datetime
    back: bool


class Dates(NamedTuple):
    """What a tag is judged by: the date that others see, and its own: later where it came late, or came back.

    `former` is what its own was before it was missing, None where it never was.
    """

    others: datetime
    own: datetime
    former: datetime | None = None

    @property
    def first(self) -> datetime:
        """Its own, from before it was missing."""
        return self.own if self.former is None else self.former

    @property
    def late(self) -> Sequence[Late]:
        """Those by which it may be kept itself, besides the one that others see."""
        found = [Late(self.first, back=False)] if self.first != self.others else []
        return [*found, Late(self.own, back=True)] if self.former is not None else found


class Decision(Enum):
    """UNTAG: the tag goes alone, since something else holds its digest. FOLLOW: it is not judged, and goes or stays
    with its subject."""

    KEEP = "keep"
    REMOVE = "remove"
    UNTAG = "untag"
    FOLLOW = "follow"


class ReasonKind(Enum):
    NOT_SELECTED = "not selected"
    SIGNATURE = "signature"
    PROTECTED = "protected"
    IN_USE = "in use"
    RULE = "rule"
    MIN_AGE = "min_age"
    UNKNOWN_DATE = "unknown date"
    SAME_DATE = "same date"
    NO_VERSION = "no version"
    UNREAD = "not read"
    PUT_BACK = "put back"
    NOT_EMPTIED = "not emptied"
    HELD = "held"
    NO_RULE = "no rule"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why. `text` is for a person; for a rule it is the rule as written (`last: 3`)."""

    kind: ReasonKind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a tag. `policy` owns it, or is empty. `date` is what it was judged by, where believed;
    `dates` also tells by what others were judged beside it: earlier where it came late, or came back."""

    repository: Repository
    facts: TagFacts
    decision: Decision
    reasons: tuple[Reason, ...]
    policy: str = ""
    group: tuple[str, ...] = ()
    date: datetime | None = None
    dates: Dates | None = None

    @property
    def goes(self) -> bool:
        """Whether it is taken away by its own policy."""
        return self.decision in (Decision.REMOVE, Decision.UNTAG)

    @property
    def image(self) -> str:
        return f"{self.repository}{self.facts.name}"

    @property
    def is_held(self) -> bool:
        """Whether no rule keeps it, and it stays only because its digest does."""
        return self.decision is Decision.KEEP and self.reasons[0].kind is ReasonKind.HELD


@dataclass(frozen=True, slots=True)
class InUse:
    """What lists say is in use: tags of a repository, digests of one, digests wherever they are; each with its list."""

    tags: Mapping[tuple[Repository, Tag], str] = field(default_factory=dict)
    digests: Mapping[tuple[Repository, Digest], str] = field(default_factory=dict)
    anywhere: Mapping[Digest, str] = field(default_factory=dict)

    def list_of(self, repository: Repository, facts: TagFacts) -> str:
        """The list by which a tag, its digest or a child of it is in use; empty where none is."""
        if not self.tags and not self.digests and not self.anywhere:
            return ""
        found = "" if facts.tag is None else self.tags.get((repository, facts.tag), "")
        for digest in (facts.digest, *facts.contains):
            found = found or self.digests.get((repository, digest), "") or self.anywhere.get(digest, "")
        return found


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts, by repository. `now` is the time they hold for; `overlaps` are pairs of policies of which the
    second would have taken tags that the first owns, with how many."""

    now: datetime
    verdicts: Mapping[Repository, tuple[Verdict, ...]]
    overlaps: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Verdict]:
        for verdicts in self.verdicts.values():
            yield from verdicts

    def of_policy(self, name: str) -> Iterator[Verdict]:
        return (verdict for verdict in self if verdict.policy == name)

    def removed(self) -> Iterator[Verdict]:
        return (verdict for verdict in self if verdict.goes)
