"""What can come back → registry: puts manifests and tags where they were before a run removed them.

`plan` found what can come back. Children come first (deepest first), then indexes, tags, referrers. Two servers
report success falsely after their garbage collection (a manifest is accepted, and its layers are gone): so what was put
is read back, and a byte of every blob is really read: by the look that made the plan, and here once more afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dregutil.apply.clearing import clear_placeholders
from dregutil.apply.placeholder import remove_dangling
from dregutil.apply.put_back import Guard, if_free_or_on, put_back_tags, put_back_unread
from dregutil.apply.undo.plan import UndoEntry, UndoPlan
from dregutil.errors import DregutilError
from dregutil.oci.manifest import Descriptor
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent
from dregutil.registry.absence import denied_again
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each, gather_all
from dregutil.registry.writer import WritableRegistry

__all__ = ["RestoreRecorder", "UndoResult", "UndoRun", "apply_undo"]

_AT_ONCE = 16  # manifests put, or blobs read, in one repository
_BY_TAG = "sha256"  # the algorithm of the digest that a manifest has when it is put by a tag
_FALSE_SUCCESS = (
    "the registry accepted its manifest and does not have it: its memory is of before its garbage collection, "
    "restart it and undo again"
)


class UndoResult:
    """What became of an entry. THERE: there was nothing to do. LOST: it, or something that it needs, cannot come back.
    FAILED: it could not be put. LEFT: what it needs could not be read, so that a later undo may still put it."""

    RESTORED = "restored"
    THERE = "there"
    LOST = "lost"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class UndoRun:
    """What became of each entry: its result, one of `UndoResult`'s, and why. `moved` are tags that another user pushed
    between the look and the put: they are left alone. `repaired` and `unclear` are tags of others that were on a
    placeholder: with what they name now, or may stand for. `id` names its record; `interrupted`: it was stopped."""

    entries: tuple[tuple[UndoEntry, str, str], ...]
    error: DregutilError | None = None
    moved: tuple[tuple[Repository, Tag], ...] = ()
    repaired: tuple[tuple[Repository, Tag, Digest], ...] = ()
    unclear: tuple[tuple[Repository, Tag, tuple[Digest, ...]], ...] = ()
    id: str = ""
    interrupted: bool = False

    @classmethod
    def joined(cls, runs: Sequence[UndoRun]) -> UndoRun:
        """Several undos as one; `id` and `error` are those of the first that has any."""
        return cls(
            tuple(entry for run in runs for entry in run.entries),
            next((run.error for run in runs if run.error is not None), None),
            tuple(tag for run in runs for tag in run.moved),
            tuple(one for run in runs for one in run.repaired),
            tuple(one for run in runs for one in run.unclear),
            next((run.id for run in runs if run.id), ""),
            any(run.interrupted for run in runs),
        )

    @property
    def is_open(self) -> bool:
        """Whether a later undo may put back more."""
        return self.error is not None or bool(self.unclear) or bool(self.of(UndoResult.LEFT))

    @property
    def restored(self) -> tuple[UndoEntry, ...]:
        """What was put back."""
        return self.of(UndoResult.RESTORED)

    def of(self, result: str) -> tuple[UndoEntry, ...]:
        return tuple(entry for entry, found, _ in self.entries if found == result)


class RestoreRecorder(Protocol):
    """Who keeps the record of an undo."""

    def restored(self, repository: Repository, digest: Digest, tags: Iterable[Tag], why: str = "") -> None:
        """Note that a manifest was put back with these tags, or why it was not."""


async def apply_undo(
    registry: Registry,
    plan: UndoPlan,
    *,
    recorder: RestoreRecorder | None = None,
    stop: asyncio.Event | None = None,
    on_put: Callable[[], None] | None = None,
) -> UndoRun:
    """Carry out what `plan_undo` found. What fails is a result; what ends it early is the run's `error`.

    Once `stop` is set, no other manifest is begun. `on_put` is called after each manifest that was put.
    """
    work = _PutBack(WritableRegistry.of(registry), recorder, stop or asyncio.Event(), on_put or (lambda: None))
    limit = asyncio.Semaphore(registry.repositories_at_once)

    async def one(repository: Repository) -> None:
        async with limit:
            await work.repository(repository, plan.levels[repository], plan.on_placeholders.get(repository, ()))

    await gather_all(one(repository) for repository in plan.levels)
    place = {(entry.repository, entry.manifest.digest): number for number, entry in enumerate(plan.entries)}
    work.results.sort(key=lambda result: place[result[0].repository, result[0].manifest.digest])
    return UndoRun(tuple(work.results), work.error, tuple(work.moved), tuple(work.repaired), tuple(work.unclear))


class _PutBack:
    """The putting back in all repositories: what became of each entry, and what ended it early."""

    def __init__(
        self,
        registry: WritableRegistry,
        recorder: RestoreRecorder | None,
        stop: asyncio.Event,
        on_put: Callable[[], None],
    ) -> None:
        self.registry = registry
        self.recorder = recorder
        self.stop = stop
        self.on_put = on_put
        self.results: list[tuple[UndoEntry, str, str]] = []
        self.moved: list[tuple[Repository, Tag]] = []
        self.repaired: list[tuple[Repository, Tag, Digest]] = []
        self.unclear: list[tuple[Repository, Tag, tuple[Digest, ...]]] = []
        self.error: DregutilError | None = None
        self._listed: set[tuple[Repository, Digest]] = set()  # by an index that comes back
        self._has_denied = False  # the registry, what it had accepted

    async def repository(
        self, repository: Repository, levels: Sequence[Sequence[UndoEntry]], on_placeholders: Sequence[Intent]
    ) -> None:
        """Put back what one repository lost. No answer, no login or no record ends it in all repositories."""
        entries = (entry for level in levels for entry in level)
        self._listed |= {(repository, child.digest) for entry in entries for child in entry.manifest.children}
        try:
            await self._clear(repository, on_placeholders)
            put: list[UndoEntry] = []
            missing: set[Digest] = set()
            for level in levels:
                await for_each(level, lambda entry: self._one(entry, put, missing), at_once=_AT_ONCE)
            await self._look_after(repository, put)
        except DregutilError as error:
            self.error = self.error or error
            self.stop.set()

    async def _clear(self, repository: Repository, on_placeholders: Sequence[Intent]) -> None:
        """Clear the placeholders away. Where one cannot be, what is not on it comes back all the same."""
        try:
            cleared = await clear_placeholders(self.registry, repository, on_placeholders)
        except DregutilError as error:
            if await ends_all(self.registry, error):
                raise
            self.error = self.error or error
            return
        self.repaired += [(repository, tag, digest) for tag, digest in sorted(cleared.repaired.items())]
        self.unclear += [(repository, tag, digests) for tag, digests in sorted(cleared.unclear.items())]

    async def _one(self, entry: UndoEntry, put: list[UndoEntry], missing: set[Digest]) -> None:
        if self.stop.is_set():
            return
        digest = entry.manifest.digest
        if entry.unread:
            missing.add(digest)
            self._note(entry, UndoResult.LEFT, entry.unread)
        elif entry.lost or any(child.digest in missing for child in entry.manifest.children):
            missing.add(digest)
            self._note(entry, UndoResult.LOST, entry.lost or "a child of it could not be put back")
        elif not entry.is_needed:
            self._note(entry, UndoResult.THERE)
        else:
            try:
                await self._put(entry)
            except DregutilError as error:
                if await ends_all(self.registry, error):
                    raise
                missing.add(digest)
                self._note(entry, UndoResult.FAILED, error.message)
                return
            put.append(entry)
            self.on_put()

    async def _put(self, entry: UndoEntry) -> None:
        manifest = entry.manifest
        if not entry.is_there:
            await self.registry.restore(entry.repository, manifest.digest, entry.tags)
        for blob, holder in entry.mounts:
            if not await self.registry.mount_blob(entry.repository, blob, holder):
                raise DregutilError(f"its blob {blob.short} is gone here, and could not be brought from {holder}")
        # zot 1.4.3 drops what was put by a tag alone when that tag moves, although an index lists it.
        by_tag = manifest.digest.algorithm == _BY_TAG and (entry.repository, manifest.digest) not in self._listed
        if not by_tag:
            await put_back_unread(self.registry, entry.repository, manifest)
        put = await put_back_tags(
            self.registry, entry.repository, manifest, entry.tags, guard=self._unless_moved(manifest.digest)
        )
        if by_tag and not put:
            await put_back_unread(self.registry, entry.repository, manifest)
        reference = put[0] if put and by_tag else manifest.digest
        if await self._is_denied(entry.repository, reference):
            await self._take_away(entry, put)
            raise DregutilError(_FALSE_SUCCESS)

    async def _is_denied(self, repository: Repository, reference: Tag | Digest) -> bool:
        """Whether what was just put is not there. A replica may not have heard of it yet: it is asked for once more,
        until one such answer has stayed the same."""

        async def read(references: Collection[Tag | Digest]) -> Collection[Tag | Digest]:
            return [one for one in references if await self.registry.manifest(repository, one) is None]

        denied = await read((reference,))
        if not self._has_denied:
            denied = await denied_again(denied, read)
        self._has_denied = self._has_denied or bool(denied)
        return bool(denied)

    def _unless_moved(self, digest: Digest) -> Guard:
        """Leaves a tag that names something else by now, since it was pushed after `plan_undo` looked, and notes it."""
        is_free = if_free_or_on(digest)

        async def guard(registry: WritableRegistry, repository: Repository, tag: Tag) -> bool:
            may_put = await is_free(registry, repository, tag)
            if not may_put:
                self.moved.append((repository, tag))
            return may_put

        return guard

    async def _take_away(self, entry: UndoEntry, tags: Sequence[Tag]) -> None:
        """The tags that a false success left dangling."""
        for tag in tags:
            with suppress(DregutilError):
                await remove_dangling(self.registry, entry.repository, tag)

    async def _look_after(self, repository: Repository, put: Sequence[UndoEntry]) -> None:
        """Read a byte of every blob once more: only then is an image back."""
        blobs = {blob.digest: blob for entry in put for blob in entry.manifest.blobs if not blob.urls}
        broken: dict[Digest, tuple[str, str]] = {}

        async def look(blob: Descriptor) -> None:
            try:
                if not await self.registry.has_bytes(repository, blob):
                    broken[blob.digest] = (UndoResult.LOST, f"its blob {blob.digest.short} cannot be read")
            except DregutilError as error:
                if await ends_all(self.registry, error):
                    raise
                broken[blob.digest] = (UndoResult.FAILED, f"whether it is whole is not known: {error.message}")

        await for_each(blobs.values(), look, at_once=_AT_ONCE)
        for entry in put:
            gone = [broken[blob.digest] for blob in entry.manifest.blobs if blob.digest in broken]
            unlisted = "" if gone else await self._unlisted(entry)
            failed = [(UndoResult.FAILED, unlisted)] if unlisted else []
            self._note(entry, *(gone or failed or [(UndoResult.RESTORED, "")])[0])

    async def _unlisted(self, entry: UndoEntry) -> str:
        """Why a referrer that was put is not listed as one, where the registry lists them; it is put once more first.

        olareg keeps one list a subject, and loses what is put at the same time by another client. Raises DregutilError.
        """
        subject = entry.manifest.subject
        if subject is None:
            return ""
        for attempt in range(2):
            listed = await self.registry.referrers(entry.repository, subject.digest)
            if listed is None or any(found.digest == entry.manifest.digest for found in listed):
                return ""
            if attempt == 0:
                await put_back_unread(self.registry, entry.repository, entry.manifest)
        return f"the registry does not list it as a referrer of {subject.digest.short}"

    def _note(self, entry: UndoEntry, result: str, why: str = "") -> None:
        self.results.append((entry, result, why))
        if self.recorder is not None and result != UndoResult.THERE:
            self.recorder.restored(entry.repository, entry.manifest.digest, entry.tags, why)
