"""What no tag needs in a registry's storage, and what frees it. Pure.

What has no tag is counted by the rule by which `cleanup` removes it: `inventory/untagged` selects it, and a plan on the
graph of the storage holds back what it would hold back on the live registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from dregutil.inventory.stored_graph import stored_graph
from dregutil.inventory.untagged import untagged_in_storage
from dregutil.oci.names import Digest
from dregutil.plan.make import make_plan
from dregutil.plan.model import Plan, RemovalOptions, Step
from dregutil.select.selection import Selected, Selection
from dregutil.storage.garbage_collector import GarbageCollector, Generation, Marks, mark, marked_repositories, stops_at
from dregutil.storage.stored import StoredRegistry, StoredRepository, Upload

__all__ = ["Waste", "wasted"]

STALE_AFTER = timedelta(days=7)  # as the registry's own purging of uploads has it (storage.maintenance.uploadpurging)
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Waste:
    """What no tag needs. Sizes are in bytes.

    `untagged`: the manifests without a tag that `cleanup` can remove, with what goes with them; `untagged_bytes`: what
    they alone hold. In `unjudged` repositories it removes none. `orphans`: blobs that the collector of 2.8 does not
    mark; an upper bound if `hidden`. `stops`: where that collector would stop before it frees any. `uploads`: those
    that began over a week ago, or at an unknown time, and never ended. `unread`: how many places could not be read; if
    any, only uploads are counted.
    """

    untagged: int = 0
    untagged_bytes: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    hidden: bool = False
    stops: str = ""
    unread: int = 0
    unjudged: int = 0


def wasted(stored: StoredRegistry, now: datetime) -> Waste:
    """What no tag needs in a storage."""
    stale = [upload for held in stored.repositories.values() for upload in held.uploads if _is_stale(upload, now)]
    uploads, upload_bytes = len(stale), sum(upload.size for upload in stale)
    unread = sum(oddity.unread for oddity in stored.oddities)
    if unread:
        return Waste(uploads=uploads, upload_bytes=upload_bytes, unread=unread)
    collector = GarbageCollector(Generation.V2)
    repositories = marked_repositories(stored, collector)
    marks = Marks(repositories, collector)
    orphans = stored.blobs.keys() - mark(repositories, collector)
    steps = [step for held in stored.repositories.values() for step in _taken(stored, held)]
    freed = {blob for step in steps for blob in marks.delete(step.repository, step.digest)}
    return Waste(
        len(steps),
        stored.size_of(freed),
        len(orphans),
        stored.size_of(orphans),
        uploads,
        upload_bytes,
        bool(stored.hidden),
        next(stops_at(stored, collector), ""),
        unjudged=sum(bool(untagged_in_storage(stored, held, ()).unjudgeable) for held in stored.repositories.values()),
    )


def _taken(stored: StoredRegistry, held: StoredRepository) -> Iterator[Step]:
    """The steps of cleanups that remove all roots, one after another: a referrer that no list names becomes a root once
    its subject is gone."""
    while roots := untagged_in_storage(stored, held, ()).roots:
        steps = _plan(stored, held, roots).steps
        if not steps:
            return
        yield from steps
        gone = {step.digest for step in steps}
        left = {tag: digest for tag, digest in held.tags.items() if digest not in gone}
        held = replace(held, revisions=held.revisions - gone, tags=left)


def _plan(stored: StoredRegistry, held: StoredRepository, roots: Iterable[Digest]) -> Plan:
    graph = stored_graph(stored, held)
    chosen = Selection(tuple(Selected(held.repository, digest, ()) for digest in roots))
    return make_plan(chosen, {held.repository: graph}, RemovalOptions(), registry="", made_at=_EPOCH, command="")


def _is_stale(upload: Upload, now: datetime) -> bool:
    return upload.started is None or now - upload.started > STALE_AFTER
