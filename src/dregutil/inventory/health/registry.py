"""What is broken in a registry, by its API: every tag is read, every child and subject is looked for.

Reads with GET and HEAD only. Manifests are read by their tag: one request for both, as many as a crawl sends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice

from dregutil.errors import DregutilError, LoginError, ThrottledError, UnreachableError
from dregutil.inventory.crawl_result import CrawlProgress
from dregutil.inventory.health.listed_untagged import ListedUntagged, with_untagged
from dregutil.inventory.health.storage import Finding, Flaw, named_subject
from dregutil.oci.manifest import Kind, Manifest, kind_of_media_type
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import LEFT_BEHIND, is_placeholder
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["MOST_ELSEWHERE", "Checkup", "check_registry", "held_somewhere"]

_REPORT_EVERY = 0.1  # seconds
_REPOSITORIES_AT_ONCE = 4
MOST_ELSEWHERE = 2000  # requests for subjects in other repositories


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was read, and what is broken. `left_behind`: the tags that interrupted runs left on placeholders.

    `untagged` is what the registry's service lists without a tag, and no index lists; None where no service lists that.
    """

    findings: tuple[Finding, ...]
    repositories: int
    tags: int
    indexes: int
    seconds: float
    left_behind: tuple[tuple[Repository, Tag, Digest], ...] = ()
    untagged: ListedUntagged | None = None


@dataclass(slots=True)
class _CheckedRepository:
    """A repository that is being read. Of a manifest only what matters to others is kept."""

    repository: Repository
    tags: dict[Tag, Digest] = field(default_factory=dict)
    children: dict[Digest, dict[Digest, tuple[str, Kind]]] = field(default_factory=dict)
    subjects: dict[Digest, Digest] = field(default_factory=dict)
    read: set[Digest] = field(default_factory=set)
    absent: set[Digest] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def keep(self, manifest: Manifest) -> None:
        self.read.add(manifest.digest)
        if manifest.kind is Kind.INDEX:
            self.children[manifest.digest] = {
                child.digest: (child.platform, kind_of_media_type(child.media_type)) for child in manifest.children
            }
        if manifest.subject is not None:
            self.subjects[manifest.digest] = manifest.subject.digest

    def nested(self) -> Iterator[Digest]:
        """The children that may be indexes, and were not read yet."""
        for children in self.children.values():
            for digest, (_, kind) in children.items():
                if kind in (Kind.INDEX, Kind.UNKNOWN) and digest not in self.read and digest not in self.absent:
                    yield digest

    def missing_subjects(self) -> Iterator[Digest]:
        """The subjects of tags and manifests that this repository does not have."""
        named = (named_subject(tag) for tag in self.tags)
        yield from self.absent & {*self.subjects.values(), *(subject for subject in named if subject is not None)}

    def there(self) -> Set[Digest]:
        """The digests that were found in it."""
        return (self.read | {child for children in self.children.values() for child in children}) - self.absent

    def names(self) -> dict[Digest, list[Tag]]:
        """The tags of each digest."""
        found: dict[Digest, list[Tag]] = {}
        for tag, digest in sorted(self.tags.items()):
            found.setdefault(digest, []).append(tag)
        return found

    def finding(self, flaw: Flaw, what: str) -> Finding:
        return Finding(flaw, self.repository, what)

    def find(self, flaw: Flaw, what: str) -> None:
        self.findings.append(self.finding(flaw, what))


async def check_registry(
    registry: Registry,
    repositories: Sequence[Repository] | None = None,
    *,
    on_progress: Callable[[CrawlProgress], None] | None = None,
) -> Checkup:
    """Check the whole registry, or `repositories`. What cannot be read of a repository is a finding.

    Raises UnreachableError and LoginError, and what `Registry.repositories` raises.
    """
    work = _Check(registry, on_progress)
    started = time.monotonic()
    names = [name async for name in registry.repositories()] if repositories is None else list(repositories)
    work.known = len(names)
    await for_each(names, work.check, at_once=_REPOSITORIES_AT_ONCE)
    elsewhere = await work.find_elsewhere(names)
    work.findings += [finding for seen in work.seen for finding in _judged(seen, elsewhere)]
    order = {repository: place for place, repository in enumerate(names)}
    findings = sorted(work.findings, key=lambda found: order[Repository(found.repository)])
    return Checkup(
        tuple(findings),
        len(names),
        work.tags_done,
        work.indexes,
        time.monotonic() - started,
        tuple(work.left_behind),
        work.untagged,
    )


