"""What a session puts back: the whole of a run, or some of its images.

A plan of an undo is made with the client that only reads. `apply_undo` writes, locked and recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dregutil.errors import NotFoundError, RefusedError, UsageError
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
from dregutil.session.removal import RemovalSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dregutil.apply.undo.plan import UndoPlan
    from dregutil.apply.undo.run import UndoRun
    from dregutil.inventory.tags import Inventory
    from dregutil.journal.record import RunRecord
    from dregutil.journal.removed import Removed
    from dregutil.journal.removed_images import RemovedImage
    from dregutil.session.stop import Stop

__all__ = ["UndoSession"]


class UndoSession(RemovalSession):
    """A session that reads, removes and puts back."""

    def to_undo(self, run: str | None = None) -> RunRecord:
        """The record of a run, by default the newest removal on this registry that is not undone. Raises NotFoundError,
        PlanRefusedError for a run on another registry, UsageError for an undo, DamagedRecordError."""
        found = self.history.to_be_undone() if run is None else self.store.get(run)
        if found is None:
            raise NotFoundError(
                f"no recorded removal on {self.identity} is left to undo",
                advice="`dregutil history` lists the runs",
            )
        if not found.plan.registry:  # the line that names it is damaged: take the session's
            found = replace(found, plan=replace(found.plan, registry=self.identity))
        self.check_is_own(found.plan.registry, "run")
        if found.undoes:
            how = self._advise(f"hold --end {found.run}")
            raise UsageError(
                f"{found.run} is itself an undo",
                advice=f"to reverse it, end its holds ({how}), then remove again what it put back",
            )
        return found

    def images_to_undo(
        self, images: Iterable[str], run: str | None = None
    ) -> tuple[tuple[RunRecord, tuple[Reference, ...]], ...]:
        """The runs that removed `images` (`repository:tag` or `repository@digest`), the newest first, each with its
        part of the images: of each image the newest run that no undo has put it back from, or `run`.

        Raises UsageError if there is none, or for one without tag and digest, NotFoundError if no run removed one, and
        what `to_undo` raises.
        """
        from dregutil.journal.removed import has_image, removed_by

        wanted = dict.fromkeys(self._image(text) for text in images)
        if not wanted:
            raise UsageError("no image was named", advice="name images: repository:tag or repository@digest")
        if run is not None:
            record = self.to_undo(run)
            removed = removed_by(record)
            for image in wanted:
                if not has_image(removed, image):
                    raise _not_removed(image, f"by {record.run}", [removed])
            return ((record, tuple(wanted)),)
        found: dict[str, tuple[RunRecord, tuple[Reference, ...]]] = {}
        seen: list[Removed] = []
        for record, left in self.history.not_undone():
            own = tuple(image for image in wanted if has_image(left, image))
            if own:
                found[record.run] = (record, own)
                wanted = dict.fromkeys(image for image in wanted if image not in own)
            if not wanted:
                break
            seen.append(left)
        for image in wanted:
            raise _not_removed(image, "by any recorded run, or it was put back", seen)
        return tuple(found.values())

    async def removed_images(
        self, *names: str, run: str | None = None, check: bool = False
    ) -> tuple[RemovedImage, ...]:
        """What was removed and can still come back, by the records: an entry for each tag, and for each manifest that
        had none; of the newest run first. With `names` (repositories, globs, images) or `run`, only these.

        With `check`, the registry is asked: what is there again is left out, and each of the others says whether it can
        come back. Raises UsageError, NotFoundError, JournalError, and the errors of reading.
        """
        from dregutil.apply.undo.check import check_removed
        from dregutil.journal.removed_images import removed_images

        is_meant = _meant(names, self.address)
        only = None if run is None else self.store.get(run).run
        found: list[RemovedImage] = []
        for record, images in removed_images(self.history):
            chosen = [image for image in images if is_meant(image) and only in (None, record.run)]
            if chosen and check:
                async with self.connected() as registry:
                    chosen = [*await check_removed(registry, record, chosen)]
            found += chosen
        return tuple(found)

    async def plan_undo(self, record: RunRecord, images: Sequence[Reference] | None = None) -> UndoPlan:
        """What an undo of a run can put back: all, or `images` with what belongs to them. Reads live, and changes
        nothing. Raises UsageError for an empty list of images, RefusedError for a part of a run that was cut off and
        left tags on a placeholder."""
        from dregutil.apply.progress import RunProgress
        from dregutil.apply.undo.plan import plan_undo
        from dregutil.journal.removed import chosen, removed_by

        if images is not None and not images:
            raise UsageError("no image was named")
        removed = chosen(removed_by(record), images) if images else removed_by(record)
        progress = RunProgress(total=sum(map(len, removed.values())), noun="manifests checked")
        self._tell(progress)

        def count_checked() -> None:
            nonlocal progress
            progress = replace(progress, done=progress.done + 1)
            self._tell(progress)

        async with self.connected() as registry:
            return await plan_undo(registry, record, images or (), on_looked=count_checked)

    async def apply_undo(self, record: RunRecord, plan: UndoPlan, *, stop: Stop | None = None) -> UndoRun:
        """Carry out the `plan` of an undo, locked and recorded. Raises RefusedError, also if the run removed more since
        the plan was made, and JournalError; later errors are in the result."""
        from dregutil.apply.progress import RunProgress
        from dregutil.apply.undo.recorded import undo_recorded
        from dregutil.session.stop import Stop

        progress = RunProgress(total=sum(one.may_come_back for one in plan.entries), noun="manifests put back")
        self._tell(progress)

        def count_put() -> None:
            nonlocal progress
            progress = replace(progress, done=progress.done + 1)
            self._tell(progress)

        with self._working(), (stop or Stop()).event() as event:
            self._check_is_current(record)
            async with self.connected() as registry:
                result = await undo_recorded(
                    registry, record, plan, self.store, command=self._undo_command(record), on_put=count_put, stop=event
                )
        self._recorded_indexes = None
        self._update_cache(lambda known: _with_restored(known, result))
        return result

    async def undo(
        self, run: str | None = None, *, images: Iterable[str] | None = None, stop: Stop | None = None
    ) -> UndoRun:
        """Put back what a run removed, by default the newest removal that is not undone.

        With `images` (`repository:tag` or `repository@digest`) only these come back, with their children and
        signatures; without `run`, each from the newest run that removed it. Raises what `to_undo`, `images_to_undo`,
        `plan_undo` and `apply_undo` raise.
        """
        from dregutil.apply.undo.run import UndoRun

        if isinstance(images, str):
            raise TypeError(f"images is a list: [{images!r}]")
        with self.lock():
            chosen = ((self.to_undo(run), None),) if images is None else self.images_to_undo(images, run)
            plans = [(record, await self.plan_undo(record, part)) for record, part in chosen]
            done: list[UndoRun] = []
            for record, plan in plans:
                done.append(await self._undo(record, plan, stop))
                if done[-1].interrupted or done[-1].error is not None:
                    break
            return UndoRun.joined(done)

    async def _undo(self, record: RunRecord, plan: UndoPlan, stop: Stop | None) -> UndoRun:
        from dregutil.apply.undo.run import UndoResult, UndoRun

        if plan.is_needed:
            return await self.apply_undo(record, plan, stop=stop)
        lost = [one for one in plan.entries if one.lost or one.unread]
        if not (lost or plan.lost or record.damaged):
            self.mark_undone(record, plan)
        return UndoRun(tuple((one, UndoResult.LOST if one.lost else UndoResult.LEFT, one.lost) for one in lost))

    def mark_undone(self, record: RunRecord, plan: UndoPlan | None = None) -> None:
        """Record a run, or the images of `plan`, as undone, after an undo that was interrupted at its end."""
        from dregutil.apply.undo.recorded import mark_undone

        self._check_is_current(record)
        images = () if plan is None else plan.images
        mark_undone(self.store, record, images, command=self._undo_command(record))

    def _check_is_current(self, record: RunRecord) -> None:
        """Raises RefusedError if the run went on since its record was read: an undo would leave that out."""
        if len(self.store.get(record.run).intents) != len(record.intents):
            raise RefusedError(
                f"{record.run} removed more since its record was read; nothing was put back", advice="run it again"
            )

    def _undo_command(self, record: RunRecord) -> str:
        return self._options.get("command", f"undo({record.run!r})")


def _meant(names: Iterable[str], address: RegistryAddress) -> Callable[[RemovedImage], bool]:
    """Whether an image is one of those that `names` mean: repositories, globs of them, images. Raises UsageError."""
    from dregutil.select.glob import Glob, is_glob
    from dregutil.select.named import parse_named

    images: set[Reference] = set()
    repositories: list[str] = []
    for name in names:
        if is_glob(name):
            repositories.append(name)
            continue
        reference = Reference.parse(name, registry=address)
        if reference.tag is None and reference.digest is None:
            repositories.append(name)
        images.add(reference)
    named = parse_named(repositories, address)

    def is_meant(image: RemovedImage) -> bool:
        if not images and not repositories:
            return True
        by_digest = Reference(image.repository, None, image.digest)
        is_named = any(
            one.matches(image.repository) if isinstance(one, Glob) else one == image.repository for one in named.names
        )
        return is_named or bool({image.reference, by_digest} & images)

    return is_meant


def _not_removed(image: Reference, where: str, seen: Sequence[Removed]) -> NotFoundError:
    from dregutil.select.nearest import near

    names = {f"{name}:{tag}" for removed in seen for name, ones in removed.items() for one in ones for tag in one.tags}
    return NotFoundError(
        f"{image} was not removed {where}{near(str(image), names)}",
        advice="`dregutil undo --list` shows what can be put back",
    )


def _with_restored(known: Inventory, result: UndoRun) -> Mapping[Repository, Mapping[Tag, Digest]]:
    from dregutil.apply.undo.run import UndoResult

    found: dict[Repository, dict[Tag, Digest]] = {}
    for entry in result.of(UndoResult.RESTORED):
        tags = found.setdefault(entry.repository, {**known.tags(entry.repository)})
        tags.update(dict.fromkeys(entry.tags, entry.manifest.digest))
    return found
