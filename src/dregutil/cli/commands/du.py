"""`du`: the size of repositories, tags or layers, and what removing each alone would free."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache

from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, plural, tag_text
from dregutil.cli.repositories import PARTIAL, expand
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored, storage_code
from dregutil.errors import UsageError
from dregutil.inventory.contents.measured import UsageRow
from dregutil.oci.names import Digest
from dregutil.plan.waste import wasted
from dregutil.report.terminal import width_of
from dregutil.report.units import age_text, size_text
from dregutil.report.usage import (
    listed_waste_lines,
    row_name,
    total_object,
    unowned_name,
    usage_lines,
    usage_object,
)
from dregutil.select.named import parse_named
from dregutil.select.usage_by import LABEL
from dregutil.session.results import Weighed
from dregutil.session.sync import Session
from dregutil.storage.stored import StoredRegistry

__all__ = ["du"]

_MOST_NAMED = 5
_SAME_READING = 60.0  # seconds within which tags and lists of referrers count as read together
_NEXT = "at the next garbage collection"


def du(args: argparse.Namespace, settings: Settings) -> int:
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: it must be at least 1")
    with opened(settings) as registry:
        return _du(args, settings, registry)


def _du(args: argparse.Namespace, settings: Settings, registry: Session) -> int:
    named = parse_named(args.repo, settings.address)
    stored = read_stored(registry, settings)
    source = registry.usage_source()
    inventory = source.shown
    shown, code = expand(named, inventory, source)
    code = max(code, storage_code(stored), PARTIAL if source.failed else 0)
    if not inventory.repositories and not source.failed:
        note(settings, f"{settings.address.name} has no tags")
    found = registry.weigh(source, shown if named.names else None, args.by, untagged=True)
    _tell(settings, found, stored)
    if found.unreadable or found.unlisted:
        code = PARTIAL
    _show(args, settings, registry, found)
    _tell_waste(settings, stored)
    for line in listed_waste_lines(found.untagged):
        note(settings, f"not counted: {line}")
    return code


def _tell(settings: Settings, found: Weighed, stored: StoredRegistry | None) -> None:
    """Print on standard error what is not counted, and where the sizes come from."""
    for (repository, digest), error in sorted(found.unlisted.items())[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: the referrers of {digest.short} in {repository} were not read: {error.message}\n")
    if len(found.unlisted) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and the referrers of {len(found.unlisted) - _MOST_NAMED:,} more\n")
    if found.unreadable or found.unlisted:
        note(settings, "what could not be read is not counted")
    for line in left_behind_lines(settings, found.left_behind):
        note(settings, line)
    if stored is None:
        note(settings, "sizes of layers are those that manifests state; --storage PATH shows the real ones")
        _tell_referrers(settings, found)


def _tell_referrers(settings: Settings, found: Weighed) -> None:
    """Print how old the lists of referrers are, and why some were never read."""
    if found.unasked is not None:
        note(settings, f"what only the referrers API lists is not counted: {found.unasked.message}")
    age = 0.0 if found.listed is None else max(0.0, time.time() - found.listed)
    if age > (found.source.age or 0.0) + _SAME_READING:
        note(settings, f"what only the referrers API lists is counted as read {age_text(age)} ago")


def _tell_waste(settings: Settings, stored: StoredRegistry | None) -> None:
    """Print what only the storage shows: no tag refers to it, so no line counts it."""
    if stored is None:
        return
    waste = wasted(stored, datetime.now(UTC))
    if waste.unread:
        places = plural(waste.unread, "place")
        note(settings, f"what no tag refers to is not known: {places} in the storage could not be read")
    if waste.untagged:
        held = size_text(waste.untagged_bytes)
        note(settings, f"not counted: {plural(waste.untagged, 'manifest')} without a tag, which alone hold {held}")
    if waste.orphans:
        free = f"{'at most ' if waste.hidden else ''}{plural(waste.orphans, 'blob')}, {size_text(waste.orphan_bytes)}"
        then = f"once the garbage collector no longer stops at {waste.stops}" if waste.stops else _NEXT
        note(settings, f"not counted: {free}, free {then}")


def _show(args: argparse.Namespace, settings: Settings, registry: Session, found: Weighed) -> None:
    measured = found.measured
    sort = args.sort or ("size" if args.by == "layer" else "unique")
    rows, total = measured.rows(sort, args.top), measured.total
    if args.by.startswith(LABEL) and total.rows == 1 and not next(measured.rows(sort)).owner:
        note(settings, f"no image has the label {args.by.removeprefix(LABEL)}")
    if settings.format == "text":
        bars, width, shown = sys.stdout.isatty(), width_of(sys.stdout), tag_text(sys.stdout)
        if bars or args.top is not None:
            # Few rows: the column is as wide as they are. Otherwise there may be more rows than fit in memory.
            listed: Iterable[UsageRow] = list(rows)
            longest = max((len(row_name(row, shown, args.by)) for row in listed), default=0)
        else:
            listed, longest = rows, measured.longest_name()
            longest = max(longest, len(unowned_name(args.by))) if measured.by == "owner" else longest
        emit(settings, (), usage_lines(args.by, listed, total, longest=longest, bars=bars, width=width, tag_text=shown))
        return
    last = total_object(total, found.untagged)
    emit(settings, _objects(settings, registry, args.by, rows, last), ())


def _objects(
    settings: Settings, registry: Session, by: str, rows: Iterator[UsageRow], last: dict[str, object]
) -> Iterator[dict[str, object]]:
    @cache
    def created(digest: Digest) -> datetime | None:
        details = registry.database.details(digest)
        return None if details is None else details.created

    yield from (usage_object(row, by, created) for row in rows)
    if settings.format in ("json", "jsonl"):
        yield last
