"""Where records are: in the state folder, or in the shared store that the settings name, with its mirror here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.journal.store import RunStore

if TYPE_CHECKING:
    from dregutil.cli.settings import Settings
    from dregutil.inventory.cache_file import CacheFile
    from dregutil.store.address import StoreAddress
    from dregutil.store.database import Database
    from dregutil.store.facts import SharedFacts

__all__ = ["Recorded", "recorded", "recorded_in"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """`runs` are the runs, and `folder` has the other records. `database` is that of the store, None without one."""

    folder: Path
    runs: RunStore
    database: Database | None = None

    def facts(self, registry: str) -> SharedFacts | None:
        """What the store has of a registry besides runs; None without a store. `registry` is its identity."""
        if self.database is None:
            return None
        from dregutil.store.facts import SharedFacts

        return SharedFacts(self.database, registry)

    def tags(self, settings: Settings) -> CacheFile | None:
        """The tags that were last read of the registry that the settings name; None if they are kept nowhere."""
        from dregutil.inventory.cache_file import CacheFile

        if settings.cache is None:
            return None
        if self.database is not None:
            from dregutil.store.inventory import SharedCache

            database = self.database
            shared = SharedCache(lambda: database, self.folder, settings.address.identity)
            if shared.path == settings.cache:
                return shared
        return CacheFile(settings.cache)


@contextmanager
def recorded(settings: Settings) -> Iterator[Recorded]:
    """The records that a command reads. Raises StoreError if the store that was named cannot be used."""
    with recorded_in(settings.state_dir, settings.store) as found:
        yield found


@contextmanager
def recorded_in(state: Path, store: StoreAddress | None) -> Iterator[Recorded]:
    """As `recorded`; `state` is the state folder."""
    if store is None:
        yield Recorded(state, RunStore(state))
        return
    from dregutil.store.open import open_runs

    runs = open_runs(store, state)
    try:
        yield Recorded(runs.folder, runs, runs.ledger.database)
    finally:
        runs.close()
