"""Images that are held: no removal and no policy takes them until the hold ends. Values, and what they hold. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["HELD_FOR", "HeldHere", "Hold", "Holds"]

HELD_FOR = timedelta(days=14)
"""How long everything is held that an undo put back, and what the last crawls no longer found."""

_END = "(`hold --end` ends it)"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold: of a tag, wherever it points, or of a digest with its tags.

    `digest` is None for the hold of a tag. `until`: when it ends; None if it does not end by itself. `by` is who made
    it (user@host), `because` what they said. `run`: the undo that put the image back, if that is why it is held; `tags`
    are those that it put, `company` is what came back with the image (children, referrers), and is held as long.
    `protected`: why a policy protects the image, if that is why it is held; such a hold is in no file.
    """

    repository: Repository
    since: datetime
    tag: Tag | None = None
    digest: Digest | None = None
    until: datetime | None = None
    by: str = ""
    because: str = ""
    run: str = ""
    tags: tuple[Tag, ...] = ()
    company: tuple[Digest, ...] = ()
    protected: str = ""

    @property
    def image(self) -> str:
        """`repository:tag` or `repository@digest`."""
        tag = self.tag or next(iter(self.tags), None)
        return f"{self.repository}@{self.digest}" if tag is None else f"{self.repository}:{tag}"

    @property
    def images(self) -> tuple[str, ...]:
        """As `image`, for each of its tags."""
        tags = (self.tag,) if self.tag else self.tags
        return tuple(f"{self.repository}:{tag}" for tag in tags) or (self.image,)

    @property
    def text(self) -> str:
        """Since when, until when, by whom and why."""
        if self.run:
            return f"put back on {self.since:%Y-%m-%d}, held until {self.until:%Y-%m-%d}"
        until = "" if self.until is None else f" until {self.until:%Y-%m-%d}"
        by = f" by {self.by}" if self.by else ""
        because = f": {self.because}" if self.because else ""
        return f"held{by} since {self.since:%Y-%m-%d}{until}{because}"

    @property
    def reason(self) -> str:
        """Why the image stays, and how to end that."""
        return self.protected or f"{self.text} {_END}"

    def is_active(self, now: datetime) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class HeldHere:
    """What is held in one repository, with the reason: tags, and digests."""

    tags: Mapping[Tag, str] = field(default_factory=dict)
    digests: Mapping[Digest, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Holds:
    """The holds on one registry that have not ended."""

    all: tuple[Hold, ...] = ()

    @classmethod
    def active(cls, holds: Iterable[Hold], now: datetime) -> Holds:
        return cls(tuple(hold for hold in holds if hold.is_active(now)))

    @cached_property
    def _by_repository(self) -> Mapping[Repository, Mapping[Tag | Digest, Hold]]:
        """The hold of each tag and of each digest."""
        found: dict[Repository, dict[Tag | Digest, Hold]] = defaultdict(dict)
        for hold in self.all:
            for name in (hold.tag, hold.digest, *hold.company):
                if name is not None:
                    found[hold.repository].setdefault(name, hold)
        return found

    def on(self, repository: Repository, tag: Tag | None, digest: Digest) -> Hold | None:
        """The hold of a tag, or of the digest that it is on."""
        names = self._by_repository.get(repository)
        if not names:
            return None
        return (names.get(tag) if tag is not None else None) or names.get(digest)

    @cached_property
    def _of(self) -> Mapping[Repository, Sequence[Hold]]:
        """The holds in each repository, in their order: a saved plan may have as many as steps."""
        found: dict[Repository, list[Hold]] = defaultdict(list)
        for hold in self.all:
            found[hold.repository].append(hold)
        return {**found}

    def tags(self, repository: Repository) -> frozenset[Tag]:
        """The tags of a repository that are held by their own name."""
        return frozenset(hold.tag for hold in self._of.get(repository, ()) if hold.tag is not None)

    def digests(self, repository: Repository) -> frozenset[Digest]:
        """The digests of a repository that are held by their own name."""
        return frozenset(hold.digest for hold in self._of.get(repository, ()) if hold.digest is not None)

    def are_read(self, graph: RepositoryGraph) -> bool:
        """Whether `graph` has the manifests of what is held, as far as they exist: only they say what it refers to."""
        on = (graph.tags.get(tag) for tag in self.tags(graph.repository))
        roots = {*self.digests(graph.repository), *(digest for digest in on if digest is not None)}
        return roots <= graph.manifests.keys() | graph.absent

    def here(self, graph: RepositoryGraph) -> HeldHere:
        """What is held in a repository as it was read: a held tag with its digest, a held digest and its company with
        their tags, and the subjects of all that. What else they need stays because they do."""
        tags: dict[Tag, str] = {}
        digests: dict[Digest, str] = {}
        for hold in self._of.get(graph.repository, ()):
            if hold.tag is not None:
                tags[hold.tag] = hold.reason
            root = hold.digest or (hold.tag and graph.tags.get(hold.tag, graph.presumed.get(hold.tag)))
            for digest in (*([root] if root else ()), *hold.company):
                digests.setdefault(digest, hold.reason)
            for digest in () if hold.digest is None else (hold.digest, *hold.company):
                for tag in graph.tags_of.get(digest, ()):
                    tags.setdefault(tag, hold.reason)
        _add_subjects(graph, digests)
        return HeldHere(tags, digests)


def _add_subjects(graph: RepositoryGraph, held: dict[Digest, str]) -> None:
    """Add what held digests and their children refer to."""
    pending, seen = list(held.items()), set(held)
    while pending:
        digest, reason = pending.pop()
        manifest = graph.manifests.get(digest)
        named = (subject for tag in graph.tags_of.get(digest, ()) for subject in graph.named_subjects(tag))
        for subject in (*graph.subjects_of(digest), *named):
            held.setdefault(subject, f"{digest.short} refers to it: {reason}")
        children = () if manifest is None else tuple(child.digest for child in manifest.children)
        for other in {*graph.subjects_of(digest), *children} - seen:
            seen.add(other)
            pending.append((other, held.get(other, reason)))
