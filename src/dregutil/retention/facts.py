"""What is known about tags → the facts that policies judge. Each digest is read once from the content database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from datetime import datetime

from dregutil.errors import DregutilError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tag_history import Missing, Sighting
from dregutil.oci.image import ImageDetails
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, Repository, Tag, parse_accessory_tag, parse_signature_tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.pulls.evidence import last_pull
from dregutil.pulls.pull import RepositoryPulls
from dregutil.retention.holds import Holds
from dregutil.retention.policy import PolicySet, applies_to
from dregutil.retention.select import may_select_name
from dregutil.retention.verdict import Former, Served, TagFacts

__all__ = ["Facts", "wanted_digests"]


def wanted_digests(
    policies: PolicySet, repositories: Mapping[Repository, Mapping[Tag, Digest]]
) -> Iterator[tuple[Repository, Digest]]:
    """The digests with a tag that a policy may own: their content must be read."""
    for repository, tags in repositories.items():
        applying = [policy for policy in policies.policies if applies_to(policy, repository)]
        for tag, digest in tags.items() if applying else ():
            if parse_signature_tag(tag) is None and any(may_select_name(policy.select, tag) for policy in applying):
                yield repository, digest


class Facts:
    """Makes the facts of tags; reads each digest once from the database."""

    def __init__(
        self,
        database: ContentDatabase,
        unread: Mapping[Digest, DregutilError],
        wanted: set[Digest],
        holds: Holds,
        young_since: datetime | None,
        listings: Mapping[Repository, Listing] | None = None,
        pulls: Callable[[Repository], RepositoryPulls] | None = None,
    ) -> None:
        """`listings`: what the registry's service says; `pulls`: those that are recorded, if a rule asks for them."""
        self.database = database
        self.unread = unread
        self.wanted = wanted
        self.holds = holds
        self.young_since = young_since
        self._listings = listings or {}
        self._pulls = pulls
        self._entries: dict[Repository, Mapping[Digest, Entry]] = {}
        self._known: dict[Digest, tuple[ImageDetails | None, Digest | None]] = {}
        self._placeholders: set[Digest] = set()
        self._accessories: set[Digest] = set()  # manifests that are not images that can run

    def on_placeholders(self, tags: Mapping[Tag, Digest]) -> tuple[Tag, ...]:
        """Those of `tags` that an interrupted run left on a placeholder: they are not images, and no rule counts
        them."""
        for digest in set(tags.values()) & self.wanted:
            self._read(digest)
        if self._placeholders.isdisjoint(tags.values()):
            return ()
        return tuple(sorted(tag for tag, digest in tags.items() if digest in self._placeholders))

    def of(
        self, repository: Repository, tags: Mapping[Tag, Digest], seen: Mapping[Tag, Sighting]
    ) -> Iterator[TagFacts]:
        digests = set(tags.values())
        pulls = None if self._pulls is None else self._pulls(repository)
        for tag, digest in tags.items():
            facts, one = self._fact(repository, tag, digest), seen.get(tag)
            if pulls is not None:
                facts = replace(facts, pull=last_pull(pulls, tag, digest, facts.contains))
            if facts.subject is None and digest in self._accessories:
                facts = replace(facts, subject=_subject_of(tag, digests))
            if one is not None:
                facts = replace(
                    facts,
                    seen=one.known_since if one.came else None,
                    known_since=one.known_since,
                    unseen=one.unseen,
                    former=None if one.former is None else Former(*one.former),
                )
            yield facts

    def of_untagged(self, repository: Repository, roots: Mapping[Digest, datetime | None]) -> Iterator[TagFacts]:
        """The facts of manifests without a tag. Their subject does not exist, so they have none."""
        pulls = None if self._pulls is None or not roots else self._pulls(repository)
        for digest, since in roots.items():
            facts = self._fact(repository, None, digest)
            pull = None if pulls is None else last_pull(pulls, None, digest, facts.contains)
            yield replace(facts, seen=since, known_since=since, subject=None, pull=pull)

    def of_missing(self, repository: Repository, missing: Mapping[Tag, Missing]) -> Iterator[TagFacts]:
        """The facts of tags that are missing now, as far as known: nothing is read for them."""
        for tag, one in missing.items():
            self.wanted.add(one.digest)
            yield replace(self._fact(repository, tag, one.digest), unread="", missing_since=one.since)

    def _fact(self, repository: Repository, tag: Tag | None, digest: Digest) -> TagFacts:
        held, served = self.holds.on(repository, tag, digest), self._served(repository, tag, digest)
        if digest not in self.wanted:
            return TagFacts(tag, digest, held=held, served=served)
        details, subject = self._read(digest)
        if details is None:
            why = self.unread[digest].message if digest in self.unread else "it was not found"
            return TagFacts(tag, digest, unread=why, held=held, young_since=self.young_since, served=served)
        return TagFacts(
            tag,
            digest,
            details.created,
            size=details.size,
            labels=details.labels,
            contains=tuple(_below(details)),
            subject=subject,
            young_since=self.young_since,
            held=held,
            served=served,
            content=details,
        )

    def _served(self, repository: Repository, tag: Tag | None, digest: Digest) -> Served:
        listing = self._listings.get(repository)
        if listing is None:
            return Served()
        if repository not in self._entries:
            self._entries[repository] = {entry.digest: entry for entry in listing.entries}
        entry = self._entries[repository].get(digest)
        if entry is None:
            return Served()
        locked = entry.locked or ("" if tag is None else entry.locked_tags.get(tag, ""))
        return Served(entry.pushed, entry.pulled, listing.has_pulls, locked, listing.doubts)

    def _read(self, digest: Digest) -> tuple[ImageDetails | None, Digest | None]:
        return self._known.get(digest) or self._known.setdefault(digest, self._look(digest))

    def _look(self, digest: Digest) -> tuple[ImageDetails | None, Digest | None]:
        if digest in self.unread:
            return None, None
        manifest = self.database.manifest(digest)
        if is_placeholder(manifest):
            self._placeholders.add(digest)
        if manifest is not None and not manifest.is_runnable:
            self._accessories.add(digest)
        subject = None if manifest is None or manifest.subject is None else manifest.subject.digest
        return self.database.details(digest), subject


def _subject_of(tag: Tag, digests: Set[Digest]) -> Digest | None:
    """The one of `digests` that is the subject in a tag's name, if its suffix is unknown."""
    named = parse_accessory_tag(tag) if parse_signature_tag(tag) is None else None
    return None if named is None else next((digest for digest in digests if named.names(digest)), None)


def _below(details: ImageDetails) -> Iterator[Digest]:
    for child in details.children:
        yield child.digest
        yield from _below(child)
