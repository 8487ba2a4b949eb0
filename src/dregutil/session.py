"""What a library user calls, with the defaults of the command line: this machine's records are asked, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack

from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.tags import Inventory
from dregutil.journal.remembered import remembered_indexes, remembered_manifests
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan import live
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.registry.reader import Registry
from dregutil.select.selection import Selection
from dregutil.storage.garbage_collector import Collector
from dregutil.storage.stored import StoredRegistry

__all__ = ["plan_removal"]


async def plan_removal(
    registry: Registry,
    selection: Selection,
    inventory: Inventory,
    options: RemovalOptions | None = None,
    *,
    command: str = "",
    known_indexes: Mapping[Repository, frozenset[Digest]] | None = None,
    seen: KnownManifests | None = None,
    readings: FreshSurveys | None = None,
    collector: Collector = Collector.DEFAULT,
    stored: StoredRegistry | None = None,
    known: Callable[[Digest], Manifest | None] | None = None,
    remember: Callable[[Collection[Manifest]], None] | None = None,
) -> Plan:
    """As `plan.live.plan_removal`. `known_indexes` and `seen` are by default what this machine's records and content
    database have. Raises JournalError or CacheError, too, where these cannot be read."""
    indexes = remembered_indexes(registry.address.identity) if known_indexes is None else known_indexes
    with ExitStack() as stack:
        seen = seen or stack.enter_context(remembered_manifests())
        return await live.plan_removal(
            registry,
            selection,
            inventory,
            options,
            command=command,
            known_indexes=indexes,
            seen=seen,
            readings=readings,
            collector=collector,
            stored=stored,
            known=known,
            remember=remember,
        )
