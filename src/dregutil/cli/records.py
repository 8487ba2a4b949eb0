"""A crawl of the whole registry, for a command: held against what our records know, and noted in them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dregutil.cli.output import note, plural
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source, read_registry, repositories_given
from dregutil.errors import DeniedError, JournalError, ProtocolError, RegistryError
from dregutil.inventory.known import Known
from dregutil.inventory.tag_history import Missing, TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.crawl_mark import CrawlMark
from dregutil.journal.history import RunHistory
from dregutil.journal.last_cleanup import LastCleanupFile
from dregutil.journal.placeholder_tags import resolve_placeholders
from dregutil.journal.recent_changes import HELD_FOR, RecentChanges, recent_changes
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["crawl_whole", "missing_tags", "note_crawl", "recent", "sightings", "with_missing", "young_since"]

_MOST_NAMED = 5


def sightings(settings: Settings) -> TagHistory:
    return TagHistory(settings.state_dir, settings.address.identity)


def recent(settings: Settings) -> RecentChanges:
    """What runs on the registry did in the last days."""
    return recent_changes(RunStore(settings.state_dir), settings.address.identity, datetime.now(UTC))


def crawl_whole(settings: Settings) -> Source:
    """Crawl the registry.

    Repositories that the last complete crawl had, and that the catalog no longer names, are named on standard error,
    and asked for their tags: a catalog may leave some out. So are tags that a list no longer names, but for those that
    our own runs took.
    """
    source = _with_unlisted_repositories(settings, read_registry(settings, None))
    return _with_unlisted_tags(settings, source)


def _with_unlisted_repositories(settings: Settings, source: Source) -> Source:
    if repositories_given(settings) is not None:
        return source
    try:
        absent = sorted(set(sightings(settings).repositories()) - source.named)
    except JournalError:
        return source  # which is told where the crawl is to be noted
    if not absent:
        return source
    asked = read_registry(settings, absent)
    answering = [name for name in absent if name in asked.failed or asked.inventory.tags(name)]
    _tell("the catalog leaves out {}, whose own list of tags answers: read all the same", answering)
    gone = [name for name in absent if name not in answering]
    _tell("{} of the last complete crawl: neither in the catalog any more, nor with tags", gone)
    found = Inventory({**source.inventory.as_mapping(), **asked.inventory.as_mapping()})
    failed = {**source.failed, **asked.failed}
    return replace(
        source,
        inventory=found,
        whole=source.whole and not asked.failed,
        failed=failed,
        partly={**source.partly, **asked.partly},
        unread={**source.unread, **asked.unread},
    )


def _with_unlisted_tags(settings: Settings, source: Source) -> Source:
    try:
        store, runs = sightings(settings), recent(settings)
        omitted = [
            (name, tag)
            for name in {*source.named, *source.inventory.repositories} - source.failed.keys()
            for tag, digest in store.tags(name).items()
            if tag not in source.inventory.tags(name) and (name, tag, digest) not in runs.taken
        ]
    except JournalError:
        return source
    resolved = _resolve(settings, omitted)
    if not resolved:
        return source
    found = {name: dict(tags) for name, tags in source.inventory.as_mapping().items()}
    for (name, tag), digest in resolved.items():
        found.setdefault(name, {})[tag] = digest
    shown = ", ".join(f"{name}:{tag}" for name, tag in sorted(resolved)[:_MOST_NAMED])
    more = f" and {len(resolved) - _MOST_NAMED:,} more" if len(resolved) > _MOST_NAMED else ""
    number = plural(len(resolved), "tag")
    sys.stderr.write(f"dregutil: lists leave out {number} ({shown}{more}), which are there: read all the same\n")
    return replace(source, inventory=Inventory(found))


def _resolve(settings: Settings, names: Collection[tuple[Repository, Tag]]) -> Mapping[tuple[Repository, Tag], Digest]:
    """What tags name, of those that are there."""
    if not names:
        return {}
    import asyncio

    from dregutil.cli.connection import connect_options
    from dregutil.registry import connect
    from dregutil.registry.workers import for_each

    found: dict[tuple[Repository, Tag], Digest] = {}

    async def read() -> None:
        async with connect(settings.address, connect_options(settings)) as registry:

            async def one(name: tuple[Repository, Tag]) -> None:
                with suppress(RegistryError, DeniedError, ProtocolError):
                    resolved = await registry.resolve(*name)
                    if resolved is not None:
                        found[name] = resolved.digest

            await for_each(sorted(names), one)

    asyncio.run(read())
    return found


def note_crawl(settings: Settings, source: Source, *, must: bool, policy: Path | None = None) -> None:
    """Note in our records what a crawl of the whole registry saw, and say where they begin with it.

    Raises JournalError; without `must` a warning is enough, for what removes nothing.
    """
    try:
        _note(settings, source, policy)
    except JournalError as error:
        if must:
            raise
        sys.stderr.write(f"dregutil: warning: {error.message}\n  {error.advice}\n")


def young_since(settings: Settings, policy: Path | None = None) -> datetime | None:
    """Since when our records stand in for others that were lost: what they know is no older than that. None where none
    were. Raises JournalError."""
    store = sightings(settings)
    return datetime.now(UTC) if _are_lost(settings, store, policy) else store.lost_since()


def missing_tags(
    settings: Settings, source: Source, names: Collection[Repository], runs: RecentChanges
) -> Mapping[Repository, Mapping[Tag, Missing]]:
    """The tags of repositories that the last crawls no longer found, for 14 days, without those that our own runs took.

    A registry that leaves tags out of its lists for a night, or does not find them, looks the same. Raises
    JournalError.
    """
    store, now = sightings(settings), datetime.now(UTC)
    found: dict[Repository, Mapping[Tag, Missing]] = {}
    for name in names:
        here = source.inventory.tags(name)
        tags = {
            tag: one
            for tag, one in store.missing(name).items()
            if tag not in here and now - one.since < HELD_FOR and (name, tag, one.digest) not in runs.taken
        }
        if tags:
            found[name] = tags
    return found


def with_missing(settings: Settings, source: Source, known: Known) -> Known:
    """What is known, and what missing tags named: if that is an index, it holds its children. Raises JournalError."""
    indexes = dict(known.indexes)
    for name, tags in missing_tags(settings, source, source.inventory.repositories, recent(settings)).items():
        indexes[name] = indexes.get(name, frozenset()) | {one.digest for one in tags.values()}
    return replace(known, indexes=indexes)


def _note(settings: Settings, source: Source, policy: Path | None) -> None:
    store, now = sightings(settings), datetime.now(UTC)
    begun, lost = store.has_begun(), _are_lost(settings, store, policy)
    listed = repositories_given(settings)
    unasked = () if listed is None else set(store.repositories()) - set(listed)
    unread = tuple(source.failed)
    moved = RunHistory(RunStore(settings.state_dir), settings.address.identity).moved_to_placeholders()
    inventory = resolve_placeholders(source.inventory, moved)
    store.record(inventory, now=now, began=source.began, unread=unread, unasked=unasked, lost=lost)
    if lost:
        were_noted = begun or CrawlMark(settings.state_dir, settings.address.identity).read() is not None
        what = "are gone, or older than the last run" if were_noted else "are not here, and there were runs before"
        sys.stderr.write(
            f"dregutil: warning: the records of when tags came {what}: "
            "until new ones have known it for min_age, every tag counts as younger\n"
        )
    if not store.has_begun():
        note(settings, "the records of when tags came do not begin before every repository can be read")
        return
    if not begun and not lost:
        note(settings, "the records of when tags came begin with this run; what is here counts by its creation date")
    mark = CrawlMark(settings.state_dir, settings.address.identity)
    try:
        mark.write(datetime.fromtimestamp(int(now.timestamp()), UTC))
    except OSError as error:
        sys.stderr.write(f"dregutil: warning: {mark.path} was not written: {error.strerror or error}\n")


def _are_lost(settings: Settings, store: TagHistory, policy: Path | None) -> bool:
    """Whether there were records that are gone, or later ones than those that are here."""
    identity = settings.address.identity
    marked = CrawlMark(settings.state_dir, identity).read()
    if store.has_begun():
        last = store.last_crawl()
        return marked is not None and (last is None or last < marked)
    if marked is None and store.path.exists():
        return False  # no crawl has read every repository yet, so that they have never begun
    if marked is not None or next(iter(RunStore(settings.state_dir).headers(identity)), None) is not None:
        return True
    return policy is not None and LastCleanupFile(settings.state_dir, identity, policy).read() is not None


def _tell(text: str, names: list[Repository]) -> None:
    if names:
        shown = ", ".join(names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        number = plural(len(names), "repository")
        sys.stderr.write(f"dregutil: {text.format(f'{number} ({shown}{more})')}\n")
