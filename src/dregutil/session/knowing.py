"""What a session knows from earlier: when tags came, what was pulled and collected. With a store, all machines do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import RefusedError
from dregutil.session.base import SessionBase

if TYPE_CHECKING:
    from dregutil.journal.collections import Collections
    from dregutil.journal.last_cleanup import LastCleanupFile
    from dregutil.journal.measures import Measures
    from dregutil.journal.tag_records import TagRecords
    from dregutil.pulls.store import PullStore
    from dregutil.store.facts import SharedFacts

__all__ = ["KnowingSession"]


class KnowingSession(SessionBase):
    """A session with its records; none of them is of runs."""

    @cached_property
    def facts(self) -> SharedFacts | None:
        """What the store has of this registry; None without a store. Raises StoreError if it cannot be used."""
        return None if self._shared is None else self._shared.facts(self.identity)

    @property
    def records(self) -> TagRecords:
        """The records of when this registry's tags came, up to date. Raises JournalError."""
        from dregutil.journal.tag_records import TagRecords

        if self.facts is None:
            return TagRecords(self.state, self.identity)
        found = TagRecords(self.state, self.identity, self.facts, self.store)
        found.history.bring()
        return found

    @property
    def _pull_store(self) -> PullStore:
        from dregutil.pulls.store import PullStore

        return PullStore(self.state, self.identity, shared=self.facts)

    def _log_source(self, path: str) -> str:
        """The name of a log as a source: with a store, each machine has logs of its own."""
        from dregutil.journal.actor import host_name
        from dregutil.pulls.log_files import log_name

        return log_name(path) if self.facts is None else f"{host_name()}:{log_name(path)}"

    def _last_cleanup_file(self, policy: Path) -> LastCleanupFile:
        from dregutil.journal.last_cleanup import LastCleanupFile

        return LastCleanupFile(self.state, self.identity, policy, self.facts)

    @property
    def _measures(self) -> Measures:
        from dregutil.journal.measures import Measures

        return Measures(self.state, self.identity, self.facts)

    @property
    def _collections(self) -> Collections:
        """The garbage collections of all machines. Raises JournalError."""
        from dregutil.journal.collections import Collections

        return Collections(self.state, self.facts)

    @contextmanager
    def lock(self, *, run: str = "") -> Iterator[None]:
        """Keep other runs on this registry out, as of any session; also while a collector may run on a machine whose
        dregutil was killed."""
        collection = None if self.facts is None else self._collections.running_elsewhere(self.identity, _now())
        if collection is not None:
            raise RefusedError(
                f"a garbage collection of {self.identity} began at {collection.started:%Y-%m-%d %H:%M} UTC on another "
                "machine and did not end: its collector may still run",
                advice="end it there with `dregutil collect`, or wait until 24 hours are over",
            )
        with super().lock(run=run):
            yield


def _now() -> datetime:
    return datetime.now(UTC)
