"""The shared store that the settings name, opened for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import check_version, migrate

__all__ = ["HOW_TO_NAME", "named_store", "opened_store"]

HOW_TO_NAME = "name it with --store URL, in DREGUTIL_STORE, or as `store` in the configuration"


@contextmanager
def named_store(settings: Settings) -> Iterator[Database]:
    """The store that was named, perhaps without its tables. Raises UsageError if there is none."""
    if settings.store is None:
        raise UsageError(
            "no store was named",
            advice=HOW_TO_NAME,
        )
    database = open_database(settings.store)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def opened_store(settings: Settings) -> Iterator[Database]:
    """The store that was named, with its tables. Raises UsageError if there is none, and StoreError."""
    with named_store(settings) as database:
        if not database.is_postgresql:
            migrate(database)
        check_version(database)
        yield database
