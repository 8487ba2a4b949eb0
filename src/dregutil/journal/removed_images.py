"""What can still come back, by the records of the runs on a registry: an image for each removed tag, newest run first.

Reads the records only. Whether the registry still has the layers of an image, only the registry can say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import Removed, units
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.version import tag_order

__all__ = ["RemovedImage", "removed_images"]


@dataclass(frozen=True, slots=True)
class RemovedImage:
    """A tag, or a manifest without a tag, that the run `run` removed and no undo has put back.

    `when` is when the run began; `size` is in bytes, with all platforms, None if it is not known. `can_come_back`: what
    the registry answered, None if it was not asked or could not answer; `why` says why not.
    """

    repository: Repository
    tag: Tag | None
    digest: Digest
    when: datetime
    run: str
    size: int | None = None
    can_come_back: bool | None = None
    why: str = ""

    @property
    def image(self) -> str:
        """`repository:tag` or `repository@digest`."""
        return f"{self.repository}@{self.digest}" if self.tag is None else f"{self.repository}:{self.tag}"

    @property
    def reference(self) -> Reference:
        return Reference(self.repository, self.tag, self.digest if self.tag is None else None)


def removed_images(history: RunHistory) -> Iterator[tuple[RunRecord, tuple[RemovedImage, ...]]]:
    """The runs of which something can come back, the newest first, each with its images. What a newer run removed
    again is only among that run's. Raises JournalError."""
    seen: set[tuple[Repository, Tag | None, Digest]] = set()
    for record, left in history.not_undone():
        sizes = {(step.repository, step.digest): step.size for step in record.plan.steps}
        found = [
            RemovedImage(repository, tag, digest, record.started, record.run, sizes.get((repository, digest)) or None)
            for repository, tag, digest in _names(left)
            if (repository, tag, digest) not in seen
        ]
        seen.update((one.repository, one.tag, one.digest) for one in found)
        if found:
            yield record, tuple(sorted(found, key=_place))


def _names(left: Removed) -> Iterator[tuple[Repository, Tag | None, Digest]]:
    for repository, intents in left.items():
        for image, _ in units(repository, intents):
            for tag in image.tags or (None,):
                yield repository, tag, image.manifest.digest


def _place(image: RemovedImage) -> tuple[object, ...]:
    return (image.repository, image.tag is None, tag_order(image.tag or ""), image.digest)
