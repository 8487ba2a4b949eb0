"""`du`: what repositories, tags or layers weigh, and what removing each alone would free."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile

from dregutil.cli.connection import connect_options
from dregutil.cli.contents import open_contents, read_missing
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import emit, note, plural, tag_text
from dregutil.cli.repositories import PARTIAL, parse_named
from dregutil.cli.settings import Settings
from dregutil.cli.source import stream_source
from dregutil.cli.storage import storage_code, stored_registry
from dregutil.cli.stored_contents import read_from_storage, stored_source
from dregutil.errors import DregutilError, UsageError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.measured import Measured, UsageRow
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.waste import wasted
from dregutil.registry import connect
from dregutil.registry.reach import ends_all
from dregutil.registry.workers import for_each
from dregutil.report.units import size_text
from dregutil.report.usage import row_name, usage_lines, usage_object

__all__ = ["du"]

_MOST_NAMED = 5
_NEXT = "at the next garbage collection"


def du(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_named(args.repo, settings.address)
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: no number of lines", advice="a whole number from 1 is meant")
    source = stored_source(settings) or stream_source(settings)
    inventory = source.shown
    shown, code = named.expand(inventory, source.failed)
    code = max(code, storage_code(settings), PARTIAL if source.failed else 0)
    if not inventory.repositories and not source.failed:
        note(settings, f"{settings.address.name} has no tags")
    with open_contents(settings) as database:
        usage = DiskUsage(database, _tags(inventory), shown if named.names else None)
        missing = usage.missing()
        read_from_storage(settings, database, {digest for _, digest in missing})
        unread = bool(read_missing(settings, database, missing))
        if source.began is not None:
            unread |= not _read_referrers(settings, database, usage)
        if unread:
            code = PARTIAL
            note(settings, "what could not be read is not counted")
        for line in left_behind_lines(settings, usage.on_placeholders()):
            note(settings, line)
        usage.add_sizes(_real_sizes(settings, usage, is_cached=source.began is None))
        _show(args, settings, usage.measure(args.by))
    _tell_waste(settings)
    return code


def _read_referrers(settings: Settings, database: ContentDatabase, usage: DiskUsage) -> bool:
    """Bring in what refers to what tags reach, and what refers to that, where the registry has the referrers API.

    Returns whether all of it could be read.
    """
    places: Iterable[tuple[Repository, Digest]] = usage.reached()
    seen: set[tuple[Repository, Digest]] = set()
    is_whole = True
    while True:
        found, failed = asyncio.run(_referrers(settings, places))
        for (repository, digest), error in sorted(failed.items())[:_MOST_NAMED]:
            sys.stderr.write(f"dregutil: what refers to {digest.short} in {repository} was not read: {error.message}\n")
        if len(failed) > _MOST_NAMED:
            sys.stderr.write(f"dregutil: and what refers to {len(failed) - _MOST_NAMED:,} more\n")
        new = {(repository, referrer) for repository, _, referrer in found} - seen
        unread = read_missing(settings, database, sorted(new))
        usage.add_referrers(place for place in found if place[2] not in unread)
        is_whole = is_whole and not failed and not unread
        if not new:
            return is_whole
        seen |= new
        places = [(repository, digest) for repository, one in sorted(new) for digest in _below(database, one)]


def _below(database: ContentDatabase, digest: Digest) -> Iterator[Digest]:
    """A manifest, and those below it."""
    manifest = database.manifest(digest)
    if manifest is not None:
        yield digest
        for child in manifest.children:
            yield from _below(database, child.digest)


async def _referrers(
    settings: Settings, places: Iterable[tuple[Repository, Digest]]
) -> tuple[Sequence[tuple[Repository, Digest, Digest]], Mapping[tuple[Repository, Digest], DregutilError]]:
    """What the registry lists for each of `places`, with that; and why it could not be asked for some of them."""
    found: list[tuple[Repository, Digest, Digest]] = []
    failed: dict[tuple[Repository, Digest], DregutilError] = {}
    async with connect(settings.address, connect_options(settings)) as registry:

        async def ask(place: tuple[Repository, Digest]) -> None:
            try:
                listed = await registry.referrers(*place)
            except DregutilError as error:
                if await ends_all(registry, error):
                    raise
                failed[place] = error
            else:
                found.extend((*place, referrer.digest) for referrer in listed or ())

        await for_each(takewhile(lambda _: registry.has_referrers is not False, places), ask)
    return found, failed


def _real_sizes(settings: Settings, usage: DiskUsage, *, is_cached: bool) -> Iterable[tuple[Digest, int]]:
    """From the storage, all of them; from the registry those of layers that it need not have, where it has them."""
    stored = stored_registry(settings)
    if stored is not None:
        return stored.blobs.items()
    note(settings, "sizes of layers are those that manifests state; --storage PATH shows the real ones")
    if is_cached:
        note(settings, "what only the referrers API lists is counted with --refresh, or without a cache")
    foreign = usage.foreign_layers()
    return asyncio.run(_pushed(settings, foreign)).items() if foreign else ()


async def _pushed(settings: Settings, layers: Sequence[tuple[Repository, Digest]]) -> Mapping[Digest, int]:
    found: dict[Digest, int] = {}
    async with connect(settings.address, connect_options(settings)) as registry:

        async def ask(place: tuple[Repository, Digest]) -> None:
            repository, digest = place
            if digest not in found and (size := await registry.blob_size(repository, digest)) is not None:
                found[digest] = size

        await for_each(layers, ask)
    return found


def _tell_waste(settings: Settings) -> None:
    """What only the storage shows: no tag leads to it, so it is in no line."""
    stored = stored_registry(settings)
    if stored is None:
        return
    waste = wasted(stored, datetime.now(UTC))
    if waste.unread:
        places = plural(waste.unread, "place")
        note(settings, f"what no tag leads to is not known: {places} in the storage could not be read")
    if waste.untagged:
        held = size_text(waste.untagged_bytes)
        note(settings, f"not counted: {plural(waste.untagged, 'manifest')} without a tag, which alone hold {held}")
    if waste.orphans:
        free = f"{'at most ' if waste.hidden else ''}{plural(waste.orphans, 'blob')}, {size_text(waste.orphan_bytes)}"
        then = f"once the garbage collector no longer stops at {waste.stops}" if waste.stops else _NEXT
        note(settings, f"not counted: {free}, free {then}")


def _show(args: argparse.Namespace, settings: Settings, measured: Measured) -> None:
    sort = args.sort or ("size" if args.by == "layer" else "unique")
    rows, total = measured.rows(sort, args.top), measured.total
    if settings.format == "text":
        bars, shown = sys.stdout.isatty(), tag_text(sys.stdout)
        if bars or args.top is not None:
            # Few enough to be looked at: as wide as those that are shown. Else they may be more than memory holds.
            listed: Iterable[UsageRow] = list(rows)
            longest = max((len(row_name(row, shown)) for row in listed), default=0)
        else:
            listed, longest = rows, measured.longest_name()
        emit(settings, (), usage_lines(args.by, listed, total, longest=longest, bars=bars, tag_text=shown))
        return
    emit(settings, _objects(settings, rows, total.size), ())


def _objects(settings: Settings, rows: Iterator[UsageRow], total: int) -> Iterator[dict[str, object]]:
    yield from (usage_object(row) for row in rows)
    if settings.format in ("json", "jsonl"):
        yield {"total": total}


def _tags(inventory: Inventory) -> Iterator[tuple[Repository, Tag, Digest]]:
    for repository, tags in inventory.as_mapping().items():
        for tag, digest in tags.items():
            yield repository, tag, digest
