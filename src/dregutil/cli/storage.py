"""The registry's own storage, for a command: read once; damaged parts are named on standard error."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.report.terminal import over_line
from dregutil.storage.collector import Collector

if TYPE_CHECKING:
    from dregutil.session.sync import Session
    from dregutil.storage.stored import StoredRegistry

__all__ = ["collector_of", "read_stored", "storage_code"]

_MOST_NAMED = 10


def read_stored(registry: Session, settings: Settings) -> StoredRegistry | None:
    """The contents of the storage that --storage names; None without that option. Raises StorageError."""
    if settings.storage is None:
        return None
    show = sys.stderr.isatty() and not settings.quiet
    if show:
        over_line(sys.stderr, f"reading the storage {settings.storage} …")
    try:
        stored = registry.stored()
    finally:
        if show:
            over_line(sys.stderr)
    oddities = () if stored is None else stored.oddities
    for oddity in oddities[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: skipped in the storage: {oddity.place}: {oddity.why}\n")
    if len(oddities) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(oddities) - _MOST_NAMED:,} more\n")
    return stored


def collector_of(args: argparse.Namespace) -> Collector:
    """How the registry runs its garbage collector, from --gc."""
    return Collector.of(untagged=args.gc == "untagged")


def storage_code(stored: StoredRegistry | None) -> int:
    """The exit code for the storage: 3 if something in it was skipped, otherwise 0."""
    return PARTIAL if stored is not None and stored.oddities else 0
