"""`du`: what repositories, tags or layers weigh, and what removing each alone would free."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from dregutil.cli.connection import connect_options
from dregutil.cli.contents import open_contents, read_missing
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import emit, note, plural, tag_text
from dregutil.cli.repositories import PARTIAL, parse_named
from dregutil.cli.settings import Settings
from dregutil.cli.source import stream_source
from dregutil.cli.storage import storage_code, stored_registry
from dregutil.cli.stored_contents import read_from_storage, stored_source
from dregutil.errors import UsageError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry import connect
from dregutil.report.units import size_text
from dregutil.report.usage import row_name, usage_lines, usage_object
from dregutil.usage import Usage, UsageRow
from dregutil.waste import wasted
from dregutil.workers import for_each

__all__ = ["du"]

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
        usage = Usage(database, _tags(inventory), shown if named.names else None)
        missing = usage.missing()
        read_from_storage(settings, database, {digest for _, digest in missing})
        if read_missing(settings, database, missing):
            code = PARTIAL
            note(settings, "what could not be read is not counted")
        for line in left_behind_lines(settings, usage.on_placeholders()):
            note(settings, line)
        usage.know(_real_sizes(settings, usage))
        usage.measure(args.by)
        _show(args, settings, usage)
    _tell_waste(settings)
    return code


def _real_sizes(settings: Settings, usage: Usage) -> Iterable[tuple[Digest, int]]:
    """From the storage, all of them; from the registry those of layers that it need not have, where it has them."""
    stored = stored_registry(settings)
    if stored is not None:
        return stored.blobs.items()
    note(settings, "sizes of layers are those that manifests state; --storage PATH shows the real ones")
    foreign = usage.foreign()
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


def _show(args: argparse.Namespace, settings: Settings, usage: Usage) -> None:
    sort = args.sort or ("size" if args.by == "layer" else "unique")
    rows, total = usage.rows(sort, args.top), usage.total()
    if settings.format == "text":
        bars, shown = sys.stdout.isatty(), tag_text(sys.stdout)
        if bars or args.top is not None:
            # Few enough to be looked at: as wide as those that are shown. Else they may be more than memory holds.
            listed: Iterable[UsageRow] = list(rows)
            longest = max((len(row_name(row, shown)) for row in listed), default=0)
        else:
            listed, longest = rows, usage.longest_name()
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
