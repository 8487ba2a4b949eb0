"""What a registry holds without a tag, for a command: from its storage, or as far as our records know of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from dregutil.cli.settings import Settings
from dregutil.cli.source import Source
from dregutil.cli.storage import opened_storage, stored_registry
from dregutil.errors import JournalError
from dregutil.inventory.known import Known
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.untagged import Untagged, UntaggedManifests, untagged_in_graph, untagged_in_storage
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Repository
from dregutil.retention import PolicySet
from dregutil.retention.policy import applies_to
from dregutil.storage.stored import StoredRegistry, StoredRepository

__all__ = ["find_untagged", "look_at", "tell_left_out"]


def find_untagged(
    settings: Settings, policies: PolicySet, source: Source, known: Known, only: Sequence[Repository] | None = None
) -> UntaggedManifests:
    """What the policies that ask for it may take, in all repositories or in `only` some.

    With --storage, all that is there; else those that our records saw lose their last tag, and that the registry still
    has. Raises JournalError, StorageError, UnreachableError and LoginError.
    """
    asking = [policy for policy in policies.policies if policy.select.untagged]
    stored = stored_registry(settings) if asking else None
    names = set(only if only is not None else source.inventory.repositories)
    if stored is not None and only is None and settings.repositories_from is None:
        names |= stored.repositories.keys() - source.failed.keys()
    wanted = sorted(name for name in names if any(applies_to(policy, name) for policy in asking))
    if not wanted:
        return UntaggedManifests()
    store = TagHistory(settings.state_dir, settings.address.identity)
    lost = {name: store.untagged(name) for name in wanted}
    if stored is not None:
        return UntaggedManifests({name: _in_storage(settings, stored, source, name, lost[name]) for name in wanted})
    found: dict[Repository, Untagged] = {}
    for name, graph in look_at(settings, source, known, {name: since for name, since in lost.items() if since}).items():
        found[name] = untagged_in_graph(graph, lost[name])
        gone = graph.absent & lost[name].keys()
        if gone and not graph.unjudgeable:
            with suppress(JournalError):  # they are only asked for again
                store.forget_untagged(name, gone)
    return UntaggedManifests(found)


def look_at(
    settings: Settings, source: Source, known: Known, digests: Mapping[Repository, Mapping[Digest, object]]
) -> Mapping[Repository, RepositoryGraph]:
    """A live graph of each repository, as it bears on `digests`; subjects that another repository has are not absent.
    Raises UnreachableError and LoginError."""
    if not digests:
        return {}
    import asyncio

    from dregutil.cli.connection import connect_options
    from dregutil.inventory.health.registry import MOST_ELSEWHERE, held_somewhere
    from dregutil.inventory.survey import survey_repository
    from dregutil.registry import connect
    from dregutil.registry.workers import for_each

    graphs: dict[Repository, RepositoryGraph] = {}

    async def read() -> None:
        async with connect(settings.address, connect_options(settings)) as registry:

            async def one(name: Repository) -> None:
                graphs[name] = await survey_repository(
                    registry,
                    name,
                    digests[name],
                    known_tags=source.inventory.tags(name),
                    known_indexes=known.indexes.get(name, ()),
                    seen=known.seen,
                )

            await for_each(digests, one, at_once=registry.repositories_at_once)
            wanted = {subject for graph in graphs.values() for subject in _missing_subjects(graph)}
            others = source.inventory.repositories
            # What would take too many requests to look for counts as held somewhere: it keeps what refers to it.
            is_asked = len(wanted) * len(others) <= MOST_ELSEWHERE
            elsewhere = await held_somewhere(registry, wanted, others) if is_asked else wanted
            for name, graph in graphs.items():
                graphs[name] = replace(graph, absent=graph.absent - elsewhere)

    asyncio.run(read())
    return graphs


def _missing_subjects(graph: RepositoryGraph) -> Set[Digest]:
    """What manifests refer to and the repository does not have: another one may, as where signatures lie apart."""
    subjects = {found.subject.digest for found in graph.manifests.values() if found.subject is not None}
    return subjects & graph.absent


def _in_storage(
    settings: Settings, stored: StoredRegistry, source: Source, name: Repository, lost: Mapping[Digest, datetime]
) -> Untagged:
    held = stored.repositories.get(name, StoredRepository(name))
    tagged = source.inventory.tags(name).values()
    found = untagged_in_storage(stored, held, frozenset(tagged))
    storage = opened_storage(settings)
    if storage is None or not found.roots:
        return found
    pushed = storage.moments([(name, digest) for digest in found.roots])
    since = {
        digest: max((one for one in (moment, lost.get(digest)) if one is not None), default=None)
        for digest, moment in zip(found.roots, pushed, strict=True)
    }
    return replace(found, roots=since)


def tell_left_out(untagged: UntaggedManifests) -> None:
    """Name the repositories of which nothing without a tag was selected."""
    for name, why in untagged.left_out.items():
        sys.stderr.write(f"dregutil: of {name} nothing without a tag is selected: {why}\n")
