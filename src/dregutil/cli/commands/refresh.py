"""`refresh`: reads the registry again, and shows what changed."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, plural
from dregutil.cli.repositories import PARTIAL, absent_lines
from dregutil.cli.settings import Settings
from dregutil.inventory.tags import Inventory
from dregutil.select.named import parse_repositories
from dregutil.select.quantity import parse_duration

__all__ = ["refresh"]


def refresh(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_repositories(args.repo, settings.address)
    max_age = None if args.max_age is None else parse_duration(args.max_age)
    with opened(settings) as registry:
        before, started = registry.in_cache(), time.monotonic()
        is_partial = args.new and before is not None
        source = registry.crawl(*named, only_new=args.new, full=args.full, max_age=max_age)
    seconds = time.monotonic() - started
    merged = source.inventory
    if named or source.failed:
        # Repositories that were not read again stay as they were.
        merged = Inventory(before.as_mapping() if before is not None else {})
        for name in named or source.inventory.repositories:
            if name not in source.failed:
                merged.replace(name, source.inventory.tags(name))
    for text in absent_lines(source.inventory, named, source):
        sys.stderr.write(f"dregutil: {text}\n")
    change = None if before is None else _change(before, merged)
    if is_partial:
        note(settings, "tags that were moved keep their old digest: refresh without --new reads them again")
    if source.believed:
        note(
            settings,
            f"{plural(source.believed, 'tag')} not read: {_why_not(args)}; refresh --full reads all",
        )
    are_moved_known = not is_partial and (args.max_age is None or not source.believed)
    text = "" if change is None else change.text(are_moved_known=are_moved_known)
    line = f"{_summary(source.inventory)}, read in {seconds:.1f} s{text}"
    emit(
        settings,
        [_object(source.inventory, seconds, change, are_moved_known=are_moved_known, believed=source.believed)],
        [line],
    )
    return PARTIAL if source.failed else 0


def _why_not(args: argparse.Namespace) -> str:
    if args.max_age is None:
        return "no change of them was notified"
    return f"the list of their repository is unchanged, and all was read less than {args.max_age} ago"


def _summary(inventory: Inventory) -> str:
    return (
        f"{plural(len(inventory.repositories), 'repository')}, {plural(inventory.tag_count, 'tag')}, "
        f"{plural(inventory.digest_count, 'digest')}"
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """How many tags are new, gone and moved compared with the cache."""

    new: int = 0
    gone: int = 0
    moved: int = 0

    def __add__(self, other: _Change) -> _Change:
        return _Change(self.new + other.new, self.gone + other.gone, self.moved + other.moved)

    def text(self, *, are_moved_known: bool) -> str:
        if not (self.new or self.gone or self.moved):
            return "; nothing has changed" if are_moved_known else "; no tag is new or gone"
        return f"; tags: {self.new:,} new, {self.gone:,} gone" + (f", {self.moved:,} moved" if are_moved_known else "")


def _object(
    inventory: Inventory, seconds: float, change: _Change | None, *, are_moved_known: bool, believed: int
) -> dict[str, object]:
    return {
        "repositories": len(inventory.repositories),
        "tags": inventory.tag_count,
        "digests": inventory.digest_count,
        "seconds": round(seconds, 3),
        "new": None if change is None else change.new,
        "gone": None if change is None else change.gone,
        "moved": change.moved if change is not None and are_moved_known else None,
        "believed": believed,
    }


def _change(before: Inventory, after: Inventory) -> _Change:
    found, old, new = _Change(), before.as_mapping(), after.as_mapping()
    for name in old.keys() | new.keys():
        were, are = before.tags(name), after.tags(name)
        if were != are:
            moved = sum(were[tag] != are[tag] for tag in were.keys() & are.keys())
            found += _Change(len(are.keys() - were.keys()), len(were.keys() - are.keys()), moved)
    return found
