"""The shared store of a session, if it has one: its folder on this machine, and its runs, opened when first needed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from dregutil.store.address import StoreAddress
from dregutil.store.facts import SharedFacts
from dregutil.store.inventory import SharedCache
from dregutil.store.open import mirror_folder, open_runs
from dregutil.store.runs import SharedRuns

__all__ = ["SharedState"]


class SharedState:
    """What a session has of a store. `folder` stands for the state folder: it mirrors what the store has."""

    def __init__(self, store: StoreAddress | str, state: Path, timeout: float) -> None:
        """`timeout`: that of the session, in seconds. Raises UsageError for an invalid address."""
        self.address = StoreAddress.parse(store) if isinstance(store, str) else store
        self.folder = mirror_folder(self.address, state)
        self._state = state
        self._timeout = timeout

    @cached_property
    def runs(self) -> SharedRuns:
        """The runs of the store. Raises StoreError if it cannot be used."""
        from dregutil.registry.http.deadline import LONGEST_ANSWER

        return open_runs(self.address, self._state, longest=LONGEST_ANSWER * self._timeout)

    def close(self) -> None:
        """Close the connections to the store."""
        if "runs" in vars(self):
            self.runs.close()

    def facts(self, registry: str) -> SharedFacts:
        """What the store knows of a registry (its identity). Raises StoreError if it cannot be used."""
        return SharedFacts(self.runs.ledger.database, registry)

    def cache(self, registry: str) -> SharedCache:
        """The tags of a registry, as they were last read by anybody."""
        return SharedCache(lambda: self.runs.ledger.database, self.folder, registry)