class _Check:
    def __init__(self, registry: Registry, on_progress: Callable[[CrawlProgress], None] | None) -> None:
        self.registry = registry
        self.findings: list[Finding] = []
        self.left_behind: list[tuple[Repository, Tag, Digest]] = []
        self.seen: list[_CheckedRepository] = []
        self.untagged: ListedUntagged | None = None
        self.known = self.done = self.tags_known = self.tags_done = self.indexes = 0
        self._on_progress = on_progress
        self._reported_at = 0.0

    async def check(self, repository: Repository) -> None:
        seen = _CheckedRepository(repository)

        async def read(tag: Tag) -> None:
            await self._read_tag(seen, tag)

        try:
            tags = await self.registry.tags(repository)
            self.tags_known += len(tags)
            await for_each(tags, read, at_once=self.registry.concurrency)
            await self._read_nested(seen)
            await self._check_others(seen)
            held = {child for children in seen.children.values() for child in children}
            self.untagged = await with_untagged(self.untagged, self.registry, repository, seen.read | held)
        except DregutilError as error:
            await _raise_if_lost(self.registry, error)
            seen.find(Flaw.UNREADABLE, error.message)
        self.findings += seen.findings
        self.seen.append(seen)
        self.indexes += len(seen.children)
        self.done += 1
        self._report()

    async def _read_tag(self, seen: _CheckedRepository, tag: Tag) -> None:
        try:
            # A tag may go between the list and this look; it is believed gone when it is twice not there.
            manifest = await self.registry.manifest(seen.repository, tag) or await self.registry.manifest(
                seen.repository, tag
            )
        except DregutilError as error:
            await _raise_if_lost(self.registry, error)
            seen.find(Flaw.UNREADABLE, f"{tag}: {error.message}")
        else:
            if manifest is None:
                seen.find(Flaw.DANGLING_TAG, f"{tag} is listed, but its manifest is not there")
            elif is_placeholder(manifest):
                seen.find(Flaw.LEFT_BEHIND, f"{tag}: {LEFT_BEHIND}")
                self.left_behind.append((seen.repository, tag, manifest.digest))
            else:
                seen.tags[tag] = manifest.digest
                seen.keep(manifest)
        self.tags_done += 1
        self._report()

    async def _read_nested(self, seen: _CheckedRepository) -> None:
        """Read the indexes within indexes, and what may be one."""

        async def read(digest: Digest) -> None:
            manifest = await self.registry.manifest(seen.repository, digest)
            if manifest is None:
                seen.absent.add(digest)
            else:
                seen.keep(manifest)

        pending = set(seen.nested())
        while pending:
            await for_each(sorted(pending), read, at_once=self.registry.concurrency)
            pending = set(seen.nested())

    async def _check_others(self, seen: _CheckedRepository) -> None:
        """Look for children, subjects, and the digests in names of signature tags, unless they were read."""

        async def look(digest: Digest) -> None:
            if await self.registry.resolve(seen.repository, digest) is None:
                seen.absent.add(digest)

        wanted = {child for children in seen.children.values() for child in children} | set(seen.subjects.values())
        wanted |= {subject for tag in seen.tags if (subject := named_subject(tag)) is not None}
        await for_each(sorted(wanted - seen.read - seen.absent), look, at_once=self.registry.concurrency)

    async def find_elsewhere(self, repositories: Sequence[Repository]) -> Set[Digest]:
        """The subjects that are not in the repository of their referrer, but in another one."""
        missing = {subject for seen in self.seen for subject in seen.missing_subjects()}
        found = {digest for seen in self.seen for digest in missing & seen.there()}
        return found | await held_somewhere(self.registry, missing - found, repositories)

    def _report(self) -> None:
        now = time.monotonic()
        if self._on_progress is not None and now - self._reported_at >= _REPORT_EVERY:
            self._reported_at = now
            self._on_progress(
                CrawlProgress(
                    self.done, self.known, self.tags_done, self.tags_known, catalog_complete=self.done == self.known
                )
            )


def _judged(seen: _CheckedRepository, elsewhere: Set[Digest]) -> Iterable[Finding]:
    """What is broken in a repository, after everything was looked for. `elsewhere`: subjects that other repositories
    have, as when cosign keeps signatures in a repository of their own."""
    orphaned = seen.absent - elsewhere
    name = seen.names()
    for tag in sorted(seen.tags):
        subject = named_subject(tag)
        if subject in orphaned:
            yield seen.finding(Flaw.ORPHANED_SIGNATURE, f"{tag}: {Digest(subject or '').short} is not there")
    for digest, subject in sorted(seen.subjects.items()):
        if subject in orphaned and not any(named_subject(tag) == subject for tag in name.get(digest, ())):
            what = f"{digest.short} ({', '.join(name.get(digest, ['untagged']))})"
            yield seen.finding(Flaw.ORPHANED_REFERRER, f"{what} refers to {subject.short}, which is not there")
    for digest, children in sorted(seen.children.items()):
        for child, (platform, _) in children.items():
            if child in seen.absent:
                what = f"{digest.short} ({', '.join(name.get(digest, ['untagged']))})"
                yield seen.finding(Flaw.MISSING_CHILD, f"{what} lacks {child.short} {platform}".rstrip())


async def held_somewhere(registry: Registry, digests: Set[Digest], repositories: Sequence[Repository]) -> Set[Digest]:
    """Those of `digests` that one of `repositories` has, found with at most 2,000 requests.

    A repository that cannot be read counts as not having them. Raises UnreachableError and LoginError.
    """
    found: set[Digest] = set()
    places = ((digest, repository) for digest in sorted(digests) for repository in repositories)

    async def ask(place: tuple[Digest, Repository]) -> None:
        digest, repository = place
        if digest in found:
            return
        try:
            if await registry.resolve(repository, digest) is not None:
                found.add(digest)
        except DregutilError as error:
            await _raise_if_lost(registry, error)

    await for_each(list(islice(places, MOST_ELSEWHERE)), ask, at_once=registry.concurrency)
    return found


async def _raise_if_lost(registry: Registry, error: DregutilError) -> None:
    """The failure of one repository is a finding. Raises it if the registry is lost, or accepts no login."""
    if isinstance(error, UnreachableError) and not isinstance(error, ThrottledError):
        raise error
    if isinstance(error, LoginError) and await ends_all(registry, error):
        raise error
