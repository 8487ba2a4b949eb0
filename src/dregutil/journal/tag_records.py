"""The records of when a registry's tags came, held against the records of runs: what a crawl adds to them, and whether
they were lost.

Writes in the state folder only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.shared import SharedRecords
from dregutil.inventory.tag_history import Missing, TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.crawl_mark import CrawlMark
from dregutil.oci.names import Digest, Repository, Tag

if TYPE_CHECKING:
    from dregutil.journal.store import RunStore

__all__ = ["CrawlNote", "TagRecords"]


@dataclass(frozen=True, slots=True)
class CrawlNote:
    """What became of the records.

    `lost` says how records that were there are missing, or is empty. `begins`: they begin with this crawl; `waits`:
    they do not, before every repository can be read. `unmarked` names what was not written.
    """

    lost: str = ""
    begins: bool = False
    waits: bool = False
    unmarked: str = ""


class TagRecords:
    """Those of one registry, by its identity."""

    def __init__(
        self, state: Path, registry: str, shared: SharedRecords | None = None, runs: RunStore | None = None
    ) -> None:
        """`shared`: all machines have the same records, of which the state folder has a copy; `runs` are then the
        records of runs on all of them."""
        self.history = TagHistory(state, registry, shared)
        self._state = state
        self._registry = registry
        self._shared = shared
        self._all_runs = runs

    @cached_property
    def _runs(self) -> RunStore | None:
        """The records of runs; None without any, and then what reads them need not be imported."""
        if self._all_runs is not None:
            return self._all_runs
        try:
            (self._state / "runs").lstat()
        except FileNotFoundError:
            return None
        except OSError:
            pass  # the store says why
        from dregutil.journal.store import RunStore

        return RunStore(self._state)

    @property
    def _has_runs(self) -> bool:
        return self._runs is not None and any(self._runs.headers(self._registry))

    def taken(self) -> Set[tuple[Repository, Tag, Digest]]:
        """The tags that runs on the registry removed in the last days. Raises JournalError."""
        if self._runs is None:
            return frozenset()
        from dregutil.journal.recent_changes import recently_taken

        return recently_taken(self._runs, self._registry, datetime.now(UTC))

    def note(self, found: CrawlResult, listed: Collection[Repository] | None, policy: Path | None = None) -> CrawlNote:
        """Note what a crawl of the whole registry saw. `listed`: the only repositories that were to be read; `policy`:
        the file of the policy that is about to judge. Raises JournalError."""
        now, begun, lost = datetime.now(UTC), self.history.has_begun(), self._are_lost(policy)
        unasked: Set[Repository] = set() if listed is None else set(self.history.repositories()) - set(listed)
        inventory = found.inventory
        if self._runs is not None:
            from dregutil.journal.history import RunHistory
            from dregutil.journal.placeholder_tags import resolve_placeholders

            inventory = resolve_placeholders(inventory, RunHistory(self._runs, self._registry).moved_to_placeholders())
        self.history.record(
            inventory, now=now, began=found.began, unread=tuple(found.failed), unasked=unasked, lost=lost
        )
        how = ""
        if lost:
            were_noted = begun or self._mark.read() is not None
            how = "are gone, or older than the last run" if were_noted else "are not here, and there were runs before"
        if not self.history.has_begun():
            return CrawlNote(how, waits=True)
        return CrawlNote(how, begins=not begun and not lost, unmarked=self._write_mark(now))

    def wait(self) -> None:
        """Before the first run on a registry: note that no records were there yet. Otherwise the first crawl after it
        would take them for lost, and hold back every tag. Raises JournalError."""
        if not (self.history.path.exists() or self._mark.read() or self._has_runs):
            self.history.create()

    def young_since(self, policy: Path | None = None) -> datetime | None:
        """Since when these records stand in for others that were lost: what they know is no older than that. None where
        none were lost. Raises JournalError."""
        return datetime.now(UTC) if self._are_lost(policy) else self.history.lost_since()

    def missing(
        self, inventory: Inventory, names: Iterable[Repository], taken: Set[tuple[Repository, Tag, Digest]]
    ) -> Mapping[Repository, Mapping[Tag, Missing]]:
        """The tags of repositories that the last crawls no longer found, for 14 days, without `taken`. A registry that
        leaves tags out of its lists for a night looks the same. Raises JournalError."""
        from dregutil.retention.holds import HELD_FOR  # with the whole room, which a crawl does not need

        now = datetime.now(UTC)
        found: dict[Repository, Mapping[Tag, Missing]] = {}
        for name in names:
            here = inventory.tags(name)
            tags = {
                tag: one
                for tag, one in self.history.missing(name).items()
                if tag not in here and now - one.since < HELD_FOR and (name, tag, one.digest) not in taken
            }
            if tags:
                found[name] = tags
        return found

    def missing_digests(self, inventory: Inventory) -> Mapping[Repository, frozenset[Digest]]:
        """What the missing tags of each repository named: an index among them holds its children.

        Raises JournalError.
        """
        missing = self.missing(inventory, inventory.repositories, self.taken())
        return {name: frozenset(one.digest for one in tags.values()) for name, tags in missing.items()}

    @property
    def _mark(self) -> CrawlMark:
        return CrawlMark(self._state, self._registry, self._shared)

    def _write_mark(self, now: datetime) -> str:
        try:
            self._mark.write(datetime.fromtimestamp(int(now.timestamp()), UTC))
        except OSError as error:
            return f"{self._mark.path} was not written: {error.strerror or error}"
        return ""

    def _are_lost(self, policy: Path | None) -> bool:
        """Whether there were records that are gone, or later ones than those that are here."""
        marked = self._mark.read()
        if self.history.has_begun():
            last = self.history.last_crawl()
            return marked is not None and (last is None or last < marked)
        if marked is None and self.history.path.exists():
            return False  # no crawl has read every repository yet, so that they have never begun
        if marked is not None or self._has_runs:
            return True
        if policy is None:
            return False
        from dregutil.journal.last_cleanup import LastCleanupFile  # likewise

        return LastCleanupFile(self._state, self._registry, policy, self._shared).read() is not None
