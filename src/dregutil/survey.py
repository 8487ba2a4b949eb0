"""A repository, read live: everything that a decision about it must know.

Reads with GET and HEAD only. What cannot be read is not guessed: it becomes the graph's `trouble`, which keeps the
whole repository out of a plan. An unreachable registry or a refused login ends the survey with its own error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from dregutil.errors import DeniedError, ManifestError, ProtocolError, RegistryError
from dregutil.graph import RepositoryGraph
from dregutil.manifest import Kind, Manifest, kind_of_media_type
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.client import Registry
from dregutil.workers import for_each

__all__ = ["KnownParents", "no_parents", "survey_repository"]

KnownParents = Callable[[Collection[Digest]], Collection[Digest]]


def no_parents(_: Collection[Digest]) -> Collection[Digest]:
    """Nothing is known of indexes that no tag names."""
    return ()


async def survey_repository(
    registry: Registry,
    repository: Repository,
    digests: Iterable[Digest],
    *,
    known_tags: Iterable[Tag] = (),
    known_indexes: Iterable[Digest] = (),
    likely: Iterable[Tag] = (),
    known_parents: KnownParents = no_parents,
) -> RepositoryGraph:
    """Read what decides about `digests` of `repository`: all tags, all indexes, and what refers to them.

    `known_tags` are those that earlier readings saw: one that the list omits and that yet resolves proves the list
    wrong. `known_indexes` are looked up although no tag names them, and so is what `known_parents` says of digests.
    `likely` tags are thought to name the digests: one GET then reads tag and manifest in one. Raises UnreachableError
    and LoginError.
    """
    survey = _Survey(registry, repository, frozenset(likely), known_parents)
    try:
        await survey.read(tuple(digests), tuple(known_tags), tuple(known_indexes))
    except (RegistryError, ProtocolError, ManifestError, DeniedError) as error:
        return RepositoryGraph(repository, trouble=f"it could not be read whole: {error.message}")
    return survey.graph()


class _Survey:
    def __init__(
        self, registry: Registry, repository: Repository, likely: frozenset[Tag], known_parents: KnownParents
    ) -> None:
        self.registry = registry
        self.repository = repository
        self.likely = likely
        self.known_parents = known_parents
        self.tags: dict[Tag, Digest] = {}
        self.kinds: dict[Digest, Kind] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.referrers: dict[Digest, tuple[Digest, ...]] = {}
        self.absent: set[Digest] = set()
        self.dangling: set[Tag] = set()
        self.trouble = ""

    def graph(self) -> RepositoryGraph:
        return RepositoryGraph(
            self.repository,
            self.tags,
            self.manifests,
            self.referrers,
            frozenset(self.absent),
            frozenset(self.dangling),
            self.trouble,
        )

    async def read(self, digests: Sequence[Digest], known_tags: Sequence[Tag], known_indexes: Sequence[Digest]) -> None:
        listed = await self.registry.tags(self.repository)
        await for_each(listed, self._resolve)
        await self._doubt_list(sorted(set(known_tags) - set(listed)))
        await self._read_manifests(known_indexes)
        await self._read_indexes()
        await self._read_company(digests)

    async def _resolve(self, tag: Tag) -> None:
        if tag in self.likely:
            manifest = await self.registry.manifest(self.repository, tag)
            if manifest is not None:
                self.tags[tag] = manifest.digest
                self.kinds[manifest.digest] = manifest.kind
                self._keep(manifest)
                return
        found = await self.registry.resolve(self.repository, tag) or await self.registry.resolve(self.repository, tag)
        if found is None:
            self.dangling.add(tag)
            return
        self.tags[tag] = found.digest
        self.kinds[found.digest] = kind_of_media_type(found.media_type)

    async def _doubt_list(self, omitted: Sequence[Tag]) -> None:
        async def ask(tag: Tag) -> None:
            if await self.registry.resolve(self.repository, tag) is not None:
                self.trouble = f"the registry's list of tags omits '{tag}', which resolves"

        await for_each(omitted, ask)

    async def _read_indexes(self) -> None:
        """Every index that a tag names, and those within them; and whatever is not known to be an image."""
        pending = {digest for digest, kind in self.kinds.items() if kind in (Kind.INDEX, Kind.UNKNOWN)}
        pending |= self.manifests.keys()
        seen: set[Digest] = set()
        while pending:
            await self._read_manifests(pending)
            seen |= pending
            pending = {
                child.digest
                for digest in pending
                if digest in self.manifests
                for child in self.manifests[digest].children
                if child.may_be_index
            } - seen

    async def _read_manifests(self, digests: Collection[Digest]) -> None:
        unread = set(digests) - self.manifests.keys() - self.absent
        await for_each(sorted(unread), self._read_manifest)

    async def _read_manifest(self, digest: Digest) -> None:
        manifest = await self.registry.manifest(self.repository, digest)
        if manifest is None:
            self.absent.add(digest)
            return
        self._keep(manifest)

    def _keep(self, manifest: Manifest) -> None:
        self.manifests[manifest.digest] = manifest
        if manifest.kind is Kind.UNKNOWN:
            what = manifest.media_type or "(none)"
            self.trouble = f"{manifest.digest.short} has the media type {what!r}, which may hold anything"

    async def _read_company(self, digests: Sequence[Digest]) -> None:
        """The digests, and what could go with them: children, referrers, signatures; level by level."""
        pending, seen = set(digests), set(digests)
        while pending:
            await self._read_manifests(pending.union(self.known_parents(pending)))
            await for_each(sorted(pending & self.manifests.keys()), self._read_referrers)
            pending = set(self._company(pending)) - seen
            seen |= pending
        subjects = {manifest.subject.digest for manifest in self.manifests.values() if manifest.subject is not None}
        await for_each(sorted(subjects - self.manifests.keys()), self._look_for)

    def _company(self, digests: Iterable[Digest]) -> Iterator[Digest]:
        graph = self.graph()
        for digest in digests:
            manifest = self.manifests.get(digest)
            if manifest is None:
                continue
            yield from (child.digest for child in manifest.children)
            yield from (self.tags[tag] for tag in graph.signature_tags_of(digest))
            yield from self.referrers.get(digest, ())

    async def _read_referrers(self, subject: Digest) -> None:
        found = await self.registry.referrers(self.repository, subject)
        if found is not None:
            self.referrers[subject] = tuple(descriptor.digest for descriptor in found)

    async def _look_for(self, digest: Digest) -> None:
        if await self.registry.resolve(self.repository, digest) is None:
            self.absent.add(digest)
