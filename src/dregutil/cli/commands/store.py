"""`store`: makes the tables of a shared store, checks it, prints its roles, and takes runs in and out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.report.store import store_rows
from dregutil.report.text import pair_lines
from dregutil.store.database import Database, open_database
from dregutil.store.grants import grants_sql
from dregutil.store.migrations import migrate
from dregutil.store.state import read_state

__all__ = ["store"]

_BROKEN = 3


def store(args: argparse.Namespace, settings: Settings) -> int:
    if args.action == "grants":
        sys.stdout.writelines(f"{line}\n" for line in grants_sql())
        return 0
    with _opened(settings) as database:
        return _migrate(settings, database) if args.action == "migrate" else _check(settings, database)


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """The store that was named. Raises UsageError if there is none."""
    if settings.store is None:
        raise UsageError(
            "no store was named",
            advice="name it with --store URL, in DREGUTIL_STORE, or as `store` in the configuration",
        )
    database = open_database(settings.store)
    try:
        yield database
    finally:
        database.close()


def _migrate(settings: Settings, database: Database) -> int:
    before, after = migrate(database)
    was = "already" if before == after else f"before {before or 'none'}"
    note(settings, f"{database.address} has tables of version {after}, {was}")
    emit(settings, [{"store": str(database.address), "before": before, "after": after}], ())
    return 0


def _check(settings: Settings, database: Database) -> int:
    found = read_state(database)
    rows = list(store_rows(str(database.address), found))
    emit(settings, [{"check": check, "found": what} for check, what in rows], pair_lines(rows))
    return 0 if found.is_sound else _BROKEN
