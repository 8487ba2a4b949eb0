"""The looks between a repository's DELETEs: which tags came, which moved, and which went with what was deleted.

DELETEs are sent in batches. Before each batch the tags are listed; names that are new are asked for, and, where they
are few, all that stay. After it they are listed again: a name that was to stay and is missing was moved onto something
that the batch deleted. It is put back at once where only one digest can be meant and the registry deletes no tags
by name; else it is named. A name that was never listed before, and is pushed between the list and the DELETE of
its digest, goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from dregutil import clock
from dregutil.apply.live_graph import LiveReading
from dregutil.apply.put_back import if_free_or_on, put_back
from dregutil.apply.run import Run, ends_run
from dregutil.apply.steps import Steps, StepState
from dregutil.apply.taken_along import put_back_taken_along
from dregutil.errors import (
    DeniedError,
    DregutilError,
    ManifestError,
    ProtocolError,
    RegistryError,
)
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import LostTag, Result
from dregutil.registry.absence import denied_again
from dregutil.registry.workers import for_each

__all__ = ["Looks", "batch_seconds"]

_BATCH = 1.0  # seconds of DELETEs on one look
_LONGEST_BATCH = 10.0
_LOOK_COST = 6.0  # looks take no more than about a seventh of the time
_BY_NAME = "unless somebody deleted the tag by its name, as this registry can"
_ELSEWHERE = "it names something else now, or a replica is behind"
_OLD_LIST = "unless the list is old, since it still has what was deleted"
_HELD_UP = 30.0  # seconds
_FEW_STAYING = 500  # tags that are all asked for before each batch


def batch_seconds(took: float) -> float:
    """Seconds in which DELETEs may follow a look that took so long (seconds)."""
    return min(max(_BATCH, _LOOK_COST * took), _LONGEST_BATCH)


class Looks:
    """What is looked at in one repository, whose `steps` are carried out meanwhile."""

    def __init__(self, run: Run, repository: Repository, live: LiveReading, steps: Steps) -> None:
        self.at = 0.0  # of the last look, by `clock.now`
        self.until = 0.0  # no DELETE is begun after this
        self._ended = 0.0  # when the last look ended
        self.one_by_one = False  # a tag was lost that several digests could have had
        self._run = run
        self._registry = run.registry
        self._repository = repository
        self._live = live
        self._steps = steps
        self._staying: dict[Tag, Digest] = {}
        self._known: set[Tag] = set()  # names that were listed before
        self._asked_at = 0.0  # when all that stay were asked for
        self._taken_at = 0.0  # the moment of the whole reading that was taken in last
        self._noted: set[Tag] = set()  # those that stay, as far as the record names them
        self._counted: set[Digest] = set()  # of what was removed, what an earlier look has answered for
        self._by_name: bool | None = None  # whether tags can be deleted by name; None: not asked yet
        self._untagged: dict[Digest, StepState] = {}  # digests that stay, of tags that went alone
        self._came: dict[Tag, Digest] = {}  # tags that came or moved, until `take_came`

    def begin(self) -> None:
        """Take the live reading for a look."""
        self._take_reading()
        self._came = {}
        self._note_between()
        self._looked(self._live.read_at, self._live.read_at + self._live.took + self._after_reading())

    def note_gap(self) -> None:
        """Note how long ago the last look was: a DELETE is about to be sent."""
        self._run.longest_gap = max(self._run.longest_gap, clock.now() - self.at)

    def note_untagged(self, state: StepState) -> None:
        """A tag went by way of a placeholder: a tag that was copied from it meanwhile went too."""
        self._untagged[state.step.digest] = state

    def take_came(self) -> Mapping[Tag, Digest]:
        """The tags that came or moved since this was called before."""
        found, self._came = self._came, {}
        return found

    @property
    def is_over(self) -> bool:
        """Whether the last look is too old for another DELETE."""
        return clock.now() > self.until

    @property
    def is_stale(self) -> bool:
        """Whether a DELETE that was begun in time was held up since, for so long that it must not be sent any more."""
        return clock.now() > max(self.until, self._ended) + _HELD_UP

    async def look(self) -> None:
        """List the tags, put back what went with the last batch, and take in what came or moved.

        Where that cannot be read, the repository is read whole, which says why. Raises DregutilError.
        """
        try:
            await self._look()
        except (RegistryError, ProtocolError, ManifestError, DeniedError):
            await self._read_between()

    async def _look(self, *, at_all: bool = False) -> None:
        """`at_all`: all tags that stay are asked for, however many they are."""
        started = clock.now()
        listed, missing = await self._list()
        wanted = missing | (listed - self._known) | (listed & self._just_removed())
        is_due = len(self._staying) <= _FEW_STAYING and (not self.one_by_one or started - self._asked_at > _BATCH)
        if at_all or is_due:
            wanted |= self._staying.keys()
            self._asked_at = started
        others = listed - self._live.own_tags
        found = await self._ask_again(wanted, others)
        self._known = {tag for tag in listed if tag not in wanted & others or found[tag] is not None}
        await self._repair({tag for tag in missing if found[tag] is None})
        if any(found[tag] is not None for tag in missing):
            await self._read_between()  # the list omits what is there: nothing here is believed
            return
        changed = {tag: now for tag, now in found.items() if now is not None and self._staying.get(tag) != now}
        if changed:
            await self._live.update(changed)
            self._stay(changed)
        ended = clock.now()
        self._looked(started, ended + batch_seconds(ended - started))
        self._count()

    async def finish(self) -> tuple[Tag, ...]:
        """After the last DELETE: put back what went with it. Returns the listed tags. Raises DregutilError."""
        listed, missing = await self._list()
        found = await self._ask(missing)
        gone = {tag for tag in missing if found[tag] is None}
        await self._repair(gone)
        return tuple(sorted(listed | (gone & self._staying.keys())))

    async def read_again(self) -> None:
        """Read the repository whole: DELETEs may follow it as they follow a look. Raises DregutilError.

        It answers for nothing that was deleted: it may be made while DELETEs are in flight, and what is missing in it
        may have gone with one of those. The next look says so.
        """
        await self._live.read_again()
        self._take_reading()
        self._looked(self._live.read_at, clock.now() + self._after_reading())

    async def after_sweep(self, taken: Collection[StepState]) -> None:
        """Look at all tags after many went at once: what went with them is one of `taken`, or a copy of one.

        What the digests hold is known, and whether they are still there their DELETEs say. Raises DregutilError.
        """
        swept = {tag for state in taken if state.is_swept for tag in state.step.tags}
        self._untagged.update((state.step.digest, state) for state in taken)
        self._known -= swept  # pushed again, such a name is new
        self._live.forget(swept)
        try:
            await self._look(at_all=True)
        except (RegistryError, ProtocolError, ManifestError, DeniedError):
            await self._read_between()

    async def after_broken_sweep(self, taken: Collection[StepState]) -> None:
        """Read again after a sweep that the registry refused: what it has done of it is not known."""
        self._untagged.update((state.step.digest, state) for state in taken)
        await self._read_between()

    async def _read_between(self) -> None:
        """Read the repository whole while no DELETE is in flight, and put back what went with those before."""
        await self.read_again()
        graph = self._live.graph
        if not graph.unjudgeable:
            await self._repair(self._staying.keys() - graph.tags.keys() - graph.dangling)
            self._count()

    async def check_copies(self, placeholder: Digest, originals: Mapping[Tag, Manifest]) -> None:
        """Look for tags that another user copied from one of `originals`, which were moved onto a placeholder.

        A copy gets what the copied tag stood for. Called before the placeholder goes, and where it has to stay. Raises
        DregutilError where it cannot be known which tag was copied.
        """
        candidates = {manifest.digest: manifest for manifest in originals.values()}
        copies = await self._copies(placeholder, originals.keys())
        for tag in copies:
            lost = LostTag(self._repository, tag, tuple(candidates))
            if len(candidates) == 1:
                (manifest,) = candidates.values()
                guard = if_free_or_on(manifest.digest, placeholder)
                left = await put_back(self._registry, self._repository, manifest, (tag,), below={}, guard=guard)
                self._run.note_lost(replace(lost, why=_ELSEWHERE) if left else replace(lost, mended=manifest.digest))
            else:
                self._run.note_lost(replace(lost, why="it is on a manifest of this run's own, which stays for it"))
        if copies and len(candidates) != 1:
            raise DregutilError(f"'{copies[0]}' was copied from a tag that was just going; it was left where it is")

    async def _copies(self, digest: Digest, own: Collection[Tag]) -> list[Tag]:
        """The tags on a placeholder that this run did not move there: names that are new or stay."""
        listed = frozenset(await self._registry.tags(self._repository))
        wanted = listed - self._known
        if len(self._staying) <= _FEW_STAYING:
            wanted |= self._staying.keys()
        found = await self._ask_again(wanted, listed)
        await self._take_in({tag: now for tag, now in found.items() if now not in (None, digest) and tag not in own})
        return sorted(tag for tag, now in found.items() if now == digest and tag not in own)

    async def _take_in(self, found: Mapping[Tag, Digest | None]) -> None:
        """Remember tags that came or moved: the list of the next look may be that of a replica that lags."""
        changed = {tag: now for tag, now in found.items() if now is not None and self._staying.get(tag) != now}
        with suppress(RegistryError, ProtocolError, ManifestError, DeniedError):  # the next look reads what it can
            if changed:
                await self._live.update(changed)
                self._stay(changed)

    def _stay(self, tags: Mapping[Tag, Digest]) -> None:
        """Take in what tags that are to stay are on."""
        self._came |= {tag: digest for tag, digest in tags.items() if self._staying.get(tag) != digest}
        self._staying.update(tags)

    async def _list(self) -> tuple[frozenset[Tag], set[Tag]]:
        """The tags that are listed, and those of the ones that were to stay that are not."""
        self._take_reading()
        listed = frozenset(await self._registry.tags(self._repository))
        return listed, self._staying.keys() - listed

    def _just_removed(self) -> set[Tag]:
        """The tags that went since the last look: one that is listed may have been pushed again."""
        deleted = (state for digest, state in self._steps.removed.items() if digest not in self._counted)
        return {tag for state in (*deleted, *self._untagged.values()) for tag in state.step.tags}

    def _after_reading(self) -> float:
        """Seconds in which DELETEs may follow a whole reading: as after a look, which asks for a part of the tags."""
        staying, tags = len(self._staying), len(self._live.graph.tags)
        if staying > _FEW_STAYING:
            return _BATCH - self._live.took  # a look is a list alone: where the reading took long, one follows at once
        return batch_seconds(self._live.took * (1 + staying) / (1 + tags)) if tags >= staying else _BATCH

    def _looked(self, started: float, until: float) -> None:
        self.at, self.until, self._ended = started, until, clock.now()

    def _count(self) -> None:
        """Note that a look followed what was deleted until now: a tag that is missing later did not go with it."""
        self._counted |= self._steps.removed.keys()
        self._untagged.clear()
        self._note_between()

    def _note_between(self) -> None:
        """Note which tags are to stay now, and that what was deleted until now is answered for."""
        staying = self._staying.keys()
        self._run.recorder.between(self._repository, staying - self._noted, self._noted - staying)
        self._noted = set(staying)

    def _take_reading(self) -> None:
        """Take in a whole reading that was made since the last one."""
        if self._live.read_at != self._taken_at and not self._live.graph.unjudgeable:
            self._stay(self._live.staying)
            self._known |= self._live.graph.tags.keys() | self._live.graph.dangling
            self._taken_at = self._live.read_at

    async def _ask(self, tags: Collection[Tag]) -> dict[Tag, Digest | None]:
        found: dict[Tag, Digest | None] = {}

        async def ask(tag: Tag) -> None:
            resolved = await self._registry.resolve(self._repository, tag)
            found[tag] = None if resolved is None else resolved.digest

        await for_each(sorted(tags), ask)
        return found

    async def _ask_again(self, tags: Collection[Tag], there: Collection[Tag]) -> dict[Tag, Digest | None]:
        """As `_ask`; those of `there` that are denied are asked for once more: a replica may not have heard of them."""
        found = await self._ask(tags)

        async def ask(denied: Collection[Tag]) -> Collection[Tag]:
            found.update(await self._ask(denied))
            return [tag for tag in denied if found[tag] is None]

        await denied_again([tag for tag, now in found.items() if now is None and tag in there], ask)
        return found

    async def _repair(self, gone: Collection[Tag]) -> None:
        """Put back tags that went with what was deleted since the last look; name those that cannot be."""
        candidates = {digest: found for digest, found in self._steps.removed.items() if digest not in self._counted}
        candidates.update(self._untagged)
        still_gone, doubt = await self._still_gone(gone) if candidates else (gone, "")
        for tag in sorted(still_gone):
            before = self._staying.pop(tag)
            self._known.discard(tag)
            if not candidates:
                continue
            why = doubt or (_BY_NAME if await self._may_go_by_name() else "")
            if not why and await self._registry.resolve(self._repository, before) is None:
                continue  # another user removed it and its digest; on Quay that may only have lost its last tag
            if why or len(candidates) > 1:
                self.one_by_one = self.one_by_one or len(candidates) > 1
                self._run.note_lost(LostTag(self._repository, tag, tuple(candidates), why=why))
                continue
            (state,) = candidates.values()
            await self._put_back(tag, state)

    async def _may_go_by_name(self) -> bool:
        """Whether this registry deletes tags by name: then one that is missing may not have been moved at all, and
        putting it back would make it something that it never was."""
        if self._by_name is None:
            self._by_name = await self._registry.may_delete_tags(self._repository)
        return self._by_name

    async def _still_gone(self, gone: Collection[Tag]) -> tuple[Collection[Tag], str]:
        """Those of `gone` that are not there a little later either: a replica may not have heard of a tag yet, and
        putting it back would move it. And why that is in doubt: the list still has what was just deleted."""
        doubt = ""

        async def read(gone: Collection[Tag]) -> Collection[Tag]:
            nonlocal doubt
            listed = frozenset(await self._registry.tags(self._repository))
            found = await self._ask(gone)
            doubt = _OLD_LIST if listed & self._just_removed() else ""
            return {tag for tag in gone if tag not in listed and found[tag] is None}

        return await denied_again(gone, read), doubt

    async def _put_back(self, tag: Tag, state: StepState) -> None:
        digest, graph = state.step.digest, self._live.graph
        lost = LostTag(self._repository, tag, (digest,))
        self._run.note_lost(lost)
        below = {**graph.manifests, **self._steps.removed_manifests}
        try:
            left = await put_back(self._registry, self._repository, state.manifest, (tag,), below=below)
            await put_back_taken_along(self._run, graph, digest, lambda _: False)
        except DregutilError as error:
            self._run.note_lost(replace(lost, why=error.message))
            if ends_run(error):
                raise
            return
        self._run.note_lost(replace(lost, why=_ELSEWHERE) if left else replace(lost, mended=digest))
        if self._steps.put_back(digest) is not None:
            self._run.note(state.step, Result.LEFT, f"put back: '{tag}' was moved onto it meanwhile")
        if not left:
            self._staying[tag] = digest
            self._known.add(tag)
            await self._live.update({tag: digest})
