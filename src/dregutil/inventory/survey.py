"""A repository, read live: everything that a decision about it needs.

Reads with GET and HEAD only. What cannot be read is not guessed: it becomes the graph's `unjudgeable`, which keeps the
whole repository out of a plan. An unreachable registry or a refused login ends the survey with its own error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dregutil.errors import DeniedError, ManifestError, ProtocolError, RegistryError
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Descriptor, Kind, Manifest, contradicts_nothing, is_foreign
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.absence import denied_twice, manifest_of
from dregutil.registry.pull_counts import ListedTypes
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["survey_repository"]

_KEPT_AT_ONCE = 500  # manifests in a transaction of the content database
_MOST_DOUBTED = 100  # omitted tags that are looked up, beside those last seen on what may be deleted
_DEEPEST = 32  # nested indexes; more than two are unusual


async def survey_repository(
    registry: Registry,
    repository: Repository,
    digests: Iterable[Digest],
    *,
    known_tags: Mapping[Tag, Digest] | None = None,
    known_indexes: Iterable[Digest] = (),
    likely: Iterable[Tag] = (),
    seen: KnownManifests | None = None,
    check_blobs: bool = True,
    held: Iterable[Manifest] = (),
) -> RepositoryGraph:
    """Read what decides about `digests` of `repository`: all tags, all indexes, and what refers to them.

    `known_tags`: the tags of earlier reads. If the list omits one that resolves, the list is wrong; one that is listed
    and not found counts as being on its former digest. `known_indexes` are read although no tag names them, and so is
    what `seen` has above the digests. `likely`: tags that probably name the digests, so that one GET reads tag and
    manifest. `check_blobs`: look for the config and the layers of what may be deleted. `held`: manifests that are taken
    as present, and not read. Raises UnreachableError and LoginError.
    """
    survey = _Survey(registry, repository, frozenset(likely), known_tags or {}, seen or KnownManifests())
    survey.manifests.update((manifest.digest, manifest) for manifest in held)
    try:
        await survey.read(tuple(digests), tuple(known_indexes), check_blobs=check_blobs)
    except (RegistryError, ProtocolError, ManifestError, DeniedError) as error:
        return RepositoryGraph(repository, unjudgeable=f"it could not be read completely: {error.message}")
    return survey.graph()


class _Survey:
    def __init__(
        self,
        registry: Registry,
        repository: Repository,
        likely: frozenset[Tag],
        known: Mapping[Tag, Digest],
        seen: KnownManifests,
    ) -> None:
        self.registry = registry
        self.repository = repository
        self.likely = likely
        self.known = known
        self.seen = seen
        self.tags: dict[Tag, Digest] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.referrers: dict[Digest, tuple[Digest, ...]] = {}
        self.absent: set[Digest] = set()
        self.dangling: frozenset[Tag] = frozenset()  # listed, and not found twice
        self.missing_blobs: set[Digest] = set()
        self.blob_sizes: dict[Digest, int] = {}
        self.unjudgeable = ""
        self._listed = ListedTypes(registry, repository)
        self._images: dict[Digest, str] = {}  # those whose bytes were read, now or before, with their media types
        self._types: dict[Digest, str] = {}  # what HEAD said
        self._unkept: list[Manifest] = []

    def graph(self) -> RepositoryGraph:
        presumed = ((tag, self.known.get(tag)) for tag in self.dangling)
        return RepositoryGraph(
            self.repository,
            self.tags,
            self.manifests,
            self.referrers,
            frozenset(self.absent),
            self.dangling,
            self.unjudgeable,
            {tag: digest for tag, digest in presumed if digest is not None and digest not in self.absent},
            frozenset(self.missing_blobs),
            self.blob_sizes,
        )

    async def read(self, digests: Sequence[Digest], known_indexes: Sequence[Digest], *, check_blobs: bool) -> None:
        listed = await self.registry.tags(self.repository)
        self._images.update(self.seen.images(self.known[tag] for tag in listed if tag in self.known))
        if any(self.known.get(tag) not in self._images for tag in listed):
            await self._listed.read()  # before any GET
        self.dangling = frozenset(await denied_twice(listed, self._resolve_tags))
        await self._read_unread()
        presumed = (self.known[tag] for tag in self.dangling if tag in self.known)
        await self._read_manifests({*known_indexes, *presumed})
        await self._read_indexes()
        self._keep_read()
        company = await self._read_company(digests)
        await self._doubt_list(sorted(self.known.keys() - set(listed)), company)
        if check_blobs:
            await self._check_blobs(company)
        self._keep_read()
        if self.repository in self.registry.cached:
            self.unjudgeable = (
                "a cache answers there in the registry's place (`Age`, asked twice): ask the registry itself"
            )

    # Tags, and whether they name an image: its bytes prove that, or `ListedTypes` and the Content-Type of an answer
    # together.

    async def _resolve_tags(self, tags: Collection[Tag]) -> list[Tag]:
        """Resolve `tags`; returns those that name nothing."""
        denied: list[Tag] = []

        async def look(tag: Tag) -> None:
            if not await self._resolve_or_read(tag):
                denied.append(tag)

        await for_each(tags, look)
        return denied

    async def _resolve_or_read(self, tag: Tag) -> bool:
        """Read the manifest that a tag names, or only resolve it if it is an image that was read before.

        Returns whether the tag names anything.
        """
        if tag in self.likely or self._reads_whole(tag):
            manifest = await self.registry.manifest(self.repository, tag)
            if manifest is None:
                return False
            self.tags[tag] = manifest.digest
            if tag in self.likely or manifest.kind is not Kind.IMAGE:
                self._take(manifest)
            else:
                self._take_image(manifest)
            return True
        found = await self.registry.resolve(self.repository, tag)
        if found is None:
            return False
        self.tags[tag] = found.digest
        if self._types.setdefault(found.digest, found.media_type) != found.media_type:
            self._contradicted(found.digest, found.media_type, self._types[found.digest])
        return True

    def _reads_whole(self, tag: Tag) -> bool:
        digest = self.known.get(tag)
        return digest not in self._images and not self._listed.spares(digest)

    async def _read_unread(self) -> None:
        """Read the manifests of tags that were never read, and compare the types of the others with the known ones."""
        moved = self._types.keys() - self._images.keys()
        self._images.update(self.seen.images(moved))
        unread = [
            digest
            for digest, media_type in self._types.items()
            if self._images.get(digest) != media_type and not self._listed.show_image(digest, media_type)
        ]
        await self._read_manifests(unread)
        for digest in self._types.keys() & (self.manifests.keys() | self._images.keys()):
            found = self.manifests.get(digest)
            self._compare(digest, self._images.get(digest, "") if found is None else found.media_type)

    def _compare(self, digest: Digest, media_type: str) -> None:
        said = self._types[digest]
        if said != media_type and media_type and not contradicts_nothing(said):
            self._contradicted(digest, said, media_type)

    def _contradicted(self, digest: Digest, said: str, media_type: str) -> None:
        self.unjudgeable = f"{digest.short} is said to be {said!r} and {media_type!r}: what it holds is not certain"

    async def _doubt_list(self, omitted: Sequence[Tag], company: Collection[Digest]) -> None:
        """Look up tags that the list omits: all that were on what may be deleted, and some others, which may have moved
        there. A cache may have thousands that were deleted."""
        others = [tag for tag in omitted if self.known[tag] not in company]
        chosen = [tag for tag in omitted if self.known[tag] in company] + others[:_MOST_DOUBTED]

        async def ask(tag: Tag) -> None:
            if await self.registry.find(self.repository, tag) is not None:
                self.unjudgeable = f"the registry's list of tags omits '{tag}', which resolves"

        await for_each(chosen, ask)

    # Manifests

    async def _read_indexes(self) -> None:
        """Read every index that a tag names, those within them, and what is not known to be an image."""
        pending, seen = set(self.manifests), set[Digest]()
        for _ in range(_DEEPEST):
            await self._read_manifests(pending)
            seen |= pending
            pending = {
                child.digest
                for digest in pending
                if digest in self.manifests
                for child in self.manifests[digest].children
                if child.may_be_index
            } - seen
            if not pending:
                return
        raise ManifestError(f"indexes lie deeper than {_DEEPEST} within each other")

    async def _read_manifests(self, digests: Collection[Digest]) -> None:
        unread = set(digests) - self.manifests.keys() - self.absent
        await for_each(sorted(unread), self._read_manifest)

    async def _read_manifest(self, digest: Digest) -> None:
        manifest = await manifest_of(self.registry, self.repository, digest, self.tags)
        if manifest is None:
            self.absent.add(digest)
            return
        self._take(manifest)

    def _take(self, manifest: Manifest) -> None:
        self.manifests[manifest.digest] = manifest
        self._unkept.append(manifest)
        if manifest.labelled:
            self._contradicted(manifest.digest, manifest.labelled, manifest.media_type)
        elif manifest.kind is Kind.UNKNOWN:
            what = manifest.media_type or "(none)"
            self.unjudgeable = f"{manifest.digest.short} has the media type {what!r}, which may hold anything"

    def _take_image(self, manifest: Manifest) -> None:
        """Keep only the type of an image that stays: there may be very many."""
        self._images[manifest.digest] = manifest.media_type
        self._unkept.append(manifest)
        if manifest.labelled:
            self._contradicted(manifest.digest, manifest.labelled, manifest.media_type)
        if len(self._unkept) >= _KEPT_AT_ONCE:
            self._keep_read()

    def _keep_read(self) -> None:
        """Keep the manifests that were read, except mislabelled ones."""
        kept, self._unkept = self._unkept, []
        self.seen.keep([manifest for manifest in kept if not manifest.labelled])

    async def _read_company(self, digests: Sequence[Digest]) -> Collection[Digest]:
        """Read the digests and what may go with them, level by level: children, referrers, signatures. Returns all."""
        pending, seen = set(digests), set(digests)
        for _ in range(2 * _DEEPEST):
            await self._read_manifests(pending.union(self.seen.above(pending)))
            await for_each(sorted(pending & self.manifests.keys()), self._read_referrers)
            pending = set(self._company(pending)) - seen
            seen |= pending
            if not pending:
                break
        else:
            raise ManifestError(f"what refers to each other is a chain of more than {2 * _DEEPEST}")
        subjects = {manifest.subject.digest for manifest in self.manifests.values() if manifest.subject is not None}
        await for_each(sorted(subjects - self.manifests.keys()), self._note_if_absent)
        return seen

    def _company(self, digests: Iterable[Digest]) -> Iterator[Digest]:
        graph = self.graph()
        for digest in digests:
            manifest = self.manifests.get(digest)
            if manifest is None:
                continue
            yield from (child.digest for child in manifest.children)
            yield from (self.tags[tag] for tag in graph.tags_named_for(digest))
            yield from self.referrers.get(digest, ())

    async def _read_referrers(self, subject: Digest) -> None:
        found = await self.registry.referrers(self.repository, subject)
        if found is not None:
            self.referrers[subject] = tuple(descriptor.digest for descriptor in found)

    async def _note_if_absent(self, digest: Digest) -> None:
        if await self.registry.find(self.repository, digest) is None:
            self.absent.add(digest)

    # Blobs

    async def _check_blobs(self, digests: Iterable[Digest]) -> None:
        """Look for configs and layers: without them a manifest could not be put back."""
        wanted: dict[Digest, Descriptor] = {}
        for digest in digests:
            manifest = self.manifests.get(digest)
            if manifest is not None and manifest.kind is not Kind.SCHEMA1:  # that cannot be put back anyway
                wanted.update((blob.digest, blob) for blob in manifest.blobs if not is_foreign(blob))

        async def look(blob: Descriptor) -> None:
            size = await self.seen.blob(self.registry, self.repository, blob)
            if size is None:
                self.missing_blobs.add(blob.digest)
            elif size >= 0:
                self.blob_sizes[blob.digest] = size

        await for_each(wanted.values(), look)
