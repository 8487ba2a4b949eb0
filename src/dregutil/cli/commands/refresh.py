"""`refresh`: reads the registry again, and shows what changed."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, plural
from dregutil.cli.repositories import PARTIAL, absent_lines
from dregutil.cli.settings import Settings
from dregutil.inventory.tags import Inventory
from dregutil.select.named import parse_repositories

__all__ = ["refresh"]


def refresh(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_repositories(args.repo, settings.address)
    with opened(settings) as registry:
        before, started = registry.in_cache(), time.monotonic()
        source = registry.crawl(*named)
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
    line = f"{_summary(source.inventory)}, read in {seconds:.1f} s{'' if change is None else change.text}"
    emit(settings, [_object(source.inventory, seconds, change)], [line])
    return PARTIAL if source.failed else 0


def _summary(inventory: Inventory) -> str:
    return (
        f"{plural(len(inventory.repositories), 'repository')}, {plural(inventory.tag_count, 'tag')}, "
        f"{plural(inventory.digest_count, 'digest')}"
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """How many tags are new, gone and moved compared with the cache."""

    new: int
    gone: int
    moved: int

    @property
    def text(self) -> str:
        if not (self.new or self.gone or self.moved):
            return "; nothing has changed"
        return f"; tags: {self.new:,} new, {self.gone:,} gone, {self.moved:,} moved"


def _object(inventory: Inventory, seconds: float, change: _Change | None) -> dict[str, object]:
    return {
        "repositories": len(inventory.repositories),
        "tags": inventory.tag_count,
        "digests": inventory.digest_count,
        "seconds": round(seconds, 3),
        "new": None if change is None else change.new,
        "gone": None if change is None else change.gone,
        "moved": None if change is None else change.moved,
    }


def _change(before: Inventory, after: Inventory) -> _Change:
    old = {(name, tag): digest for name, tags in before.as_mapping().items() for tag, digest in tags.items()}
    new = {(name, tag): digest for name, tags in after.as_mapping().items() for tag, digest in tags.items()}
    moved = sum(old[key] != new[key] for key in old.keys() & new.keys())
    return _Change(len(new.keys() - old.keys()), len(old.keys() - new.keys()), moved)
