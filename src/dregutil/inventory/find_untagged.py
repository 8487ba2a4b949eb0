"""What a registry holds without a tag: from its storage, from the list of its service, or what the records saw lose its
last tag.

Reads the registry, the storage and the records of tags; the records forget what the registry no longer has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from dregutil.errors import JournalError
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.inventory.untagged import Untagged, UntaggedManifests, untagged_in_graph, untagged_in_storage
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, Repository
from dregutil.storage.stored import StoredRegistry, StoredRepository

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.known import Known
    from dregutil.registry.reader import Registry
    from dregutil.storage.opened import Storage

__all__ = ["find_known_untagged", "find_stored_untagged", "survey_repositories"]


def find_stored_untagged(
    storage: Storage,
    stored: StoredRegistry,
    inventory: Inventory,
    history: TagHistory,
    names: Collection[Repository],
) -> UntaggedManifests:
    """All that is without a tag in repositories, as the storage shows it. Raises JournalError and StorageError."""
    return UntaggedManifests(
        {name: _in_storage(storage, stored, inventory, name, history.untagged(name)) for name in names}
    )


async def find_known_untagged(
    registry: Registry, source: CrawlResult, known: Known, history: TagHistory, names: Collection[Repository]
) -> UntaggedManifests:
    """What the records saw lose its last tag, or the registry's service lists without one, and the registry still has.
    Raises JournalError, UnreachableError and LoginError."""
    lost = {name: history.untagged(name) for name in names}
    candidates = {name: since for name in names if (since := _with_listed(lost[name], source.listings.get(name)))}
    found: dict[Repository, Untagged] = {}
    for name, graph in (await survey_repositories(registry, source.inventory, known, candidates)).items():
        found[name] = untagged_in_graph(graph, candidates[name])
        gone = graph.absent & lost[name].keys()
        if gone and not graph.unjudgeable:
            with suppress(JournalError):  # they are only asked for again
                history.forget_untagged(name, gone)
    return UntaggedManifests(found)


def _with_listed(lost: Mapping[Digest, datetime], listing: Listing | None) -> Mapping[Digest, datetime]:
    """And what a service lists without a tag, since when it is there. What was pushed at an unknown time may be part of
    an image that is being pushed now, and is left out."""
    found = dict(lost)
    for entry in () if listing is None else listing.untagged:
        if entry.pushed is not None:
            found[entry.digest] = max(entry.pushed, found.get(entry.digest, entry.pushed))
    return found


async def survey_repositories(
    registry: Registry,
    inventory: Inventory,
    known: Known,
    digests: Mapping[Repository, Mapping[Digest, object]],
) -> Mapping[Repository, RepositoryGraph]:
    """A live graph of each repository, as it bears on `digests`; a subject that another repository has is not absent.
    Raises UnreachableError and LoginError."""
    from dregutil.inventory.health.registry import MOST_ELSEWHERE, held_somewhere
    from dregutil.inventory.survey import survey_repository
    from dregutil.registry.workers import for_each

    graphs: dict[Repository, RepositoryGraph] = {}

    async def one(name: Repository) -> None:
        graphs[name] = await survey_repository(
            registry,
            name,
            digests[name],
            known_tags=inventory.tags(name),
            known_indexes=known.indexes.get(name, ()),
            seen=known.seen,
        )

    await for_each(digests, one, at_once=registry.repositories_at_once)
    wanted = {subject for graph in graphs.values() for subject in _missing_subjects(graph)}
    others = inventory.repositories
    # What would take too many requests to look for counts as held somewhere: it keeps what refers to it.
    is_asked = len(wanted) * len(others) <= MOST_ELSEWHERE
    elsewhere = await held_somewhere(registry, wanted, others) if is_asked else wanted
    return {name: replace(graph, absent=graph.absent - elsewhere) for name, graph in graphs.items()}


def _missing_subjects(graph: RepositoryGraph) -> Set[Digest]:
    """What manifests refer to and the repository does not have: another one may, as where signatures lie apart."""
    subjects = {found.subject.digest for found in graph.manifests.values() if found.subject is not None}
    return subjects & graph.absent


def _in_storage(
    storage: Storage,
    stored: StoredRegistry,
    inventory: Inventory,
    name: Repository,
    lost: Mapping[Digest, datetime],
) -> Untagged:
    held = stored.repositories.get(name, StoredRepository(name))
    found = untagged_in_storage(stored, held, frozenset(inventory.tags(name).values()))
    if not found.roots:
        return found
    pushed = storage.moments([(name, digest) for digest in found.roots])
    since = {
        digest: max((one for one in (moment, lost.get(digest)) if one is not None), default=None)
        for digest, moment in zip(found.roots, pushed, strict=True)
    }
    return replace(found, roots=since)
