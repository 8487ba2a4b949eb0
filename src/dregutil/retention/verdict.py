"""The facts about a tag, and the verdict on it with all reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import Pull
from dregutil.retention.holds import Hold

__all__ = [
    "Decision",
    "Former",
    "InUse",
    "Judgement",
    "Late",
    "Reason",
    "ReasonKind",
    "Served",
    "TagFacts",
    "Verdict",
]

_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Former:
    """What the records knew about a tag before it was missing for a while; fields as in `TagFacts`."""

    known_since: datetime
    seen: datetime | None = None
    unseen: datetime | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """What the API of the registry's service says about an image.

    `pushed`, `pulled`: when it last was, None if that is not known; with `has_pulls`, `pulled` None means never.
    `locked`: why the service refuses to delete it, or empty. `doubts`: what people have to know about these values.
    """

    pushed: datetime | None = None
    pulled: datetime | None = None
    has_pulls: bool = False
    locked: str = ""
    doubts: tuple[str, ...] = ()


_NOTHING_SERVED = Served()


@dataclass(frozen=True, slots=True)
class TagFacts:
    """A tag as it was read; or, with `tag` None, a manifest without a tag that belongs to nothing else.

    `created` is the creation date in its content, plausible or not. `seen`: when the records saw this tag appear on
    this digest; None if it is older than the records. `unseen`, if known: the previous complete crawl, which did not
    find it there, or `seen` itself if the image was known before. `known_since`: since when the records have known it
    there. For a manifest without a tag, `known_since` and `seen` are when it was pushed to the repository, or lost its
    last tag. `contains`: the digests of an index's children. `subject`: the digest that it refers to, if any. `unread`:
    why its content is not known.

    `former`: what the records knew about a tag that was missing for a while and returned on the same digest.
    `young_since`: the records were lost, and the new ones began then. `held`: what keeps it regardless of the rules.
    `missing_since`: the tag has not been found since; it is not judged, and its image stays. `served`: what the
    registry's service says about it. `content`: what is behind it, if it was read. `pull`: the last recorded
    pull of it, or of something that it contains.
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
    held: Hold | None = None
    missing_since: datetime | None = None
    served: Served = _NOTHING_SERVED
    content: ImageDetails | None = None
    pull: Pull | None = None

    @property
    def before(self) -> TagFacts:
        """The facts from before the tag was missing; unchanged if it never was."""
        if self.former is None:
            return self
        former = self.former
        return replace(self, seen=former.seen, known_since=former.known_since, unseen=former.unseen, former=None)

    @property
    def name(self) -> str:
        """The suffix to the repository's name: `:1.0`, or `@sha256:0a1b2c3d4e5f`."""
        return f"@{self.digest.short}" if self.tag is None else f":{self.tag}"


class Late(NamedTuple):
    """When a tag with an older image appeared or, with `back`, returned."""

    date: datetime
    back: bool


class Dates(NamedTuple):
    """The dates of a tag: the one by which others are judged, and its own, which is later if it appeared late or
    returned.

    `former`: its own date from before it was missing; None if it never was.
    """

    others: datetime
    own: datetime
    former: datetime | None = None

    @property
    def first(self) -> datetime:
        """Its own date, from before it was missing."""
        return self.own if self.former is None else self.former

    @property
    def late(self) -> Sequence[Late]:
        """The additional dates that may keep the tag itself."""
        if self.former is None and self.own is self.others:
            return ()
        found = [Late(self.first, back=False)] if self.first != self.others else []
        return [*found, Late(self.own, back=True)] if self.former is not None else found


class Decision(Enum):
    """The decision about a tag. UNTAG: the tag is removed alone, because something else needs its digest. FOLLOW: it is
    not judged, and goes or stays with its subject."""

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
    CAME_LATER = "came later"
    NOT_DOOMED = "not doomed"
    NO_EXPIRY = "no expiry"
    NOT_EXPIRED = "not expired"
    MIN_AGE = "min_age"
    UNKNOWN_DATE = "unknown date"
    SAME_DATE = "same date"
    NO_VERSION = "no version"
    UNREAD = "not read"
    PUT_BACK = "put back"
    ON_HOLD = "on hold"
    LOCKED = "locked"
    NOT_EMPTIED = "not emptied"
    HELD = "held"
    NO_RULE = "no rule"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a tag stays or goes. `text` is for users; for a rule it is the rule as written (`last: 3`)."""

    kind: ReasonKind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a tag. `policy` owns the tag, or is empty. `date` is the one by which it was judged, if
    plausible; `dates` also has the one by which others were judged. `doomed_by`: the lists of images to remove that
    name it, if nothing else says that it may go."""

    repository: Repository
    facts: TagFacts
    decision: Decision
    reasons: tuple[Reason, ...]
    policy: str = ""
    group: tuple[str, ...] = ()
    date: datetime | None = None
    dates: Dates | None = None
    doomed_by: tuple[str, ...] = ()

    @property
    def goes(self) -> bool:
        """Whether the tag is removed."""
        return self.decision in (Decision.REMOVE, Decision.UNTAG)

    @property
    def image(self) -> str:
        return f"{self.repository}{self.facts.name}"

    @property
    def is_held(self) -> bool:
        """Whether no rule keeps the tag, and it stays only because its digest does."""
        return self.decision is Decision.KEEP and self.reasons[0].kind is ReasonKind.HELD


@dataclass(frozen=True, slots=True)
class InUse:
    """What is in use according to lists: tags of a repository, digests in a repository, and digests anywhere. Each has
    the name of its list."""

    tags: Mapping[tuple[Repository, Tag], str] = field(default_factory=dict)
    digests: Mapping[tuple[Repository, Digest], str] = field(default_factory=dict)
    anywhere: Mapping[Digest, str] = field(default_factory=dict)

    def list_of(self, repository: Repository, facts: TagFacts) -> str:
        """The list that names a tag, its digest or one of its children; empty if none does."""
        if not self.tags and not self.digests and not self.anywhere:
            return ""
        found = "" if facts.tag is None else self.tags.get((repository, facts.tag), "")
        for digest in (facts.digest, *facts.contains):
            found = found or self.digests.get((repository, digest), "") or self.anywhere.get(digest, "")
        return found


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts, by repository, as of `now`. `overlaps`: for pairs of policies, how many tags the first owns that
    the second would have selected."""

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
