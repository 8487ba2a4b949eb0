"""How much recorded runs have removed that the registry has not collected yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dregutil.journal.record import RunRecord
    from dregutil.journal.removed import Removed
    from dregutil.oci.names import Digest, Repository
    from dregutil.registry.reader import Registry

__all__ = ["uncollected_bytes"]

_MOST_ASKED = 5  # blobs of a run: one that is gone says that all of the run was collected


async def uncollected_bytes(registry: Registry, runs: Iterable[tuple[RunRecord, Removed]]) -> int:
    """The bytes of `runs`, the newest first, that wait for the collector, by their own figures.

    A run was collected if a config of what it removed is gone, and so were those before it. A config that a tag still
    uses stays for ever, so the sum may be too large. Raises UnreachableError and LoginError.
    """
    total = 0
    for record, _ in runs:
        for repository, config in islice(_configs(record), _MOST_ASKED):
            if await registry.blob_size(repository, config) is None:
                return total
        known = record.reclaimable_bytes
        total += record.plan.reclaim.reclaimable_bytes if known is None else known
    return total


def _configs(record: RunRecord) -> Iterator[tuple[Repository, Digest]]:
    for intent in reversed(record.intents):
        if intent.manifest.config is not None and intent.step in record.taken:
            yield intent.repository, intent.manifest.config.digest
