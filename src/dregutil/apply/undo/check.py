"""Which removed images can come back: the registry is asked, as an undo asks it before it puts anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dregutil.apply.undo.plan import UndoEntry, UndoPlan, plan_undo
from dregutil.errors import RefusedError
from dregutil.journal.record import RunRecord
from dregutil.journal.removed_images import RemovedImage
from dregutil.registry.reader import Registry

__all__ = ["check_removed"]

_MOVED = "the tag points to another digest now"


async def check_removed(
    registry: Registry, record: RunRecord, images: Sequence[RemovedImage]
) -> tuple[RemovedImage, ...]:
    """Those of a run's `images` that are not in the registry, each with whether it can come back.

    A list of tags for each repository, then a HEAD for each manifest and a byte of each blob. Raises DregutilError.
    """
    return tuple(_checked(images, await _plan(registry, record, images)))


async def _plan(registry: Registry, record: RunRecord, images: Sequence[RemovedImage]) -> UndoPlan:
    try:
        return await plan_undo(registry, record, [image.reference for image in images])
    except RefusedError:  # it was cut off with tags on a placeholder: then it can only come back as a whole
        return await plan_undo(registry, record)


def _checked(images: Sequence[RemovedImage], plan: UndoPlan) -> Iterator[RemovedImage]:
    entries = {(entry.repository, entry.manifest.digest): entry for entry in plan.entries}
    for image in images:
        entry = entries.get((image.repository, image.digest))
        if entry is None:
            yield image
        elif image.tag is not None and image.tag in entry.moved:
            yield replace(image, can_come_back=False, why=_MOVED)
        elif _is_removed(image, entry):
            can = None if entry.unread else not entry.lost
            yield replace(image, can_come_back=can, why=entry.lost or entry.unread)


def _is_removed(image: RemovedImage, entry: UndoEntry) -> bool:
    return image.tag in entry.tags if image.tag is not None else not entry.is_there
