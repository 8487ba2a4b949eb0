"""A run's record, and the registry → what of the run can come back, while the registry has not collected its garbage.

Reads only. Every manifest that the run removed is looked for: is it there, where are its tags now, and can a byte of
each of its blobs still be read, here or in another repository from which it may be mounted? `run` carries it out.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dregutil.apply.cut_off import lost_when_cut_off
from dregutil.errors import DregutilError, PartialError, RefusedError
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import COLLECTED, chosen, removed_by
from dregutil.oci.manifest import Descriptor, Manifest
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.oci.placeholder import is_placeholder, stands_for_nothing
from dregutil.plan.outcome import Intent, LostTag
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each, gather_all

__all__ = ["UndoEntry", "UndoPlan", "plan_undo"]

_AT_ONCE = 16  # manifests looked at, in one repository
_OF_ANOTHER_RUN = "an interrupted run left '{}' on a placeholder: resume or undo that run first, or push the tag"


@dataclass(frozen=True, slots=True)
class UndoEntry:
    """One manifest of a run, and what is to be done about it.

    `tags` are to be put back; `moved` are left alone, since they name something else now. `is_there`: the manifest
    itself is in the registry. `mounts` are blobs that this repository has lost and another one still holds. `lost` says
    why the manifest cannot come back, or is empty; `unread`, why that is not known: a later undo may find out.
    """

    repository: Repository
    manifest: Manifest
    tags: tuple[Tag, ...]
    moved: tuple[Tag, ...] = ()
    is_there: bool = False
    mounts: tuple[tuple[Digest, Repository], ...] = ()
    lost: str = ""
    unread: str = ""

    @property
    def is_needed(self) -> bool:
        return bool(self.tags) or not self.is_there

    @property
    def may_come_back(self) -> bool:
        """Whether it is to be put back, and nothing is known that speaks against it."""
        return self.is_needed and not self.lost and not self.unread


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What of a run is to come back, in a safe order: a level needs nothing but the levels before it.

    `on_placeholders`, by repository: the intents whose tags may be on a placeholder that is still there. That is
    cleared away first. `lost`: tags that were to stay and that the run may have taken along when it was cut off.
    `images`: the only ones that are to come back, with what belongs to them; empty for all of the run.
    """

    run: str
    levels: Mapping[Repository, Sequence[Sequence[UndoEntry]]]
    on_placeholders: Mapping[Repository, Sequence[Intent]] = field(default_factory=dict)
    lost: tuple[LostTag, ...] = ()
    images: tuple[Reference, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return any(self.on_placeholders.values()) or any(entry.may_come_back for entry in self.entries)

    @property
    def entries(self) -> tuple[UndoEntry, ...]:
        return tuple(entry for levels in self.levels.values() for level in levels for entry in level)


async def plan_undo(
    registry: Registry,
    record: RunRecord,
    images: Sequence[Reference] = (),
    *,
    on_looked: Callable[[], None] | None = None,
) -> UndoPlan:
    """Read what is left of what a run removed, and say what can come back: all, or `images` with what belongs to them.

    `on_looked` is called after each manifest. Raises RefusedError if only some images are to come back, and the run was
    cut off with tags of that repository on a placeholder; DregutilError.
    """
    on_looked = on_looked or (lambda: None)
    everything = removed_by(record)
    removed = chosen(everything, images) if images else everything
    levels: dict[Repository, Sequence[Sequence[UndoEntry]]] = {}
    elsewhere: dict[Repository, list[Repository]] = defaultdict(list)
    for step in record.plan.steps:
        elsewhere[step.repository] += step.also_in
    limit = asyncio.Semaphore(registry.repositories_at_once)
    on_placeholders: dict[Repository, list[Intent]] = {}
    lost: list[LostTag] = []

    async def look(repository: Repository) -> None:
        async with limit:
            if not images:
                lost.extend(await _lost_with(registry, repository, record))
            others = tuple(dict.fromkeys((*elsewhere[repository], *everything)))
            moved = [one for one in record.intents if one.placeholder and one.repository == repository]
            own = frozenset(intent.placeholder for intent in moved)
            looking = _Look(registry, repository, removed[repository], others, own)
            levels[repository] = await looking.levels(on_looked)
            there = await looking.still_there(moved)
            if images and there:
                raise _on_placeholder(record.run, repository)
            on_placeholders[repository] = [*there, *looking.strays]

    await gather_all(look(repository) for repository in removed)
    in_order = {repository: levels[repository] for repository in removed}
    return UndoPlan(record.run, in_order, on_placeholders, tuple(lost), tuple(images))


def _on_placeholder(run: str, repository: Repository) -> RefusedError:
    return RefusedError(
        f"{run} was interrupted with tags of {repository} on a placeholder",
        advice=f"undo the whole run, or complete it with `dregutil apply --resume {run}`",
    )


async def _lost_with(registry: Registry, repository: Repository, record: RunRecord) -> Sequence[LostTag]:
    """What the run may have taken along when it was cut off. Where that cannot be read, what it removed comes back all
    the same."""
    if repository not in record.unanswered:
        return ()
    try:
        return await lost_when_cut_off(registry, repository, record.unanswered[repository])
    except DregutilError as error:
        if await ends_all(registry, error):
            raise
        return ()


def _levels_of(manifests: Mapping[Digest, Manifest]) -> list[list[Digest]]:
    """The digests in levels: children before their indexes, subjects before what refers to them."""
    depth: dict[Digest, int] = {}

    def measure(digest: Digest, above: frozenset[Digest]) -> int:
        if digest not in depth:
            manifest = manifests[digest]
            needs = [child.digest for child in manifest.children]
            if manifest.subject is not None:
                needs.append(manifest.subject.digest)
            inner = [measure(need, above | {digest}) for need in needs if need in manifests and need not in above]
            depth[digest] = 1 + max(inner, default=-1)
        return depth[digest]

    for digest in manifests:
        measure(digest, frozenset((digest,)))
    levels: list[list[Digest]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for digest in manifests:
        levels[depth[digest]].append(digest)
    return levels


class _Look:
    """What one repository shows of what was removed from it.

    `others` are repositories that may still have a blob which this one lost. `placeholders` are those that the record
    names; `strays` are the intents whose tags are on one that it does not name.
    """

    def __init__(
        self,
        registry: Registry,
        repository: Repository,
        intents: Sequence[Intent],
        others: Sequence[Repository],
        placeholders: frozenset[Digest | None],
    ) -> None:
        self.registry = registry
        self.repository = repository
        self.others = [other for other in others if other != repository]
        self.intents = {intent.manifest.digest: intent for intent in intents}
        self.placeholders = placeholders
        self.listed: frozenset[Tag] = frozenset()
        self.strays: list[Intent] = []
        self._holders: dict[Digest, asyncio.Task[Repository | None]] = {}
        self.found: dict[Digest, UndoEntry] = {}

    async def levels(self, on_looked: Callable[[], None]) -> list[list[UndoEntry]]:
        """Look at all of it, in the order in which it is put back: what needs a lost child is lost too."""

        async def look(digest: Digest) -> None:
            if is_placeholder(self.intents[digest].manifest):
                self.found[digest] = self._placeholder(digest)
            else:
                try:
                    await self._look(digest)
                except DregutilError as error:
                    if await ends_all(self.registry, error):
                        raise
                    self.found[digest] = self._unread(digest, error.message)
            on_looked()

        levels = _levels_of({digest: intent.manifest for digest, intent in self.intents.items()})
        # A tag that is not listed is taken to be free: it is asked for by name just before it is put.
        try:
            self.listed = frozenset(await self.registry.tags(self.repository))
        except DregutilError as error:
            if await ends_all(self.registry, error):
                raise
            self.found = {digest: self._unread(digest, error.message) for digest in self.intents}
            return [[self.found[digest] for digest in level] for level in levels]
        for level in levels:
            await for_each(level, look, at_once=_AT_ONCE)
        return [[self.found[digest] for digest in level] for level in levels]

    def _unread(self, digest: Digest, why: str) -> UndoEntry:
        intent = self.intents[digest]
        return UndoEntry(self.repository, intent.manifest, intent.tags, unread=why)

    def _placeholder(self, digest: Digest) -> UndoEntry:
        """What 2.0.0 took for an image. Its tags are that run's, which left it behind."""
        intent = self.intents[digest]
        why = "it was no image, but left by an interrupted run: undo that one"
        return UndoEntry(self.repository, intent.manifest, intent.tags, lost=why)

    async def _look(self, digest: Digest) -> None:
        intent = self.intents[digest]
        tags, moved = [], []
        is_there = False
        for tag in intent.tags:
            found = await self.registry.resolve(self.repository, tag) if tag in self.listed else None
            if found is None or found.digest in self.placeholders:
                tags.append(tag)
            elif found.digest == digest:
                is_there = True
            elif await self._is_stray(found.digest, tag, intent):
                tags.append(tag)
            else:
                moved.append(tag)
        is_there = is_there or await self.registry.find(self.repository, digest) is not None
        is_needed = bool(tags) or not is_there
        lost, unread = await self._loss(intent.manifest) if is_needed else ("", "")
        mounts = await self._mounts(intent.manifest) if is_needed and not lost and not unread else ()
        self.found[digest] = UndoEntry(
            self.repository, intent.manifest, tuple(tags), tuple(moved), is_there, mounts, lost, unread
        )

    async def still_there(self, intents: Sequence[Intent]) -> list[Intent]:
        """Those of the intents whose placeholder is still in the registry, or may be."""
        placeholders = dict.fromkeys(intent.placeholder for intent in intents if intent.placeholder is not None)
        there = [one for one in placeholders if await self._may_be_there(one)]
        return [intent for intent in intents if intent.placeholder in there]

    async def _may_be_there(self, digest: Digest) -> bool:
        try:
            return await self.registry.find(self.repository, digest) is not None
        except DregutilError as error:
            if await ends_all(self.registry, error):
                raise
            return True

    async def _is_stray(self, digest: Digest, tag: Tag, intent: Intent) -> bool:
        """Whether a tag is on a placeholder that an undo, which was cut off, left under it.

        Raises PartialError where it is the placeholder of another run: only that run knows what the tag stands for.
        """
        manifest = await self.registry.manifest(self.repository, digest)
        if not is_placeholder(manifest):
            return False
        if not stands_for_nothing(manifest):
            raise PartialError(_OF_ANOTHER_RUN.format(tag))
        self.strays.append(replace(intent, tags=(tag,), placeholder=digest))
        return True

    async def _mounts(self, manifest: Manifest) -> tuple[tuple[Digest, Repository], ...]:
        """The blobs that only another repository still has, and which."""
        holders = [(blob.digest, await self._holder(blob)) for blob in manifest.blobs if not blob.urls]
        return tuple((blob, holder) for blob, holder in holders if holder is not None and holder != self.repository)

    async def _loss(self, manifest: Manifest) -> tuple[str, str]:
        """Why a manifest cannot come back, or nothing; and why that is not known."""
        unread = ""
        for child in manifest.children:
            below = self.found.get(child.digest)
            if below is not None and below.lost:
                return f"its child {child.digest.short} cannot come back", ""
            if below is not None and below.unread:
                unread = f"its child {child.digest.short}: {below.unread}"
            if below is None:
                missing = await self._missing(child)
                if missing is not None:
                    return f"its child {missing.short} is not there, and was not removed by this run", ""
        native = self.registry.native
        if native is not None and native.service is not None and native.service.restores:
            return "", unread  # it may bring back the blobs as well
        for blob in manifest.blobs:
            if not blob.urls and await self._holder(blob) is None:
                return f"its blob {blob.digest.short} is gone: {COLLECTED}", ""
        return "", unread

    async def _missing(self, child: Descriptor) -> Digest | None:
        """What is missing of a child that the run left alone, itself or below it; None where it is whole."""
        if not child.may_be_index:
            return None if await self.registry.resolve(self.repository, child.digest) is not None else child.digest
        manifest = await self.registry.manifest(self.repository, child.digest)
        if manifest is None:
            return child.digest
        for below in manifest.children:
            found = self.found.get(below.digest)
            missing = await self._missing(below) if found is None else below.digest if found.lost else None
            if missing is not None:
                return missing
        return None

    async def _holder(self, blob: Descriptor) -> Repository | None:
        """The repository from which a byte of the blob can be read: this one, else another that may be mounted from.

        Asked once for each blob, however many images share it and wait for the answer.
        """
        if blob.digest not in self._holders:
            self._holders[blob.digest] = asyncio.ensure_future(self._find_holder(blob))
        return await self._holders[blob.digest]

    async def _find_holder(self, blob: Descriptor) -> Repository | None:
        for repository in (self.repository, *self.others):
            if await self.registry.has_bytes(repository, blob):
                return repository
        return None
