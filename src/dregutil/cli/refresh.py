"""`refresh`: read the registry again, and say what changed."""

from __future__ import annotations

import argparse
import sys
import time

from dregutil.cli.output import plural
from dregutil.cli.repositories import PARTIAL, parse_repositories
from dregutil.cli.settings import Settings
from dregutil.cli.source import read_registry, save
from dregutil.errors import CacheError
from dregutil.inventory import Inventory

__all__ = ["refresh"]


def refresh(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_repositories(args.repo)
    before = _read_cache(settings)
    started = time.monotonic()
    source = read_registry(settings, named or None)
    seconds = time.monotonic() - started
    merged = source.inventory
    if named or source.failed:
        # What was not read again stays as it was known.
        merged = Inventory(before.as_mapping() if before is not None else {})
        for name in named or source.inventory.repositories:
            if name not in source.failed:
                merged.replace(name, source.inventory.tags(name))
    if source.whole or (named and before is not None):
        save(settings, merged)
    sys.stdout.write(f"{_summary(source.inventory)}, read in {seconds:.1f} s{_change(before, merged)}\n")
    return PARTIAL if source.failed else 0


def _read_cache(settings: Settings) -> Inventory | None:
    try:
        return settings.cache.read() if settings.cache is not None else None
    except CacheError:
        return None  # it is about to be written anew, as its own advice says


def _summary(inventory: Inventory) -> str:
    return (
        f"{plural(len(inventory.repositories), 'repository')}, {plural(inventory.tag_count, 'tag')}, "
        f"{plural(inventory.digest_count, 'digest')}"
    )


def _change(before: Inventory | None, after: Inventory) -> str:
    if before is None:
        return ""
    old = {(name, tag): digest for name, tags in before.as_mapping().items() for tag, digest in tags.items()}
    new = {(name, tag): digest for name, tags in after.as_mapping().items() for tag, digest in tags.items()}
    moved = sum(old[key] != new[key] for key in old.keys() & new.keys())
    came, went = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    if not (came or went or moved):
        return "; nothing has changed"
    return f"; tags: {came:,} new, {went:,} gone, {moved:,} moved"
